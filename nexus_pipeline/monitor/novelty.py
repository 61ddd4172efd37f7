"""Entities unlike any that training knew: distance of fused vectors to the nearest of training's.

``B`` entities asked about, ``N`` entities of training, ``D`` width. How far is far is told by
training itself: the distance of each of its entities to the nearest other one. The 99th percentile
of those is the line; of entities like training's about one in a hundred is beyond it.
The distance is one less the cosine, as in the report's nearest entities.
"""

from typing import NamedTuple

import numpy as np

from nexus_pipeline.monitor.distances import Array, Tested

LINE = 0.99
AT_ONCE = 1_000


class Vectors(NamedTuple):
    """``[N, D]`` vectors of length one, and whose each is."""

    states_ND: Array
    keys: tuple[str, ...]


def nearest_distances(asked: Vectors, known: Vectors) -> Array:
    """``[B]``: distance of each to the nearest known that is not the same entity; inf without.

    >>> east, north = Vectors(np.array([[1.0, 0.0]]), ("a",)), Vectors(np.eye(2), ("a", "b"))
    >>> nearest_distances(east, north).tolist()
    [1.0]
    """
    numbers = {key: at for at, key in enumerate(dict.fromkeys((*known.keys, *asked.keys)))}
    own_B, known_N = (np.array([numbers[key] for key in side.keys]) for side in (asked, known))
    found = np.full(len(own_B), np.inf)
    if not len(known_N):
        return found
    for start in range(0, len(own_B), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        cosine_BN = asked.states_ND[some] @ known.states_ND.T
        cosine_BN[own_B[some][:, None] == known_N] = -np.inf
        found[some] = 1 - cosine_BN.max(axis=1)
    return np.maximum(found, 0.0)


def novelty_quantiles(asked: Vectors, known: Vectors) -> tuple[Array, Array]:
    """Distance of each asked about, and its place among training's own distances, 0 to 1."""
    own = np.sort(nearest_distances(known, known))
    found = nearest_distances(asked, known)
    return found, np.searchsorted(own, found, side="left") / max(1, len(own))


def novel_share(quantiles: Array, known: int) -> Tested:
    """Share beyond the line, with Fisher's exact one-sided p-value against training's own share.

    >>> novel_share(np.array([0.2, 0.999]), 1000).size
    0.5
    """
    from scipy.stats import fisher_exact  # type: ignore[import-untyped]

    if not len(quantiles) or not known:
        return Tested(0.0, 1.0)
    far, usual = int((quantiles > LINE).sum()), round((1 - LINE) * known)
    counts = [[far, len(quantiles) - far], [usual, known - usual]]
    return Tested(far / len(quantiles), float(fisher_exact(counts, alternative="greater").pvalue))
