"""The model artifact: recipe, tokenizer, configuration, weights, provenance as one ``.nxf`` file.

Members: ``recipe.json``, ``tokenizer.json``, ``config.json``, ``weights.safetensors`` (fp32, or
INT8 matrices with their scales), ``metrics.json``, ``lineage.json``, ``optimization.json``.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import torch
from pydantic import ValidationError
from torch import Tensor

from nexus_model.align.recipe import Recipe
from nexus_model.artifact.archive import Archive, read_archive, write_archive
from nexus_model.artifact.encryption import EnvelopeKey
from nexus_model.artifact.json_text import first_problem
from nexus_model.artifact.manifest import MINOR
from nexus_model.artifact.migrations import migrate
from nexus_model.artifact.signature import PublicKey
from nexus_model.artifact.tensor_table import TensorContent
from nexus_model.config import NexusConfig
from nexus_model.model import NexusFormer
from nexus_model.schema import ArtifactError, NexusError
from nexus_model.tokenize.statistics import Tokenizer

WEIGHTS = "weights.safetensors"
DESCRIPTIONS = ("recipe.json", "tokenizer.json", "config.json")
FACTS = ("metrics.json", "lineage.json", "optimization.json")

Described = TypeVar("Described", Recipe, Tokenizer, NexusConfig)


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
        try:
            self._check_shapes()
            model = self._model()
            model.load_state_dict(self.weights)
        except NexusError:
            raise
        except (RuntimeError, ValueError) as error:
            raise ArtifactError(f"weights do not fit the configuration: {error}") from error
        return model.eval()

    def _model(self) -> NexusFormer:
        return NexusFormer(self.config, self.tokenizer, self.recipe.paths, self.recipe.task)

    def _check_shapes(self) -> None:
        """Compare the shapes of a model without memory: a configuration may ask for any amount."""
        try:
            with torch.device("meta"):
                asked = {name: weight.shape for name, weight in self._model().state_dict().items()}
        except RuntimeError:
            return  # A user's own encoder need not be buildable without memory.
        given = {name: weight.shape for name, weight in self.weights.items()}
        names = sorted(asked.keys() | given.keys())
        if wrong := [name for name in names if asked.get(name) != given.get(name)]:
            told = [f"{name}: {given.get(name)} for {asked.get(name)}" for name in wrong[:3]]
            raise RuntimeError(f"{len(wrong)} differ, such as {'; '.join(told)}")

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
                WEIGHTS: TensorContent(self.weights),
            },
        )

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        require_signature: PublicKey | None = None,
        key: EnvelopeKey | None = None,
    ) -> Self:
        """Read a file written by ``save``; hashes are checked, nothing is executed.

        ``require_signature`` is the key it must be signed with, ``key`` opens an encrypted file.

        Raises:
            ArtifactError: the file is damaged, foreign, too new, not signed as required, or
                encrypted and the key is missing or another.
        """
        return cls.of(read_archive(Path(path), require_signature=require_signature, key=key))

    @classmethod
    def of(cls, archive: Archive) -> Self:
        """The artifact held by a checked archive; what an older version said is brought up."""
        members = {name: archive.json(name) for name in (*DESCRIPTIONS, *FACTS)}
        try:
            members = migrate(members, archive.manifest.minor)
        except ArtifactError as error:
            raise ArtifactError(f"{archive.path}: {error}") from error
        # A newer minor version may say more, never something else.
        extra: Literal["ignore", "forbid"] = (
            "ignore" if archive.manifest.minor > MINOR else "forbid"
        )
        for name in FACTS:
            if not isinstance(members[name], dict):
                raise ArtifactError(f"{archive.path}: {name}: is not an object")
        recipe = _record(archive, Recipe, "recipe.json", members, extra)
        tokenizer = _record(archive, Tokenizer, "tokenizer.json", members, extra)
        config = _record(archive, NexusConfig, "config.json", members, extra)
        facts = {name.removesuffix(".json"): members[name] for name in FACTS}
        return cls(recipe, tokenizer, config, archive.tensors(WEIGHTS), **facts)


def _record(
    archive: Archive,
    kind: type[Described],
    name: str,
    members: Mapping[str, Any],
    extra: Literal["ignore", "forbid"],
) -> Described:
    try:
        return kind.model_validate(members[name], extra=extra)
    except ValidationError as error:
        raise ArtifactError(f"{archive.path}: {name}: {first_problem(error)}") from error


def _dumped(content: Any) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True).encode()
