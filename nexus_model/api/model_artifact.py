"""A deployable model put together from its parts, or read from a file."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
from torch import nn

from nexus_model.align.recipe import Recipe
from nexus_model.api.former import NexusFormer
from nexus_model.api.quantize import stored_weights
from nexus_model.artifact.model_file import NexusFlowModelArtifact as StoredModel
from nexus_model.model import NexusFormer as Network
from nexus_model.schema import Record
from nexus_model.serve.predictor import Cutoff
from nexus_model.tokenize.statistics import Tokenizer


class NexusFlowModelArtifact:
    """Network, preprocessing and tokenizers as one file that predicts from raw tables.

    ``model`` is a fitted NexusFormer or the network a trainer gave back; ``preprocessors`` is the
    recipe of its alignment, ``feature_tokenizers`` its tokenizer, ``optimization_metadata`` what
    made it smaller, the model's own if unset.
    """

    def __init__(
        self,
        *,
        model: NexusFormer | Network,
        preprocessors: Recipe,
        feature_tokenizers: Tokenizer,
        optimization_metadata: Mapping[str, Any] | Record | None = None,
    ) -> None:
        if isinstance(model, nn.Module):
            config, weights = model.config, stored_weights(model)
            told = getattr(model, "optimization", None)
        else:
            config, weights = model.artifact.config, model.artifact.weights
            told = model.optimization
        told = told if optimization_metadata is None else optimization_metadata
        self.stored = StoredModel(
            preprocessors,
            feature_tokenizers,
            config,
            weights,
            optimization=told.model_dump(mode="json") if isinstance(told, Record) else told,
        )

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a file written by any ``save``; hashes are checked, nothing is executed.

        Raises:
            ArtifactError: the file is missing, damaged, foreign or too new.
        """
        found = cls.__new__(cls)
        found.stored = StoredModel.load(path)
        return found

    @cached_property
    def former(self) -> NexusFormer:
        """The model, ready to be asked.

        Raises:
            ArtifactError: the weights do not fit the tokenizers and the recipe.
        """
        return NexusFormer.of(self.stored)

    def predict(
        self,
        batch: Any,
        cutoff: Cutoff = None,
        as_of: Cutoff = None,
        entities: Iterable[Any] | None = None,
        *,
        explain: bool = False,
    ) -> pa.Table:
        """As ``NexusFormer.predict``."""
        return self.former.predict(batch, cutoff, as_of, entities, explain=explain)

    def save(self, path: Path | str) -> str:
        """Write the file atomically and return its content hash."""
        return self.stored.save(path)
