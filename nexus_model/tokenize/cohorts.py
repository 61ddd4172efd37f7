"""Cohorts: samples asked at one cutoff from data of one moment, and batches that keep them whole.

B samples.
"""

import numpy as np

from nexus_model.align.index import NEVER, SampleTimes

Array = np.ndarray


def cohorts(times: SampleTimes, chosen_B: Array) -> Array:
    """int64 [B]: which of the chosen samples are asked together, as numbers from 0.

    A sample without a cutoff is asked alone.

    >>> moments = np.array([5, 5, NEVER, NEVER, 4])
    >>> cohorts(SampleTimes(np.arange(5), moments, moments), np.arange(5)).tolist()
    [1, 1, 2, 3, 0]
    """
    cutoff_B, as_of_B = times.cutoff_B[chosen_B], times.as_of_B[chosen_B]
    alone_B = cutoff_B == NEVER
    number_B = np.zeros(len(chosen_B), np.int64)
    together = np.stack([cutoff_B[~alone_B], as_of_B[~alone_B]], axis=1)
    number_B[~alone_B] = np.unique(together, axis=0, return_inverse=True)[1].reshape(-1)
    first = int(number_B[~alone_B].max(initial=-1)) + 1
    number_B[alone_B] = first + np.arange(int(alone_B.sum()))
    return number_B


def whole_cohorts(
    times: SampleTimes, chosen_B: Array, size: int, shuffle: np.random.Generator | None = None
) -> list[Array]:
    """The chosen samples in parts of about ``size`` that keep every cohort whole.

    There are as many parts however the cohorts are shuffled; without a generator they come by
    cutoff.
    """
    number_B = cohorts(times, chosen_B)
    count = int(number_B.max(initial=-1)) + 1
    place = np.arange(count)
    if shuffle is not None:
        place = shuffle.permutation(count)
    parts = min(count, max(1, round(len(chosen_B) / size)))
    part_B = place[number_B] * parts // max(count, 1)
    sorted_B = np.lexsort((place[number_B], part_B))
    ends = np.searchsorted(part_B[sorted_B], np.arange(1, parts))
    return np.split(chosen_B[sorted_B], ends) if parts else []
