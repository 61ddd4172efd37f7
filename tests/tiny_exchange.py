"""A sample's rows and state, small enough to check by hand: three paths of 3, 2 and 4 rows."""

import torch

from nexus_model.exchange.memory import Memory

WIDTH, HEADS, PATHS = 8, 2, 3
PATH_K = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])
PATH_Q = torch.tensor([0, 0, 1, 1, 2, 2])


def memory(batch=3, seed=0, dtype=torch.float32):
    """Rows of three paths; the last row of each path is padding."""
    some = torch.Generator().manual_seed(seed)
    keep_BK = torch.ones(batch, len(PATH_K), dtype=torch.bool)
    keep_BK[:, [2, 4, 8]] = False
    rows_BKD = torch.randn(batch, len(PATH_K), WIDTH, generator=some, dtype=dtype)
    keep_BQ = torch.ones(batch, len(PATH_Q), dtype=torch.bool)
    return Memory(rows_BKD, keep_BK, PATH_K.expand(batch, -1), PATH_Q, keep_BQ, paths=PATHS)


def state(batch=3, seed=1, dtype=torch.float32):
    """State tokens, two of each path."""
    some = torch.Generator().manual_seed(seed)
    return torch.randn(batch, len(PATH_Q), WIDTH, generator=some, dtype=dtype)


def changed(rows_BKD, of_K, path):
    """The same with other numbers where ``of_K`` is ``path``."""
    return torch.where((of_K == path)[:, None], rows_BKD.flip(-1) + 1, rows_BKD)


def part_of(given, samples):
    """The memory of some samples alone."""
    at = torch.tensor(samples)
    return given._replace(
        rows_BKD=given.rows_BKD[at],
        keep_BK=given.keep_BK[at],
        keep_BQ=given.keep_BQ[at],
        path_BK=given.path_BK[at],
    )


def without(given, path):
    """The memory with a table missing altogether."""
    return given._replace(
        keep_BK=given.keep_BK & (given.path_BK != path), keep_BQ=given.keep_BQ & (path != PATH_Q)
    )
