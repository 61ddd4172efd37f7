"""Loader: samples of a tokenized task, batch by batch, in an order that follows from the epoch.

B samples.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from nexus_model.config import NexusConfig
from nexus_model.schema import Record, TaskSpec
from nexus_model.tokenize.batch import RelBatch, TaskTensors, build_batch
from nexus_model.tokenize.cohorts import whole_cohorts
from nexus_model.tokenize.statistics import LabelScale

Array = np.ndarray


class Goal(Record):
    """What to learn: the task, its label's scale, and whether a larger score is better."""

    task: TaskSpec
    scale: LabelScale
    higher_is_better: bool


class NexusLoader:
    """``chosen_B`` samples in batches; iterating it again is the next epoch, in its own order.

    ``model`` is whom the batches are for: how far rows are followed, whether cohorts stay whole.
    ``prefetch`` batches are made ahead by a thread; 0 makes each when it is asked for. Either way
    the batches are the same.
    """

    def __init__(
        self,
        tensors: TaskTensors,
        chosen_B: Array,
        batch_size: int = 256,
        shuffle: bool = False,  # noqa: FBT001, FBT002 - as loaders are called everywhere
        *,
        goal: Goal,
        model: NexusConfig | None = None,
        seed: int = 0,
        prefetch: int = 0,
    ) -> None:
        if batch_size < 1 or prefetch < 0:
            raise ValueError(
                f"batch_size must be at least 1 and prefetch 0, got {batch_size} and {prefetch}"
            )
        self.tensors, self.chosen_B, self.goal = tensors, np.asarray(chosen_B), goal
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        self.model, self.prefetch = model or NexusConfig(), prefetch
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._parts(0))

    def __iter__(self) -> Iterator[RelBatch]:
        epoch, self._epoch = self._epoch, self._epoch + 1
        for _, batch in self.epoch(epoch):
            yield batch

    def order(self, epoch: int) -> Array:
        """The samples of an epoch in their order."""
        return np.concatenate([self.chosen_B[:0], *self._parts(epoch)])

    def _parts(self, epoch: int) -> list[Array]:
        """Samples of each batch of an epoch; there are as many in every epoch."""
        drawn = np.random.default_rng([self.seed, epoch]) if self.shuffle else None
        if self.model.cohort:
            return whole_cohorts(self.tensors.times, self.chosen_B, self.batch_size, drawn)
        order_B = self.chosen_B if drawn is None else drawn.permutation(self.chosen_B)
        size = self.batch_size
        return [order_B[at : at + size] for at in range(0, len(order_B), size)]

    def epoch(self, epoch: int) -> Iterator[tuple[Array, RelBatch]]:
        """Sample numbers and batch, one after another."""
        parts = iter(self._parts(epoch))
        return self._ahead(parts) if self.prefetch else map(self._made, parts)

    def _made(self, part_B: Array) -> tuple[Array, RelBatch]:
        return part_B, build_batch(self.tensors, part_B, self.model.parent_hops)

    def _ahead(self, parts: Iterator[Array]) -> Iterator[tuple[Array, RelBatch]]:
        with ThreadPoolExecutor(max_workers=1) as thread:
            waiting: deque[Future[tuple[Array, RelBatch]]] = deque()
            for part_B in parts:
                waiting.append(thread.submit(self._made, part_B))
                if len(waiting) > self.prefetch:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
