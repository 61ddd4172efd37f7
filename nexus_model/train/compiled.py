"""Compiled steps: encoders, exchange and head as one graph each, whatever the sizes of a batch.

Between the parts stands what asks the device how long histories are; inside them nothing does, so
each traces in one piece, and sizes are symbols from the first batch on. Weights are the model's
own: nothing that is stored knows of it. Compilers make graphs of their own for sizes 0 and 1, so
batches are told apart by which of their tables are as small as that; a few such kinds are compiled,
and a batch of another one is computed as it is.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.fx.experimental import _config as symbols

from nexus_model.encode.registry import ContextualEncoder
from nexus_model.encode.tabnet import TabNetEncoder
from nexus_model.layers.experts.layer import MixtureOfExperts
from nexus_model.model import NexusFormer
from nexus_model.tokenize.batch import RelBatch
from nexus_model.train.config import TrainingConfig

Kind = tuple[int, ...]
MOST_KINDS = 3


class Part(NamedTuple):
    """A part of a model, and why it is not compiled; no reason if it is."""

    name: str
    module: nn.Module
    refusals: list[str]


def parts_of(model: NexusFormer) -> list[Part]:
    """What a step spends its time in; histories and paths stay as they are.

    A path asks for the longest history, and a history may be given to a kernel that asks how many
    rows there are.
    """
    found = [Part("database", model.database, _refusals(model.database))]
    checkpoints = any(model.config.table(name).checkpoint for name in model.database.names)
    if checkpoints:
        found[0].refusals.append("a table recomputes its encoder in the backward pass")
    found.append(Part("refine", model.refine, _refusals(model.refine)))
    if model.config.refinement.sample_cycles:
        found[1].refusals.append("the number of cycles is drawn anew in every step")
    return [*found, *(Part(name, getattr(model, name), []) for name in ("fuse", "head"))]


def _refusals(part: nn.Module) -> list[str]:
    modules = list(part.modules())
    facts = {
        "routers are listened to while training": MixtureOfExperts,
        "TabNet's steps are listened to while training": TabNetEncoder,
        "an encoder is not the library's own": ContextualEncoder,
    }
    return [why for why, kind in facts.items() if any(isinstance(own, kind) for own in modules)]


def kind_of(batch: RelBatch) -> Kind:
    """Sizes of the tables and the number of samples, two and more being the same."""
    sizes = [len(rows.ids_R) for rows in batch.tables.values()]
    return tuple(min(size, 2) for size in (*sizes, batch.samples))


def in_one_piece(call: Callable[..., Any]) -> Callable[..., Any]:
    """Torch's compiler, for any sizes; what it cannot trace whole is an error."""
    compiled: Callable[..., Any] = torch.compile(call, fullgraph=True, dynamic=True)
    return compiled


class CompiledParts:
    """The parts of a model that can be compiled; ``running`` uses them meanwhile."""

    def __init__(self, model: NexusFormer) -> None:
        self.parts = [part for part in parts_of(model) if not part.refusals]
        self.kinds: set[Kind] = set()
        self._calls = [in_one_piece(part.module._call_impl) for part in self.parts]  # noqa: SLF001

    @contextmanager
    def running(self, batch: RelBatch) -> Iterator[None]:
        """Inside, the parts are compiled, unless kinds enough were before that of this batch."""
        kind = kind_of(batch)
        if kind not in self.kinds and len(self.kinds) == MOST_KINDS:
            yield
            return
        self.kinds.add(kind)
        for part, call in zip(self.parts, self._calls, strict=True):
            part.module._compiled_call_impl = call  # noqa: SLF001 - as ``Module.compile`` does
        try:
            # Sizes that happen to be equal in the first batch will not be in the next.
            with symbols.patch(use_duck_shape=False):
                yield
        finally:
            for part in self.parts:
                part.module._compiled_call_impl = None  # noqa: SLF001


class StepCompiler:
    """Compiles a model's parts when it is first asked to."""

    def __init__(self, model: NexusFormer) -> None:
        self._model = model
        self._parts: CompiledParts | None = None

    def around(self, batch: RelBatch, config: TrainingConfig) -> AbstractContextManager[None]:
        """What the forward pass of a step stands in."""
        if not config.compile:
            return nullcontext()
        if self._parts is None:
            self._parts = CompiledParts(self._model)
        return self._parts.running(batch)
