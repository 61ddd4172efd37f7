"""Whether what is said happens as often as said, and small corrections fitted on validation rows.

Binary: Platt (a slope and an intercept on the logit). Several classes: one temperature.
Regression: quantiles of the residual within bins of the prediction.
"""

from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from nexus_model.evaluate.weighted import Array
from nexus_model.schema import Record

_SMALLEST = 1e-7
_STEPS = 50


class ReliabilityBin(Record):
    """Rows whose probability lies in ``[low, high)``: what was said, and how often it happened."""

    low: float
    high: float
    rows: int
    said: float
    happened: float


def reliability(prediction: ArrayLike, label: ArrayLike, *, bins: int = 10) -> list[ReliabilityBin]:
    """Bins of equal width that have rows; for several classes, of the likeliest class.

    >>> [b.happened for b in reliability([0.12, 0.14, 0.93], [0, 1, 1])]
    [0.5, 1.0]
    """
    said = np.asarray(prediction, dtype=np.float64)
    happened = np.asarray(label, dtype=np.float64)
    if said.ndim == 2:
        happened = (said.argmax(axis=1) == happened).astype(np.float64)
        said = said.max(axis=1)
    place = np.clip((said * bins).astype(np.intp), 0, bins - 1)
    return [
        ReliabilityBin(
            low=index / bins,
            high=(index + 1) / bins,
            rows=int((place == index).sum()),
            said=float(said[place == index].mean()),
            happened=float(happened[place == index].mean()),
        )
        for index in np.unique(place).tolist()
    ]


class Platt(Record):
    """``sigmoid(slope * logit(p) + intercept)``; slope 1 and intercept 0 change nothing."""

    slope: float = 1.0
    intercept: float = 0.0

    @classmethod
    def fit(cls, prediction: ArrayLike, label: ArrayLike) -> Self:
        """By Newton's method; a weak pull towards (1, 0) keeps separable rows finite."""
        logit, target = _logit(prediction), np.asarray(label, dtype=np.float64)
        features = np.stack([logit, np.ones_like(logit)], axis=1)
        neutral = np.array([1.0, 0.0])
        found = neutral
        for _ in range(_STEPS):
            said = _sigmoid(features @ found)
            slope = features.T @ (said - target) + (found - neutral)
            curve = (features * (said * (1 - said))[:, None]).T @ features + np.eye(2)
            step = np.linalg.solve(curve, slope)
            # A full Newton step can overshoot far from the answer; its length is bounded.
            found = found - step * min(1.0, 2.0 / max(float(np.abs(step).max()), _SMALLEST))
            if np.abs(step).max() < 1e-10:
                break
        return cls(slope=float(found[0]), intercept=float(found[1]))

    def apply(self, prediction: ArrayLike) -> Array:
        """The corrected probabilities."""
        return _sigmoid(self.slope * _logit(prediction) + self.intercept)


class Temperature(Record):
    """``softmax(log(p) / temperature)``; a temperature of 1 changes nothing."""

    temperature: float = Field(default=1.0, gt=0)

    @classmethod
    def fit(cls, prediction: ArrayLike, label: ArrayLike) -> Self:
        """By Newton's method on one over the temperature, with a weak pull towards 1."""
        logit = np.log(np.clip(np.asarray(prediction, dtype=np.float64), _SMALLEST, 1.0))
        right = logit[np.arange(len(logit)), np.asarray(label, dtype=np.intp)]
        inverse = 1.0
        for _ in range(_STEPS):
            said = _softmax(logit * inverse)
            mean = (said * logit).sum(axis=1)
            spread = (said * logit**2).sum(axis=1) - mean**2
            step = float((mean - right).sum() + inverse - 1.0) / float(spread.sum() + 1.0)
            inverse = max(inverse - float(np.clip(step, -1.0, 1.0)), 1e-3)
            if abs(step) < 1e-10:
                break
        return cls(temperature=1.0 / inverse)

    def apply(self, prediction: ArrayLike) -> Array:
        """The corrected probabilities."""
        said = np.clip(np.asarray(prediction, dtype=np.float64), _SMALLEST, 1.0)
        return _softmax(np.log(said) / self.temperature)


class ResidualTable(Record):
    """Quantiles of label less prediction, within bins of the prediction.

    ``edges`` part the bins (one fewer than bins); ``quantiles[bin][level]`` is the residual.
    """

    levels: tuple[float, ...]
    edges: tuple[float, ...]
    rows: tuple[int, ...]
    quantiles: tuple[tuple[float, ...], ...]

    @classmethod
    def fit(
        cls,
        prediction: ArrayLike,
        label: ArrayLike,
        *,
        levels: tuple[float, ...] = (0.05, 0.25, 0.5, 0.75, 0.95),
        bins: int = 5,
    ) -> Self:
        """Bins of equal row counts; fewer where predictions repeat. Needs at least one row."""
        said = np.asarray(prediction, dtype=np.float64)
        residual = np.asarray(label, dtype=np.float64) - said
        edges = np.unique(np.quantile(said, np.arange(1, bins) / bins))
        edges = edges[edges > said.min()]
        place = np.searchsorted(edges, said, side="right")
        parts = [residual[place == index] for index in range(len(edges) + 1)]
        return cls(
            levels=levels,
            edges=tuple(edges.tolist()),
            rows=tuple(len(part) for part in parts),
            quantiles=tuple(tuple(np.quantile(part, levels).tolist()) for part in parts),
        )

    def apply(self, prediction: ArrayLike) -> Array:
        """Predicted quantiles of the label, ``[rows, levels]``."""
        said = np.asarray(prediction, dtype=np.float64)
        place = np.searchsorted(np.array(self.edges), said, side="right")
        return np.asarray(said[:, None] + np.array(self.quantiles)[place])


def _logit(prediction: ArrayLike) -> Array:
    said = np.clip(np.asarray(prediction, dtype=np.float64), _SMALLEST, 1 - _SMALLEST)
    return np.log(said) - np.log1p(-said)


def _sigmoid(logit: Array) -> Array:
    return np.exp(-np.logaddexp(0.0, -logit))


def _softmax(logit: Array) -> Array:
    raised = np.exp(logit - logit.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))
