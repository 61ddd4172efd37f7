"""How much each table matters for being right: Shapley values of the loss over tables.

B samples, T tables. ``v(S)`` is how much less is lost when the tables ``S`` are a sample's own and
the others another sample's; a table's importance is its Shapley share of ``v(all)`` (Shapley 1953;
of a loss: Covert et al. 2020, SAGE, section 3), in nats for classes, in label units for numbers.
DIFFERS from SAGE: losses of donors are averaged, not their predictions, so that a table that is
independent of everything has importance zero exactly in expectation, whatever the model does.
"""

from collections.abc import Mapping
from itertools import chain, combinations
from math import factorial

import numpy as np
from pydantic import Field

from nexus_model.explain.coalitions import Coalitions, Tables, mean_estimate
from nexus_model.explain.outcome import losses
from nexus_model.schema import Record

Array = np.ndarray
MOST_EXACT = 8
ORDERS = 6


class TableImportance(Record):
    """One table: its Shapley share with interval, and what permuting it alone costs."""

    table: str
    shapley: float
    low: float
    high: float
    permutation: float = Field(description="rise of the loss when this table alone is exchanged")
    permutation_low: float
    permutation_high: float


class Importance(Record):
    """All tables, the most important first; ``total`` is what all of them together save."""

    unit: str
    samples: int
    clusters: int
    draws: int
    exact: bool = Field(description="every combination of tables was asked, none was sampled")
    total: float
    tables: tuple[TableImportance, ...]

    def __getitem__(self, table: str) -> TableImportance:
        return next(found for found in self.tables if found.table == table)


def table_importance(
    found: Coalitions, cluster_B: Array | None = None, *, seed: int = 0
) -> Importance:
    """Importance of every table; intervals draw whole clusters, such as entities."""
    exact = len(found.tables) <= MOST_EXACT
    own_TB = _exact(found) if exact else _sampled(found, seed)
    whole_B = _loss(found, ())
    rows = []
    for table, own_B in zip(found.tables, own_TB, strict=True):
        share = mean_estimate(own_B, cluster_B)
        alone = mean_estimate(_loss(found, (table,)) - whole_B, cluster_B)
        rows.append(
            TableImportance(
                table=table,
                shapley=share.value,
                low=share.low,
                high=share.high,
                permutation=alone.value,
                permutation_low=alone.low,
                permutation_high=alone.high,
            )
        )
    return Importance(
        unit="label units" if found.asked.task.kind.is_number else "nats",
        samples=len(whole_B),
        clusters=len(whole_B) if cluster_B is None else len(np.unique(cluster_B)),
        draws=len(found.donors),
        exact=exact,
        total=float((_loss(found, found.tables) - whole_B).mean()),
        tables=tuple(sorted(rows, key=lambda row: -row.shapley)),
    )


class ColumnImportance(Record):
    """One column of one table: rise of the loss with the cells of others, with interval."""

    table: str
    column: str
    permutation: float
    low: float
    high: float


def column_importance(
    found: Coalitions,
    columns: Mapping[str, tuple[str, ...]],
    cluster_B: Array | None = None,
) -> tuple[ColumnImportance, ...]:
    """What exchanging one column at a time costs, the largest first; rows and keys stay.

    ``columns`` names the cells of each table in order.
    """
    whole_B, rows = _loss(found, ()), []
    for table in found.tables:
        for cell, column in enumerate(columns[table]):
            mixed = [
                losses(found.asked.task, said, found.label_B)
                for said in found.with_column(table, cell)
            ]
            rise = mean_estimate(np.mean(mixed, axis=0) - whole_B, cluster_B)
            rows.append(
                ColumnImportance(
                    table=table, column=column, permutation=rise.value, low=rise.low, high=rise.high
                )
            )
    return tuple(sorted(rows, key=lambda row: -row.permutation))


def exact_shapley(tables: tuple[str, ...], value: Mapping[Tables, Array]) -> Array:
    """``[T, ...]`` from the value of every set of tables.

    >>> value = {frozenset(): 0.0, frozenset("a"): 1.0, frozenset("b"): 0.0, frozenset("ab"): 3.0}
    >>> exact_shapley(("a", "b"), {key: np.array(one) for key, one in value.items()}).tolist()
    [2.0, 1.0]
    """
    count, shares = len(tables), []
    for table in tables:
        others = [name for name in tables if name != table]
        parts = []
        for own in chain.from_iterable(combinations(others, k) for k in range(count)):
            weight = factorial(len(own)) * factorial(count - len(own) - 1) / factorial(count)
            parts.append(weight * (value[frozenset((*own, table))] - value[frozenset(own)]))
        shares.append(np.sum(parts, axis=0))
    return np.stack(shares)


def _loss(found: Coalitions, foreign: tuple[str, ...] | Tables) -> Array:
    """``[B]``: loss with these tables exchanged, mean over donors."""
    task = found.asked.task
    return np.mean([losses(task, p, found.label_B) for p in found.predictions(foreign)], axis=0)


def _exact(found: Coalitions) -> Array:
    every = frozenset(found.tables)
    sets = chain.from_iterable(combinations(found.tables, k) for k in range(len(every) + 1))
    value = {frozenset(own): -_loss(found, every - frozenset(own)) for own in sets}
    return exact_shapley(found.tables, value)


def _sampled(found: Coalitions, seed: int) -> Array:
    """Mean over orders in which tables become a sample's own, each order also walked back."""
    generator, names = np.random.default_rng(seed), np.array(found.tables)
    total = {name: np.zeros(found.own.samples) for name in found.tables}
    for _ in range(ORDERS // 2):
        order = generator.permutation(names).tolist()
        for walk in (order, order[::-1]):
            foreign = frozenset(found.tables)
            before = _loss(found, foreign)
            for table in walk:
                foreign -= {table}
                after = _loss(found, foreign)
                total[table] += (before - after) / ORDERS
                before = after
    return np.stack([total[name] for name in found.tables])
