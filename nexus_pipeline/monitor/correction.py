"""Many tests at once: Holm's correction.

S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statistics 6 (1979).
It bounds the chance of even one false alarm in a run, whatever the tests have to do with each
other; columns of one table do. Benjamini and Hochberg bound the share of false ones among the
alarms instead, which is of use to somebody who reads a list, not to somebody who is woken up.
"""

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected p-values, in the order given; under ``alpha`` is significant in the whole family.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    >>> holm([])
    []
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    rising = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(rising, 1.0)
    return [float(value) for value in corrected]
