"""NexusFormer as a user holds it: said first, fitted or loaded later, then asked.

The network itself is ``nexus_model.model.NexusFormer``; this is what stands around one.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch

from nexus_model.align.paths import RelationPath
from nexus_model.align.recipe import Recipe
from nexus_model.api.attention_summary import TableFlow, between_tables, summarized
from nexus_model.api.described_model import model_summary, preprocessing
from nexus_model.api.fit_frames import FLOW, FLOW_SAMPLES, Preparation, fit_frames, prepare
from nexus_model.api.flow_page import flow_page
from nexus_model.api.quantize import widened
from nexus_model.api.read_frames import read_frames
from nexus_model.api.specification import Encoders, Specification
from nexus_model.artifact.model_file import NexusFlowModelArtifact
from nexus_model.config import NexusConfig
from nexus_model.explain.attention_flow import AttentionFlow, AttentionPattern, attention_flow
from nexus_model.model import NexusFormer as Network
from nexus_model.schema import ConfigurationError, DatabaseSpec, TableSpec, TaskSpec
from nexus_model.sentences.find_reader import find_reader
from nexus_model.serve.explained import Explained
from nexus_model.serve.predictor import Cutoff, Predictor
from nexus_model.serve.reading import key_values
from nexus_model.tokenize.sentences import SentenceReader
from nexus_model.tokenize.statistics import Tokenizer
from nexus_model.train.config import TrainingConfig


class NexusFormer:
    """A model of related tables.

    ``encoders`` are one per table in order, or by table name: a name such as ``"tabnet"``, a
    specification such as ``TabNetEncoder(complexity="small")``, or a TableConfig.
    ``cross_attention=False`` lets tables meet in the fusion only; ``collaborative_intelligence`` is
    another name for it. ``moe_experts`` stand in every encoder and in the refinement. Other
    keywords are fields of NexusConfig; they change ``config`` where both are given.

    >>> model = NexusFormer(["tabnet"], moe_experts=4, width=32)
    >>> model.config_for(["people"]).experts.experts
    4

    Raises:
        ConfigurationError: an encoder's name is unknown.
        ValueError: NexusConfig has no such field, or it cannot have that value.
    """

    def __init__(
        self,
        encoders: Encoders | None = None,
        *,
        cross_attention: bool = True,
        collaborative_intelligence: bool | None = None,
        moe_experts: int | None = None,
        config: NexusConfig | None = None,
        **settings: Any,
    ) -> None:
        said = (config or NexusConfig()).model_dump() | settings
        chosen = NexusConfig.model_validate(said)
        exchange = collaborative_intelligence
        if not (cross_attention if exchange is None else exchange):
            alone = chosen.refinement.model_copy(update={"relations": ()})
            chosen = chosen.model_copy(update={"refinement": alone})
        self.specification = Specification.of(chosen, encoders, moe_experts)
        self._artifact: NexusFlowModelArtifact | None = None
        self._predictor: Predictor | None = None
        self._reader: SentenceReader | None = None

    @classmethod
    def of(cls, artifact: NexusFlowModelArtifact, reader: SentenceReader | None = None) -> Self:
        """The model an artifact holds; INT8 weights are widened for use and stored as they are.

        ``reader`` is the sentence model of its texts, the environment's if unset.
        """
        model = cls(config=artifact.config)
        model._hold(artifact, reader)
        return model

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """The model of a ``.nxf`` file; nothing in it is executed.

        Raises:
            ArtifactError: the file is missing, damaged, foreign or too new.
        """
        return cls.of(NexusFlowModelArtifact.load(path))

    def config_for(self, tables: Sequence[str]) -> NexusConfig:
        """The configuration for these tables.

        Raises:
            ConfigurationError: there are not as many encoders as tables, or one is for no table.
        """
        return self.specification.config(tables)

    def bind(self, tokenizer: Tokenizer, paths: Sequence[RelationPath], task: TaskSpec) -> Network:
        """The untrained network for tokenized tables, as a trainer takes it."""
        config = self.config_for([table.table for table in tokenizer.tables])
        return Network(config, tokenizer, paths, task)

    def fit(
        self,
        frames: Any,
        tables: DatabaseSpec | Sequence[TableSpec],
        task: TaskSpec,
        *,
        training: TrainingConfig | None = None,
        preparation: Preparation | None = None,
    ) -> Self:
        """Learn a static task from frames; afterwards the model predicts.

        ``tables`` give keys and times; a table without columns gets those of its frame.

        Raises:
            DataError: a table or column is missing, or does not fit.
            ConfigurationError: the task is one in time, or encoders and tables do not agree.
            TrainingError: nothing is left to train or validate on, or the loss is not finite.
        """
        specs = tables.tables if isinstance(tables, DatabaseSpec) else tuple(tables)
        given = read_frames(frames, [table.name for table in specs])
        config = self.config_for([table.name for table in specs])
        prepared = prepare(given, specs, task, preparation or Preparation())
        artifact = fit_frames(prepared, config, training or TrainingConfig())
        self._hold(artifact, prepared.reader)
        return self

    def predict(
        self,
        batch: Any,
        cutoff: Cutoff = None,
        as_of: Cutoff = None,
        entities: Iterable[Any] | None = None,
        *,
        explain: bool = False,
    ) -> pa.Table:
        """One row per row of the entity table, in its order: keys and ``prediction``.

        ``batch`` is tables as ``read_frames`` takes them; the rest as ``Predictor.predict``.
        ``explain`` adds ``reasons``, a list of sentences per row, the largest change first.
        """
        frames = self._read(batch)
        asked = None if entities is None else list(entities)
        found = self.predictor.predict(frames, cutoff, as_of, asked)
        if not explain:
            return found
        explained = Explained(self.predictor, frames, cutoff, as_of)
        keys = key_values(found.select(explained.keys.column_names))
        reasons = explained.reasons(explained.places(keys))
        texts = [[reason.text for reason in of_row] for of_row in reasons]
        return found.append_column("reasons", pa.array(texts, pa.list_(pa.string())))

    def explained(self, batch: Any, cutoff: Cutoff = None, as_of: Cutoff = None) -> Explained:
        """Everything that can be told of predictions on these tables; as ``predict`` takes them."""
        return Explained(self.predictor, self._read(batch), cutoff, as_of)

    def attention(self, batch: Any, entity: Any, cutoff: Cutoff = None) -> list[AttentionPattern]:
        """What one entity's state read in each cycle: arrays with names of readers and rows.

        Raises:
            DataError: the entity is not in the tables.
        """
        explained = self.explained(batch, cutoff)
        return explained.attention(int(explained.places([entity])[0]))

    def save(self, path: Path | str) -> str:
        """Write a ``.nxf`` file that predicts by itself; returns its content hash.

        Raises:
            ConfigurationError: the model is not fitted.
        """
        return self.artifact.save(path)

    def to(self, device: torch.device | str) -> Self:
        """Predict on this device from now on; frames and predictions stay where they are."""
        self.model.to(device)
        return self

    def get_attention_summary(
        self, batch: Any = None, cutoff: dt.datetime | None = None
    ) -> dict[str, Any]:
        """Shares of attention between tables per pass, ``top_broadcaster`` and ``top_pairs``.

        Of the first entities in ``batch``; unset, of the validation samples seen after fitting.

        Raises:
            ConfigurationError: nothing is given and nothing was seen.
        """
        return summarized(self._flow(batch, cutoff))

    def visualize_flow(
        self,
        batch: Any = None,
        cutoff: dt.datetime | None = None,
        *,
        path: Path | str = "attention_flow.html",
    ) -> Path:
        """Write ``get_attention_summary`` as one HTML page and return where it is."""
        page = flow_page(
            self._flow(batch, cutoff), f"Attention flow: {self.preprocessors.task.name}"
        )
        Path(path).write_text(page, encoding="utf-8")
        return Path(path)

    def get_params(self) -> dict[str, Any]:
        """What was asked for, as JSON."""
        return self.specification.model_dump(mode="json")

    def summary(self) -> dict[str, Any]:
        """Task, tables, sizes and scores, as JSON."""
        return model_summary(self.artifact, self.predictor.model)

    def get_preprocessing_info(self) -> dict[str, Any]:
        """Columns of every table and what they mean, as JSON."""
        return preprocessing(self.artifact)

    @property
    def artifact(self) -> NexusFlowModelArtifact:
        """What ``save`` writes."""
        if self._artifact is None:
            raise ConfigurationError("this NexusFormer is not fitted: call fit(...), or load one")
        return self._artifact

    @property
    def predictor(self) -> Predictor:
        """The way from frames to predictions."""
        if self._predictor is None:
            reader = self._reader or find_reader(self.artifact.tokenizer)
            self._predictor = Predictor(widened(self.artifact), reader)
        return self._predictor

    @property
    def model(self) -> Network:
        """The network."""
        return self.predictor.model

    @property
    def preprocessors(self) -> Recipe:
        """From raw tables to aligned ones, as data."""
        return self.artifact.recipe

    @property
    def feature_tokenizers(self) -> Tokenizer:
        """From aligned cells to numbers, as data."""
        return self.artifact.tokenizer

    @property
    def optimization(self) -> dict[str, Any]:
        """What was done to make it smaller; empty if nothing."""
        return self.artifact.optimization

    def _hold(self, artifact: NexusFlowModelArtifact, reader: SentenceReader | None) -> None:
        self._artifact, self._predictor, self._reader = artifact, None, reader
        self.specification = Specification(settings=artifact.config)

    def _read(self, batch: Any) -> dict[str, pa.Table]:
        return read_frames(batch, [table.name for table in self.preprocessors.raw])

    def _flow(self, batch: Any, cutoff: dt.datetime | None) -> TableFlow:
        network = self.predictor.model
        if batch is not None:
            _, tensors = self.predictor.read(self._read(batch), cutoff)
            asked_B = np.arange(min(FLOW_SAMPLES, len(tensors.label_B)))
            found = attention_flow(network, tensors, asked_B)
        elif FLOW in self.artifact.metrics:
            found = AttentionFlow.model_validate(self.artifact.metrics[FLOW])
        else:
            raise ConfigurationError("no samples were kept with this model: give it a batch")
        return between_tables(found, network.path_tables)
