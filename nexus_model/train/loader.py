"""Loader: samples of a tokenized task, batch by batch, in an order that follows from the epoch.

B samples.
Batches of similar samples are those of one window of the random order, sorted by the rows they
read: padding is the difference between the largest sample of a batch and the others.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from nexus_model.config import NexusConfig
from nexus_model.schema import Record, TaskSpec
from nexus_model.tokenize.also import AlsoGoal
from nexus_model.tokenize.batch import RelBatch, TaskTensors, build_batch
from nexus_model.tokenize.cohorts import cohorts, whole_cohorts
from nexus_model.tokenize.statistics import LabelScale
from nexus_model.train.config import Batches
from nexus_model.train.devices import Ranks

Array = np.ndarray
WINDOW = 8  # batches that are sorted together, so that an epoch still mixes samples


class Goal(Record):
    """What to learn: the task, its label's scale, and whether a larger score is better.

    ``also`` are further tasks whose labels the batches carry; only the task itself is scored.
    """

    task: TaskSpec
    scale: LabelScale
    higher_is_better: bool
    also: tuple[AlsoGoal, ...] = ()


class Share(NamedTuple):
    """A rank's part of a batch: the samples of all ranks, its own, and their part of the whole.

    A rank without a sample of its own gets one of another's with weight 0: it has to keep step.
    """

    whole_B: Array
    batch: RelBatch
    weight: float


def rows_read(tensors: TaskTensors, chosen_B: Array) -> Array:
    """int64 [B]: how many rows each sample sees, along all paths."""
    total_B = np.zeros(len(chosen_B), np.int64)
    for index in tensors.indexes:
        total_B += index.offsets_B[chosen_B + 1] - index.offsets_B[chosen_B]
    return total_B


class NexusLoader:
    """``chosen_B`` samples in batches; iterating it again is the next epoch, in its own order.

    ``shuffle`` may say who shares a batch; where cohorts stay whole it says nothing more.
    ``model`` is whom the batches are for: how far rows are followed, whether cohorts stay whole.
    ``prefetch`` batches are made ahead by a thread; 0 makes each when it is asked for. Either way
    the batches are the same.
    """

    def __init__(
        self,
        tensors: TaskTensors,
        chosen_B: Array,
        batch_size: int = 256,
        shuffle: bool | Batches = False,  # noqa: FBT001, FBT002 - as loaders are called everywhere
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
        if drawn is None:
            return self._cut(self.chosen_B)
        order_B = drawn.permutation(self.chosen_B)
        if self.shuffle is not Batches.SIMILAR:
            return self._cut(order_B)
        window_B = np.arange(len(order_B)) // (self.batch_size * WINDOW)
        parts = self._cut(order_B[np.lexsort((rows_read(self.tensors, order_B), window_B))])
        return [parts[at] for at in drawn.permutation(len(parts))]

    def _cut(self, order_B: Array) -> list[Array]:
        size = self.batch_size
        return [order_B[at : at + size] for at in range(0, len(order_B), size)]

    def epoch(self, epoch: int) -> Iterator[tuple[Array, RelBatch]]:
        """Sample numbers and batch, one after another."""
        parts = self._parts(epoch)
        return zip(parts, self._batches(iter(parts)), strict=True)

    def shares(self, epoch: int, ranks: Ranks) -> Iterator[Share]:
        """A rank's share of every batch, one after another; cohorts stay whole where they do.

        Every sample is in the share of one rank.
        """
        parts = self._parts(epoch)
        own = [self.own_share(part_B, ranks) for part_B in parts]
        made = self._batches(
            own_B if len(own_B) else part_B[:1] for own_B, part_B in zip(own, parts, strict=True)
        )
        for part_B, own_B, batch in zip(parts, own, made, strict=True):
            yield Share(part_B, batch, len(own_B) / len(part_B))

    def own_share(self, part_B: Array, ranks: Ranks) -> Array:
        """Which of these samples are a rank's own; there may be none."""
        together_B = cohorts(self.tensors.times, part_B) if self.model.cohort else None
        return ranks.own(part_B, together_B)

    def _batches(self, parts: Iterator[Array]) -> Iterator[RelBatch]:
        return self._ahead(parts) if self.prefetch else map(self._made, parts)

    def _made(self, part_B: Array) -> RelBatch:
        return build_batch(self.tensors, part_B, self.model.parent_hops)

    def _ahead(self, parts: Iterator[Array]) -> Iterator[RelBatch]:
        with ThreadPoolExecutor(max_workers=1) as thread:
            waiting: deque[Future[RelBatch]] = deque()
            for part_B in parts:
                waiting.append(thread.submit(self._made, part_B))
                if len(waiting) > self.prefetch:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
