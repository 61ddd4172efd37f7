"""Generated tables of any size: entities, and events whose number per entity is skewed.

E entities, R events, B samples. Written as Parquet, a batch at a time, in the order of time, so
that a file larger than memory can be made; the same arguments give the same bytes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Array = np.ndarray

START_US = 1_577_836_800_000_000  # 2020-01-01
DAY_US = 86_400_000_000
DAYS = 1000
KINDS = ("view", "order", "return", "call", "visit", "reply", "claim", "other")
MOST, TOP = 100_000, 3
BATCH = 500_000


class Shape(NamedTuple):
    """How large: entities and events."""

    entities: int
    events: int

    def batches(self) -> Iterator[int]:
        """Rows of each batch of events."""
        for first in range(0, self.events, BATCH):
            yield min(BATCH, self.events - first)


def children_of(shape: Shape, seed: int = 0) -> Array:
    """int64 [E]: how many events each entity has; they sum to ``shape.events``.

    Lognormal, so most have few and some many. Where there are events enough, the first three
    entities have ``MOST`` each, otherwise a twentieth of all.

    >>> children_of(Shape(10, 1000)).sum()
    np.int64(1000)
    """
    random = np.random.default_rng(seed)
    top = min(TOP, shape.entities - 1)
    most = min(MOST, shape.events // 20)
    weight_E = random.lognormal(0.0, 1.5, shape.entities)
    weight_E[:top] = 0.0
    left = shape.events - top * most
    share_E = np.floor(np.cumsum(weight_E) / weight_E.sum() * left).astype(np.int64)
    share_E[-1] = left
    counts_E = np.diff(share_E, prepend=0)
    counts_E[:top] = most
    return counts_E


def write_entities(path: Path, shape: Shape, seed: int = 0) -> None:
    """``entity_id``, when it joined, a region and an income."""
    random = np.random.default_rng(seed + 1)
    regions = np.array([f"region {number}" for number in range(20)])
    table = pa.table(
        {
            "entity_id": np.arange(shape.entities),
            "region": regions[random.integers(0, 20, shape.entities)],
            "income": random.lognormal(10, 0.5, shape.entities).round(2),
        }
    )
    pq.write_table(table, path)


def write_events(path: Path, shape: Shape, seed: int = 0) -> None:
    """``event_id``, ``entity_id``, ``happened``, two numbers and two categories, by time."""
    with pq.ParquetWriter(path, _SCHEMA) as writer:
        for batch in event_batches(shape, seed):
            writer.write_batch(batch)


_SCHEMA = pa.schema(
    {
        "event_id": pa.int64(),
        "entity_id": pa.int64(),
        "happened": pa.timestamp("us"),
        "amount": pa.float64(),
        "score": pa.float64(),
        "kind": pa.string(),
        "channel": pa.string(),
    }
)


def event_batches(shape: Shape, seed: int = 0) -> Iterator[pa.RecordBatch]:
    """Events in the order of time; of each entity exactly as many as ``children_of`` says."""
    random = np.random.default_rng(seed + 2)
    left_E = children_of(shape, seed)
    kinds, channels = pa.array(KINDS), pa.array(["web", "shop", "phone"])
    first, whole = 0, shape.events
    for rows in shape.batches():
        entity_R = _drawn(left_E, rows, random)
        event_R = np.arange(first, first + rows)
        moment_R = START_US + (event_R * (DAYS * DAY_US / whole)).astype(np.int64)
        amount_R = random.lognormal(3, 1, rows)
        columns = [
            pa.array(event_R),
            pa.array(entity_R),
            pa.array(moment_R, pa.timestamp("us")),
            pa.array(amount_R, mask=random.random(rows) < 0.05),
            pa.array(random.standard_normal(rows)),
            pa.DictionaryArray.from_arrays(_zipf(random, rows, len(KINDS)), kinds).cast(
                pa.string()
            ),
            pa.DictionaryArray.from_arrays(_zipf(random, rows, 3), channels).cast(pa.string()),
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)
        first += rows


def _drawn(left_E: Array, rows: int, random: np.random.Generator) -> Array:
    """The entities of a batch: of each its share of what is left; what is drawn is taken off."""
    total = int(left_E.sum())
    kept_E = np.diff(np.cumsum(left_E) * (total - rows) // total, prepend=0)
    entity_R = np.repeat(np.arange(len(left_E)), left_E - kept_E)
    left_E[:] = kept_E
    random.shuffle(entity_R)
    return entity_R


def _zipf(random: np.random.Generator, rows: int, values: int) -> Array:
    weights = 1.0 / np.arange(1, values + 1)
    return np.searchsorted(np.cumsum(weights / weights.sum()), random.random(rows)).astype(np.int32)
