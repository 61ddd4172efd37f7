"""Predictor: raw frames in, predictions out, in the order of the entity table's rows."""

import datetime as dt
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, assert_never

import numpy as np
import pyarrow as pa

from nexus_model.apply import predict_samples
from nexus_model.artifact.encryption import EnvelopeKey
from nexus_model.artifact.model_file import NexusFlowModelArtifact
from nexus_model.artifact.signature import PublicKey
from nexus_model.optimize.int8 import dequantize_weights
from nexus_model.schema import ConfigurationError, DataError, TaskKind
from nexus_model.sentences.find_reader import TextModel, find_reader
from nexus_model.serve.reading import Asked, Question, Read, read_questions
from nexus_model.serve.staged import StagedDatabase
from nexus_model.tokenize.batch import TaskTensors
from nexus_model.tokenize.sentences import SentenceReader

Cutoff = dt.datetime | dt.date | str | None


class Predictor:
    """A loaded model; ``predict`` follows the artifact's own recipe from raw frames.

    ``reader`` is the sentence model of its texts, if they were fitted with one.
    """

    def __init__(
        self, artifact: NexusFlowModelArtifact, reader: SentenceReader | None = None
    ) -> None:
        self.artifact, self.reader = artifact, reader
        self.model = artifact.build()
        self.staged = StagedDatabase(artifact.recipe)

    @property
    def reads_cohorts(self) -> bool:
        """Whether a prediction depends on who else is asked about."""
        return self.model.config.cohort

    def predict(
        self,
        frames: Mapping[str, Any],
        cutoff: Cutoff = None,
        as_of: Cutoff = None,
        entities: Iterable[Any] | None = None,
    ) -> pa.Table:
        """One prediction per row of the entity table's frame, in its order.

        ``frames`` maps table names to pandas, polars or Arrow frames of raw tables. ``cutoff`` is
        the moment asked about; a static task takes none. ``as_of`` is the moment the frames are
        of, the cutoff if unset: rows later than it are not read. ``entities`` are the keys (tuples
        if of several columns) of those asked about, all if unset; a model with cohort attention
        takes those asked together as each other's cohort, so it must be told who they are.

        Returns:
            The entity's key columns and ``prediction``: label units, the probability of 1, for
            several classes the likeliest with one probability column each, or for quantiles the
            middle one with one column each.

        Raises:
            DataError: a table or column is missing or does not cast, or the cutoff is missing.
            ConfigurationError: the cutoff is no moment, or the task takes none.
        """
        chosen = None if entities is None else set(entities)
        keys, _, found = self._predict(frames, cutoff, as_of, chosen)
        return self._as_table(keys, found)

    def predict_rows(
        self,
        frames: Mapping[str, Any],
        cutoff: Cutoff = None,
        as_of: Cutoff = None,
        rows: np.ndarray | None = None,
    ) -> np.ndarray:
        """Predictions by row number of the aligned entity table, NaN where none was asked.

        ``rows`` are those asked about, all if unset.
        """
        _, rows_B, found = self._predict(frames, cutoff, as_of, rows)
        placed = np.full((int(rows_B.max(initial=-1)) + 1, *found.shape[1:]), np.nan)
        placed[rows_B] = found
        return placed

    def read(
        self,
        frames: Mapping[str, Any],
        cutoff: Cutoff = None,
        as_of: Cutoff = None,
        asked: Asked = None,
    ) -> tuple[pa.Table, TaskTensors]:
        """Key columns of every entity asked about in the frame's order, and they as samples.

        ``asked`` are keys, or rows of the aligned entity table; all if unset.

        Raises:
            DataError: as ``predict``, or an entity that is asked about is not in the frame.
            ConfigurationError: as ``predict``.
        """
        found = self.read_several([self.question(frames, cutoff, as_of, asked)])
        return found.keys[0], found.tensors

    def question(
        self,
        frames: Mapping[str, Any],
        cutoff: Cutoff = None,
        as_of: Cutoff = None,
        asked: Asked = None,
    ) -> Question:
        """A request checked and typed; arguments and errors as ``read``."""
        moment = self.moment(cutoff)
        known = None if as_of is None else self.moment(as_of)
        return Question(self.staged.typed(frames), moment, known, asked)

    def read_several(self, questions: Sequence[Question]) -> Read:
        """The samples of questions that give the same tables, each from its own rows alone.

        Raises:
            DataError: as ``read``; which request it is about is not said, so ask it alone.
            ValueError: there are several and they cannot be read together.
        """
        return read_questions(self.staged, self.artifact.tokenizer, questions, self.reader)

    def together(self, question: Question) -> Hashable | None:
        """Questions with the same value may be answered together; None is answered alone."""
        if self.reads_cohorts or not self.staged.takes_several:
            return None
        return question.given.absent

    def answer(self, questions: Sequence[Question]) -> list[pa.Table]:
        """One table of predictions per question, as ``predict`` gives it, in one forward pass.

        Raises:
            DataError: as ``predict``; which request it is about is not said, so ask it alone.
        """
        found = self.read_several(questions)
        return self.answers_of(found)

    def answers_of(self, read: Read) -> list[pa.Table]:
        """Predictions of samples that were read, one table per question."""
        every_B = np.arange(read.starts[-1])
        task, scale = self.artifact.recipe.task, self.artifact.tokenizer.label
        predicted = predict_samples(self.model, read.tensors, every_B, task, scale)
        return [
            self._as_table(keys, predicted[start:stop])
            for keys, (start, stop) in zip(read.keys, pairwise(read.starts), strict=True)
        ]

    def _predict(
        self, frames: Mapping[str, Any], cutoff: Cutoff, as_of: Cutoff, asked: Asked
    ) -> tuple[pa.Table, np.ndarray, np.ndarray]:
        """Key columns, aligned row and prediction of every entity, in the frame's order."""
        entities, tensors = self.read(frames, cutoff, as_of, asked)
        rows_B, scale = tensors.times.entity_B, self.artifact.tokenizer.label
        asked_B, task = np.arange(len(rows_B)), self.artifact.recipe.task
        return entities, rows_B, predict_samples(self.model, tensors, asked_B, task, scale)

    def moment(self, cutoff: Cutoff) -> dt.datetime | None:
        """A cutoff in UTC without an offset; None of a static task.

        Raises:
            DataError: the task needs one and there is none.
            ConfigurationError: it is no moment, or the task takes none.
        """
        task = self.artifact.recipe.task
        if task.horizon_days is None:
            if cutoff is not None:
                raise ConfigurationError(
                    f"task {task.name} has no cutoffs: it reads every row, whatever its time"
                )
            return None
        if cutoff is None:
            raise DataError("predict needs cutoff=..., the moment asked about", table=task.name)
        if isinstance(cutoff, str):
            try:
                cutoff = dt.datetime.fromisoformat(cutoff)
            except ValueError as error:
                raise ConfigurationError(f"cutoff must be ISO 8601, got {cutoff!r}") from error
        if not isinstance(cutoff, dt.datetime):
            cutoff = dt.datetime.combine(cutoff, dt.time())
        return cutoff.astimezone(dt.UTC).replace(tzinfo=None) if cutoff.tzinfo else cutoff

    def _as_table(self, keys: pa.Table, found: np.ndarray) -> pa.Table:
        task = self.artifact.recipe.task
        match task.kind:
            case TaskKind.REGRESSION | TaskKind.BINARY:
                said = pa.array(found.astype(np.float64))
            case TaskKind.QUANTILE:
                said = pa.array(found[:, task.middle].astype(np.float64))
            case TaskKind.MULTICLASS:
                likeliest = [task.classes[index] for index in found.argmax(axis=1)]
                said = pa.array(likeliest, pa.string())
            case _ as unreachable:
                assert_never(unreachable)
        table = keys.append_column("prediction", said)
        for index, name in enumerate(task.output_columns):
            table = table.append_column(name, pa.array(found[:, index].astype(np.float64)))
        return table


def load_model(
    path: Path | str,
    *,
    require_signature: PublicKey | None = None,
    key: EnvelopeKey | None = None,
    text_model: TextModel | None = None,
) -> Predictor:
    """Open a ``.nxf`` file for prediction; INT8 weights are widened, nothing is executed.

    ``require_signature`` is the key the file must be signed with, ``key`` opens an encrypted one.
    ``text_model`` is the folder of the sentence model its texts were fitted with, if they were; the
    environment's ``NEXUSFLOW_TEXT_MODEL`` if unset.

    Raises:
        ArtifactError: the file is damaged, foreign, too new, not signed as required, or encrypted
            and the key is missing or another.
        ConfigurationError: the sentence model is missing, or another.
    """
    artifact = NexusFlowModelArtifact.load(path, require_signature=require_signature, key=key)
    artifact.weights = dequantize_weights(artifact.weights)
    return Predictor(artifact, find_reader(artifact.tokenizer, text_model))
