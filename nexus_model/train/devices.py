"""Ranks: which of several training processes this one is, its share, and what they tell each other.

Words are those of torch.distributed: a process group of ``world_size`` processes, each with its
rank. torchrun starts them and says in the environment who is who; a process by itself is rank 0 of
1. B samples.
"""

import atexit
import datetime as dt
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nexus_model.schema import ConfigurationError
from nexus_model.train.config import Strategy

Array = np.ndarray
# A rank that died is noticed by torchrun at once; this is for one that hangs.
WAITS = dt.timedelta(hours=1)


class Ranks(NamedTuple):
    """One process among those that train together; every method but ``is_first`` is asked by all.

    ``device`` is where this rank computes.

    >>> Ranks().total(2.0, 3.0)
    [2.0, 3.0]
    """

    rank: int = 0
    world_size: int = 1
    device: torch.device = torch.device("cpu")
    strategy: Strategy = Strategy.DDP

    @property
    def is_first(self) -> bool:
        """Whether this rank writes files and tells of progress."""
        return self.rank == 0

    def total(self, *numbers: float) -> list[float]:
        """Each number summed over the ranks; the same sums on all of them."""
        return self.summed(torch.tensor(numbers, dtype=torch.float64)).tolist()

    def summed(self, tensor: Tensor) -> Tensor:
        """The tensor summed over the ranks, on the CPU."""
        if self.world_size == 1:
            return tensor.cpu()
        moved = tensor.to(self.device, copy=True)
        torch.distributed.all_reduce(moved)
        return moved.cpu()

    def of_first(self, found: Callable[[], float]) -> float:
        """What rank 0 finds; nobody else looks, and all are told."""
        return self.total(found() if self.is_first else 0.0)[0]

    def gathered(self, number: float) -> list[float]:
        """The number of every rank, in their order."""
        return self.total(*(number if rank == self.rank else 0.0 for rank in self._all))

    def mean(self, parts: Sequence[Tensor]) -> float | None:
        """Mean over the values all ranks have in all parts; None if there are none."""
        values = sum(float(part.sum(dtype=torch.float64)) for part in parts)
        total, count = self.total(values, sum(part.numel() for part in parts))
        return total / count if count else None

    def own(self, chosen_B: Array, together_B: Array | None = None) -> Array:
        """This rank's share; samples with equal numbers in ``together_B`` stay with one rank.

        >>> [Ranks(rank, 3).own(np.arange(7)).tolist() for rank in range(3)]
        [[0, 1], [2, 3, 4], [5, 6]]
        >>> cohort_B = np.array([1, 1, 1, 1, 0])
        >>> [Ranks(rank, 2).own(np.arange(5), cohort_B).tolist() for rank in range(2)]
        [[4], [0, 1, 2, 3]]
        """
        if self.world_size == 1:
            return chosen_B
        number_B = np.arange(len(chosen_B)) if together_B is None else together_B
        return chosen_B[rank_of(number_B, self.world_size) == self.rank]

    @property
    def _all(self) -> range:
        return range(self.world_size)


def rank_of(number_B: Array, world_size: int) -> Array:
    """int64 [B]: the rank of every sample, by the number from 0 of the cohort it belongs to.

    Cohorts stand one after another, each as long as it has samples, and that length is cut evenly:
    a cohort goes where its middle falls.

    >>> rank_of(np.array([0, 0, 0, 1, 2, 2]), 2).tolist()
    [0, 0, 0, 1, 1, 1]
    """
    size = np.bincount(number_B)
    middle = 2 * np.cumsum(size) - size
    return (middle * world_size // max(1, 2 * len(number_B)))[number_B]


def own_device(local_rank: int = 0) -> torch.device:
    """The CUDA device of this number, or the CPU where there is none at all.

    Raises:
        ConfigurationError: there are CUDA devices, but not so many.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if local_rank >= torch.cuda.device_count():
        raise ConfigurationError(
            f"more processes than the {torch.cuda.device_count()} CUDA device(s) of this machine: "
            f"none is left for local rank {local_rank}"
        )
    return torch.device("cuda", local_rank)


def alone() -> Ranks:
    """This process by itself, on a CUDA device if there is one."""
    return Ranks(device=own_device())


def joined(strategy: Strategy = Strategy.DDP) -> Ranks:
    """This process as one of those that torchrun started; by itself if it did not.

    A process group that is there already is used. One that is begun here is left open until the
    process ends: torchrun's ranks cannot meet a second time without mistaking old words for new.
    """
    from torch import distributed

    told = {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR")}
    begun = distributed.is_available() and distributed.is_initialized()
    if not begun and (None in told.values() or told["WORLD_SIZE"] == "1"):
        return alone()
    device = own_device(int(os.environ.get("LOCAL_RANK", "0")))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not begun:
        backend = "nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, timeout=WAITS)
        atexit.register(_part)
    return Ranks(distributed.get_rank(), distributed.get_world_size(), device, strategy)


def _part() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
