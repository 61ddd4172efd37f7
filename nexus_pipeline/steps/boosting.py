"""LightGBM as a strong opponent: a small grid chosen by validation, refitted, several seeds.

Quantiles are one model a level, each chosen by the pinball loss of its level. Such models may
cross, so what they say of a row is sorted (Chernozhukov, Fernandez-Val and Galichon 2010, "Quantile
and probability curves without crossing"): their pinball loss is not the worse for it.

Validation rows get the prediction of a model that has not seen their labels, test rows that of one
fitted on training and validation rows together. Training rows get what the first says of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, assert_never

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from nexus_model.evaluate.metrics import Direction, measure, primary_metric
from nexus_model.schema import TaskKind, TaskSpec

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

MOST_TREES = 2000
BLIND_TREES = 200
PATIENCE = 100
# Fewer are a score of luck: a few coarse steps that happen to rank the validation rows well.
LEAST_TREES = 50
MOST_CATEGORIES = 200

# Many categories (of an entity, of what it was last seen with) are learned by heart unless they are
# pulled to the mean; few are worth more as they are. Which of the two is so, validation says.
_PULLED = {"cat_smooth": 100.0, "cat_l2": 100.0}
_FREE = {"cat_smooth": 10.0, "cat_l2": 10.0}


def _config(
    num_leaves: int, feature_fraction: float, learning_rate: float, **further: float
) -> dict[str, float]:
    tree = {"num_leaves": num_leaves, "feature_fraction": feature_fraction}
    return {**tree, "learning_rate": learning_rate, "min_data_in_leaf": 20, **further}


# Fixed before any test score was seen; the validation rows choose one.
GRID: tuple[dict[str, float], ...] = (
    _config(15, 0.4, 0.02, **_PULLED),
    _config(7, 0.2, 0.05, **_PULLED),
    _config(7, 0.4, 0.05, min_data_in_leaf=40, **_PULLED),
    _config(15, 0.2, 0.03, min_data_in_leaf=40, **_PULLED),
    _config(31, 0.2, 0.03, min_data_in_leaf=40, **_PULLED),
    _config(15, 0.8, 0.03, min_data_in_leaf=60, lambda_l2=10.0, **_PULLED),
    _config(15, 0.2, 0.03, min_data_in_leaf=40, **_FREE),
    _config(31, 0.4, 0.03, **_FREE),
)
_ALWAYS = {
    "lambda_l2": 1.0,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "min_data_per_group": 50,
    # One binning serves every configuration and seed.
    "feature_pre_filter": False,
    "data_random_seed": 1,
    "deterministic": True,
    "force_col_wise": True,
    # Measured beside other work on two cores: one thread 22 s, two spinning ones 198 s.
    "num_threads": 1,
    "verbosity": -1,
}


class Matrix(NamedTuple):
    """Features as numbers, and which columns are codes of categories."""

    values: Array
    categorical: list[int]


class Fitted(NamedTuple):
    """Predictions of every sample by seed ``[seeds, samples, ...]``, and how they were made.

    Of quantiles there are trees and a configuration for each level.
    """

    by_seed: Array
    trees: tuple[int, ...]
    configs: tuple[dict[str, float], ...]

    @property
    def prediction(self) -> Array:
        """Mean over the seeds."""
        return np.asarray(self.by_seed.mean(axis=0))


class Stopped(NamedTuple):
    """What a model fitted on training rows says of every sample, and where it stopped."""

    prediction: Array
    trees: int


@dataclass(frozen=True)
class Rows:
    """Samples and which of them are fitted on and which judge; binned once."""

    matrix: Matrix
    label: Array
    train: Mask
    validation: Mask
    later: Mask

    @cached_property
    def fitting(self) -> Any:
        """The training rows as LightGBM reads them."""
        import lightgbm as lgb

        return lgb.Dataset(
            self.matrix.values[self.train],
            self.label[self.train],
            categorical_feature=self.matrix.categorical,
            params=_ALWAYS,
        )

    @cached_property
    def judging(self) -> Any:
        """The validation rows, binned as the training rows are."""
        rows = self.validation
        return self.fitting.create_valid(self.matrix.values[rows], self.label[rows])

    @cached_property
    def together(self) -> "Rows":
        """What is fitted once validation has chosen: later rows as well, or those of validation."""
        return replace(
            self, train=self.train | (self.later if self.later.any() else self.validation)
        )


def encode(features: pa.Table, train: Mask) -> Matrix:
    """Numbers as they are; categories as codes fitted on training rows only.

    A category seen once or never in training, or beyond the most frequent, shares one code;
    NULL stays missing.
    """
    columns, categorical = [], []
    for index, column in enumerate(features.itercolumns()):
        values = column.combine_chunks()
        if pa.types.is_string(values.type):
            columns.append(_codes(values, train))
            categorical.append(index)
        else:
            columns.append(pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False))
    if not columns:
        return Matrix(np.zeros((len(train), 1)), [])
    return Matrix(np.column_stack(columns), categorical)


def _codes(values: Any, train: Mask) -> Array:
    counted = pc.value_counts(values.filter(pa.array(train)).drop_null()).to_pylist()
    often = [row for row in counted if row["counts"] > 1]
    often.sort(key=lambda row: (-row["counts"], row["values"]))
    known = pa.array([row["values"] for row in often[:MOST_CATEGORIES]], pa.string())
    code = pc.fill_null(pc.index_in(values, known), len(known))
    code = pc.if_else(pc.is_null(values), None, code)
    found: Array = pc.cast(code, pa.float64()).to_numpy(zero_copy_only=False)
    return found


def boost(
    matrix: Matrix,
    label: Array,
    splits: NDArray[np.str_],
    task: TaskSpec,
    *,
    seeds: Sequence[int] = (0,),
    refit: bool = True,
) -> Fitted:
    """Choose by validation with the first seed; with every seed fit, stop early and refit.

    The refit takes rows of the split ``refit``, or where there are none validation rows, beside the
    training rows and as many trees as the fit was stopped at; without it test rows get what the fit
    says. Without validation rows the first configuration gets ``BLIND_TREES`` trees.

    Raises:
        ValueError: no seed is given.
    """
    if not seeds:
        raise ValueError("boost needs at least one seed")
    rows = Rows(matrix, label, splits == "train", splits == "validation", splits == "refit")
    test = splits == "test" if refit else np.zeros(len(splits), dtype=bool)
    if task.kind is not TaskKind.QUANTILE:
        return _boost(rows, test, task, seeds)
    levels = [
        _boost(rows, test, task.model_copy(update={"quantiles": (level,)}), seeds)
        for level in task.quantiles
    ]
    return Fitted(
        by_seed=np.sort(np.stack([found.by_seed for found in levels], axis=-1), axis=-1),
        trees=tuple(trees for found in levels for trees in found.trees),
        configs=tuple(config for found in levels for config in found.configs),
    )


def _boost(rows: Rows, refitted: Mask, task: TaskSpec, seeds: Sequence[int]) -> Fitted:
    """One output, or the probabilities of all classes; ``refitted`` rows get what a refit says."""
    matrix, label = rows.matrix, rows.label
    if not rows.validation.any():
        blind = [_parameters(task, label, GRID[0], seed) for seed in seeds]
        said = np.stack(
            [_predict(_grow(rows, one, BLIND_TREES), matrix, BLIND_TREES) for one in blind]
        )
        return Fitted(said, (BLIND_TREES,) * len(seeds), (GRID[0],))
    config, first = _choose(rows, task, seeds[0])
    predictions, trees = [], []
    for seed in seeds:
        parameters = _parameters(task, label[rows.validation], config, seed)
        stopped = first if seed == seeds[0] else _stop_early(rows, parameters)
        own = stopped.prediction.copy()
        if refitted.any():
            model = _grow(rows.together, parameters, stopped.trees)
            own[refitted] = _predict(model, matrix, stopped.trees)[refitted]
        predictions.append(own)
        trees.append(stopped.trees)
    return Fitted(np.stack(predictions), tuple(trees), (config,))


def _choose(rows: Rows, task: TaskSpec, seed: int) -> tuple[dict[str, float], Stopped]:
    """The configuration with the best primary metric on validation, and its fit."""
    metric, label = primary_metric(task), rows.label[rows.validation]
    best: tuple[float, dict[str, float], Stopped] | None = None
    for config in GRID:
        found = _stop_early(rows, _parameters(task, label, config, seed))
        said = found.prediction[rows.validation]
        score = measure(metric, said[:, None] if metric.levels else said, label)
        loss = score if metric.direction is Direction.MIN else -score
        # Not defined on validation (one class): the first configuration stands.
        if best is None or loss < best[0]:
            best = loss, config, found
    assert best is not None
    return best[1], best[2]


def _parameters(
    task: TaskSpec, validation: Array, config: dict[str, float], seed: int
) -> dict[str, Any]:
    both = len(np.unique(validation)) > 1
    match task.kind:
        case TaskKind.REGRESSION:
            chosen: dict[str, Any] = {"objective": "regression_l1", "metric": "l1"}
        case TaskKind.QUANTILE:
            (level,) = task.quantiles
            chosen = {"objective": "quantile", "alpha": level, "metric": "quantile"}
        case TaskKind.BINARY:
            chosen = {"objective": "binary", "metric": "auc" if both else "binary_logloss"}
        case TaskKind.MULTICLASS:
            chosen = {"objective": "multiclass", "num_class": len(task.classes)}
            chosen["metric"] = "multi_logloss"
        case _ as unreachable:
            assert_never(unreachable)
    return {**_ALWAYS, **chosen, **config, "seed": seed}


def _stop_early(rows: Rows, parameters: dict[str, Any]) -> Stopped:
    """As many trees as validation likes best, and not fewer than ``LEAST_TREES``."""
    import lightgbm as lgb

    scores: dict[str, dict[str, list[float]]] = {}
    fitting, judging = rows.fitting, rows.judging
    model = lgb.train(
        _leaves_for(rows, parameters),
        fitting,
        num_boost_round=MOST_TREES,
        valid_sets=[judging],
        valid_names=["validation"],
        callbacks=[
            lgb.early_stopping(PATIENCE, verbose=False),
            lgb.record_evaluation(scores),
        ],
    )
    score = np.array(scores["validation"][parameters["metric"]])
    least = min(LEAST_TREES, len(score)) - 1
    better = np.argmax if parameters["metric"] == "auc" else np.argmin
    trees = least + 1 + int(better(score[least:]))
    return Stopped(_predict(model, rows.matrix, trees), trees)


def _grow(rows: Rows, parameters: dict[str, Any], trees: int) -> Any:
    import lightgbm as lgb

    return lgb.train(_leaves_for(rows, parameters), rows.fitting, num_boost_round=trees)


def _leaves_for(rows: Rows, parameters: dict[str, Any]) -> dict[str, Any]:
    """Few rows still deserve a split."""
    smallest = max(1, min(int(parameters["min_data_in_leaf"]), int(rows.train.sum()) // 20))
    return {**parameters, "min_data_in_leaf": smallest}


def _predict(model: Any, matrix: Matrix, trees: int) -> Array:
    return np.asarray(model.predict(matrix.values, num_iteration=trees), dtype=np.float64)
