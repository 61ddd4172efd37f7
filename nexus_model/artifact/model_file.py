"""The model artifact: recipe, tokenizer, configuration, weights, provenance as one ``.nxf`` file.

Members: ``recipe.json``, ``tokenizer.json``, ``config.json``, ``weights.safetensors`` (fp32, or
INT8 matrices with their scales), ``metrics.json``, ``lineage.json``, ``optimization.json``.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from nexus_model.align.recipe import Recipe
from nexus_model.artifact.archive import Archive, read_archive, write_archive
from nexus_model.config import NexusConfig
from nexus_model.model import NexusFormer
from nexus_model.schema import ArtifactError
from nexus_model.tokenize.statistics import Tokenizer

WEIGHTS = "weights.safetensors"


class NexusFlowModelArtifact:
    """Everything needed to predict from raw tables, and where it came from."""

    def __init__(
        self,
        recipe: Recipe,
        tokenizer: Tokenizer,
        config: NexusConfig,
        weights: Mapping[str, Tensor],
        *,
        metrics: Mapping[str, Any] | None = None,
        lineage: Mapping[str, Any] | None = None,
        optimization: Mapping[str, Any] | None = None,
    ) -> None:
        self.recipe, self.tokenizer, self.config = recipe, tokenizer, config
        self.weights = dict(weights)
        self.metrics, self.lineage = dict(metrics or {}), dict(lineage or {})
        self.optimization = dict(optimization or {})

    def build(self) -> NexusFormer:
        """The model with its weights, ready to predict.

        Raises:
            ArtifactError: the weights do not fit the configuration.
        """
        model = NexusFormer(self.config, self.tokenizer, self.recipe.paths, self.recipe.task)
        try:
            model.load_state_dict(self.weights)
        except RuntimeError as error:
            raise ArtifactError(f"weights do not fit the configuration: {error}") from error
        return model.eval()

    def save(self, path: Path | str) -> str:
        """Write the file atomically and return its content hash."""
        return write_archive(
            Path(path),
            {
                "recipe.json": _dumped(self.recipe.model_dump(mode="json")),
                "tokenizer.json": _dumped(self.tokenizer.model_dump(mode="json")),
                "config.json": _dumped(self.config.model_dump(mode="json")),
                "metrics.json": _dumped(self.metrics),
                "lineage.json": _dumped(self.lineage),
                "optimization.json": _dumped(self.optimization),
                WEIGHTS: tensors_to_bytes(
                    {name: tensor.detach().contiguous() for name, tensor in self.weights.items()}
                ),
            },
        )

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a file written by ``save``; hashes are checked, nothing is executed.

        Raises:
            ArtifactError: the file is damaged, foreign or too new.
        """
        return cls.of(read_archive(Path(path)))

    @classmethod
    def of(cls, archive: Archive) -> Self:
        """The artifact held by a checked archive."""
        try:
            return cls(
                Recipe.model_validate(archive.json("recipe.json")),
                Tokenizer.model_validate(archive.json("tokenizer.json")),
                NexusConfig.model_validate(archive.json("config.json")),
                archive.tensors(WEIGHTS),
                metrics=archive.json("metrics.json"),
                lineage=archive.json("lineage.json"),
                optimization=archive.json("optimization.json"),
            )
        except ValidationError as error:
            raise ArtifactError(f"{archive.path}: {error}") from error


def _dumped(content: Any) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True).encode()
