"""Everything an artifact can tell of its predictions on given tables: words, shares, importance.

B samples. What is measured against known labels (importance, interaction) needs the label's column
among the tables; reasons and attributions do not.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from nexus_model.artifact.model_file import NexusFlowModelArtifact
from nexus_model.explain.attention_flow import AttentionPattern, attention_patterns
from nexus_model.explain.coalitions import Coalitions
from nexus_model.explain.effects import Reference
from nexus_model.explain.importance import Importance, table_importance
from nexus_model.explain.inside import (
    LayerRouting,
    RefinementTrace,
    expert_map,
    mask_importance,
    nearest_samples,
    refinement_trace,
)
from nexus_model.explain.integrated_gradients import (
    Attribution,
    column_names,
    integrated_gradients,
)
from nexus_model.explain.interaction import Interactions, table_interactions
from nexus_model.explain.outcome import Asked
from nexus_model.explain.reasons import Reason, explain_in_words
from nexus_model.schema import DataError, TaskKind
from nexus_model.serve.predictor import Cutoff, Predictor
from nexus_model.serve.reading import key_values
from nexus_model.tokenize.batch import TaskTensors

REFERENCE = "reference"
MOST_MEASURED = 500


class Near(NamedTuple):
    """An entity whose state points the same way."""

    key: Any
    cosine: float


class Explained:
    """An artifact's model asked about the entities of some tables; numbers are places of rows."""

    def __init__(
        self,
        predictor: Predictor,
        frames: Mapping[str, Any],
        cutoff: Cutoff = None,
        as_of: Cutoff = None,
    ) -> None:
        """All entities are read, so that there are others to compare with.

        Raises:
            DataError: as ``Predictor.predict``.
        """
        self.keys, self.tensors = predictor.read(frames, cutoff, as_of)
        self.artifact: NexusFlowModelArtifact = predictor.artifact
        self.model = predictor.model
        task, tokenizer = self.artifact.recipe.task, self.artifact.tokenizer
        self.asked = Asked(self.model, task, tokenizer.label)
        self.columns = {table.table: column_names(table) for table in tokenizer.tables}
        self._frames = frames

    def places(self, entities: Iterable[Any] | None = None) -> np.ndarray:
        """Where these keys stand among the entities, in the order given; all if None.

        Raises:
            DataError: a key is not there.
        """
        known = {key: place for place, key in enumerate(key_values(self.keys))}
        if entities is None:
            return np.arange(len(known))
        wanted = list(entities)
        for key in wanted:
            if key not in known:
                table = self.artifact.recipe.entity.name
                raise DataError("is asked about and has no row", table=table, rows=1, example=key)
        return np.array([known[key] for key in wanted], np.int64)

    def reasons(self, asked_B: np.ndarray, most: int = 3) -> list[tuple[Reason, ...]]:
        """Reasons in words; where somebody stands is told of training samples if they are known."""
        kept = self.artifact.metrics.get(REFERENCE)
        return explain_in_words(
            self.asked,
            self.artifact.tokenizer,
            self.tensors,
            asked_B,
            reference=None if kept is None else Reference.model_validate(kept),
            most=most,
        )

    def attributions(self, asked_B: np.ndarray) -> Attribution:
        """Integrated gradients by table, column and row."""
        return integrated_gradients(self.asked, self.tensors, asked_B, self.columns)

    def attention(self, place: int) -> list[AttentionPattern]:
        """What one entity's state read, cycle by cycle, with names."""
        return attention_patterns(self.model, self.tensors, place)

    def trace(self, asked_B: np.ndarray) -> RefinementTrace:
        """Scores after each cycle."""
        return refinement_trace(self.asked, self.tensors, asked_B)

    def experts(self, asked_B: np.ndarray) -> tuple[LayerRouting, ...]:
        """Which experts computed what."""
        return expert_map(self.model, self.tensors, asked_B)

    def masks(self, asked_B: np.ndarray) -> dict[str, dict[str, float]]:
        """Columns TabNet tables looked at."""
        return mask_importance(self.model, self.tensors, asked_B, self.columns)

    def nearest(self, asked_B: np.ndarray, most: int = 5) -> list[tuple[Near, ...]]:
        """The other entities of the tables most like each one asked about."""
        keys = key_values(self.keys)
        found = nearest_samples(self.model, self.tensors, asked_B, np.arange(len(keys)), most)
        return [
            tuple(
                Near(keys[sample], float(cosine))
                for sample, cosine in zip(samples, cosines, strict=True)
                if np.isfinite(cosine)
            )
            for samples, cosines in zip(found.sample_BK, found.cosine_BK, strict=True)
        ]

    def importance(self, draws: int = 1, seed: int = 0) -> tuple[Importance, Interactions]:
        """Importance of tables and what pairs say together, on at most 500 labelled entities.

        Raises:
            DataError: the tables do not hold the task's label.
        """
        found = self._coalitions(draws, seed)
        return table_importance(found, seed=seed), table_interactions(found)

    def _coalitions(self, draws: int, seed: int) -> Coalitions:
        label_B = self._labels()
        known = np.flatnonzero(np.isfinite(label_B))
        chosen = np.sort(np.random.default_rng(seed).permutation(known)[:MOST_MEASURED])
        labelled: TaskTensors = self.tensors._replace(label_B=label_B)
        return Coalitions(self.asked, labelled, chosen, draws=draws, seed=seed)

    def _labels(self) -> np.ndarray:
        task = self.artifact.recipe.task
        frame = self._frames[task.entity_table]
        table = frame if isinstance(frame, pa.Table) else pa.table(dict(frame))
        target = task.target_column
        if target is None or target not in table.column_names:
            raise DataError(
                "importance needs labels: a static task whose target is among the columns",
                table=task.entity_table,
                column=target,
            )
        values = [None if v is None or v == "" else v for v in table[target].to_pylist()]
        if task.kind in {TaskKind.BINARY, TaskKind.MULTICLASS}:
            place = {name: float(at) for at, name in enumerate(task.classes)}
            return np.array([place.get(str(v), np.nan) for v in values])
        return np.array([np.nan if v is None else float(v) for v in values])
