"""Engines: how the gradients of all ranks become one, with what torch has for it.

One process needs nothing; ``ddp`` keeps the model whole on every rank (Li et al. 2020, PyTorch
Distributed); ``fsdp`` keeps a part of every weight, gradient and moment on each (Zhao et al. 2023,
PyTorch FSDP; ``fully_shard``). Both average over ranks.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol, assert_never

import torch
from torch import Tensor, nn

from nexus_model.model import NexusFormer
from nexus_model.schema import ConfigurationError
from nexus_model.tokenize.batch import RelBatch
from nexus_model.train.compiled import StepCompiler
from nexus_model.train.config import Strategy, TrainingConfig
from nexus_model.train.devices import Ranks
from nexus_model.train.loader import Goal
from nexus_model.train.losses import Losses, LossModule, batch_losses
from nexus_model.train.observe import LoadCounts
from nexus_model.train.sharding import whole

Answer = Callable[[str, Tensor], Tensor]


class Engine(Protocol):
    """``trained`` holds the weights an optimiser moves: the model, or a copy in parts.

    ``losses`` are this rank's; the gradient of their backward is the mean over ranks, except inside
    ``unsynced``. Inside ``answering`` the model holds what ``answer`` gives for its weights.
    """

    model: NexusFormer
    trained: nn.Module
    ranks: Ranks

    def losses(
        self, batch: RelBatch, goal: Goal, config: TrainingConfig, counts: LoadCounts | None = None
    ) -> Losses: ...

    def unsynced(self) -> AbstractContextManager[object]: ...

    def answering(self, answer: Answer) -> AbstractContextManager[None]: ...


class Single:
    """The only process."""

    def __init__(self, model: NexusFormer, ranks: Ranks = Ranks()) -> None:  # noqa: B008 - frozen
        self.model, self.ranks = model, ranks
        self.trained: nn.Module = model
        self._compiler = StepCompiler(model)

    def losses(
        self, batch: RelBatch, goal: Goal, config: TrainingConfig, counts: LoadCounts | None = None
    ) -> Losses:
        """Of the model."""
        with self._compiler.around(batch, config):
            return batch_losses(self.model, batch, goal, config, counts)

    def unsynced(self) -> AbstractContextManager[object]:
        """There is nobody to wait for."""
        return nullcontext()

    def answering(self, answer: Answer) -> AbstractContextManager[None]:
        """In place."""
        return _swapped(self.model, answer)


class Replicated:
    """The whole model on every rank; gradients are averaged while backward still runs.

    Weights that a batch leaves idle, such as those of an expert nobody chose, are waited for by
    nobody.
    """

    def __init__(self, model: NexusFormer, ranks: Ranks) -> None:
        from torch.nn.parallel import DistributedDataParallel

        self.model, self.ranks = model.to(ranks.device), ranks
        self.trained: nn.Module = self.model
        self._compiler = StepCompiler(model)
        self._wrapped = DistributedDataParallel(
            LossModule(model), forward_sync_buffers=False, find_unused_parameters=True
        )

    def losses(
        self, batch: RelBatch, goal: Goal, config: TrainingConfig, counts: LoadCounts | None = None
    ) -> Losses:
        """Of this rank's replica."""
        with self._compiler.around(batch, config):
            found: Losses = self._wrapped(batch, goal, config, counts)
        return found

    def unsynced(self) -> AbstractContextManager[object]:
        """Gradients stay with this rank and are added to those of the next backward."""
        held: AbstractContextManager[object] = self._wrapped.no_sync()
        return held

    def answering(self, answer: Answer) -> AbstractContextManager[None]:
        """In place, on every rank."""
        return _swapped(self.model, answer)


class Sharded:
    """A part of every weight on each rank; ``model`` waits whole on the CPU for validation.

    Table encoders, path encoders and the refinement are gathered one at a time. The refinement is
    one part however many cycles a rank draws, so that all gather equally often.
    DIFFERS from one process: a weight that no rank used takes a step with gradient zero.
    """

    def __init__(self, model: NexusFormer, ranks: Ranks) -> None:
        self.model, self.ranks = model, ranks
        _same_on_all(model.to(ranks.device))
        self._sharded = _fully_sharded(copy.deepcopy(model))
        self.trained: nn.Module = self._sharded
        model.to("cpu")

    def losses(
        self, batch: RelBatch, goal: Goal, config: TrainingConfig, counts: LoadCounts | None = None
    ) -> Losses:
        """Of the weights as they are gathered.

        Raises:
            ConfigurationError: they should be compiled, but are never there all at once.
        """
        if config.compile:
            raise ConfigurationError("training.compile goes with one device or ddp, got fsdp")
        return batch_losses(self._sharded, batch, goal, config, counts)

    @contextmanager
    def unsynced(self) -> Iterator[None]:
        """Whole gradients stay with this rank and are added to those of the next backward."""
        self._sharded.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            self._sharded.set_requires_gradient_sync(True)

    @contextmanager
    def answering(self, answer: Answer) -> Iterator[None]:
        """In the whole model, which keeps them afterwards."""
        shown = dict(self.model.named_parameters()) | dict(self.model.named_buffers())
        with torch.no_grad():
            for name, weight in self.trained.named_parameters():
                shown[name].copy_(whole(answer(name, weight)))
            for name, buffer in self.trained.named_buffers():
                shown[name].copy_(buffer)
        self.model.to(self.ranks.device)
        try:
            yield
        finally:
            self.model.to("cpu")


def build_engine(model: NexusFormer, ranks: Ranks) -> Engine:
    """The engine of these ranks; all of them begin with the weights of rank 0."""
    if ranks.world_size == 1:
        return Single(model, ranks)
    match ranks.strategy:
        case Strategy.DDP:
            return Replicated(model, ranks)
        case Strategy.FSDP:
            return Sharded(model, ranks)
        case _ as unreachable:
            assert_never(unreachable)


def _fully_sharded(model: NexusFormer) -> NexusFormer:
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    for part in (*model.database.tables.values(), *model.paths, model.refine):
        if any(True for _ in part.parameters()):
            fully_shard(part)
    fully_shard(model)
    register_fsdp_forward_method(model, "answers")
    model.set_reduce_scatter_unused_params(True)
    return model


def _same_on_all(model: nn.Module) -> None:
    for tensor in (*model.parameters(), *model.buffers()):
        torch.distributed.broadcast(tensor.detach(), src=0)


@contextmanager
def _swapped(model: nn.Module, answer: Answer) -> Iterator[None]:
    held: list[tuple[Tensor, Tensor]] = []
    for name, weight in model.named_parameters():
        found = answer(name, weight)
        if found is not weight:
            held.append((weight, weight.detach().clone()))
            weight.data.copy_(found)
    try:
        yield
    finally:
        for weight, trained in held:
            weight.data.copy_(trained)
