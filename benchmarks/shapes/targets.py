"""What is asked of a random database: a column of a table, or what happens after a moment."""

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from benchmarks.shapes.cells import Column, Draw

if TYPE_CHECKING:
    from benchmarks.shapes.databases import Table

TARGETS = (
    "binary", "words", "booleans", "classes", "rare_class", "regression", "skewed", "whole",
    "with_gaps",
)  # fmt: skip
HORIZON_DAYS = 60
FIRST, LAST = dt.datetime(2019, 1, 1), dt.datetime(2024, 1, 1)


class Asked(NamedTuple):
    """A static target, or a task in time with the SQL of its labels."""

    table: str
    column: str | None = None
    horizon_days: int | None = None
    sql: str = ""

    def as_settings(self) -> dict[str, Any]:
        """The part of the project file that asks."""
        if self.horizon_days is None:
            return {"target": {"target_table": self.table, "target_column": self.column}}
        task = {
            "name": "soon", "entity_table": self.table, "kind": "binary", "sql": "soon",
            "horizon_days": self.horizon_days,
        }  # fmt: skip
        return {
            "tasks": [task],
            "split": {"validation_from": "2022-06-01", "test_from": "2023-03-01"},
        }


def ask(
    draw: Draw, wished: str | None, tables: Sequence["Table"], entity: int, shapes: set[str]
) -> tuple[Asked, "Table"]:
    """What is asked, and the table asked about with its label where that is a column of it."""
    table = tables[entity]
    child = _dated_child(tables, table)
    if wished == "in_time" or (wished is None and child is not None and draw.random() < 0.5):
        if child is None:
            raise ValueError("a task in time needs a child table with times of these years")
        shapes.add("task_in_time")
        return _in_time(table, *child), table
    kind = wished or str(draw.choice(TARGETS))
    shapes.add(f"target_{kind}")
    if table.links:
        shapes.add("target_in_a_child_table")
    label = Column("label_asked", *_labels(draw, kind, table.rows))
    place = int(draw.integers(len(table.columns) + 1))
    columns = [*table.columns[:place], label, *table.columns[place:]]
    return Asked(table.name, label.name), table._replace(columns=columns)


def _labels(draw: Draw, kind: str, rows: int) -> tuple[list[Any], pa.DataType]:
    binary = (draw.random(rows) < 0.4).tolist()
    gaps = draw.random(rows) < 0.4
    rare = ["common" if drawn < 0.6 else "other" for drawn in draw.random(rows)]
    # Some class has one row, which is in one split only.
    rare[int(draw.integers(rows))] = "🦄 rare"
    of_kind: dict[str, tuple[list[Any], pa.DataType]] = {
        "binary": ([int(cell) for cell in binary], pa.int64()),
        "words": (["yes" if cell else "no" for cell in binary], pa.string()),
        "booleans": (binary, pa.bool_()),
        "classes": ([f"class {n}" for n in draw.integers(0, 5, rows)], pa.string()),
        "rare_class": (rare, pa.string()),
        "regression": (draw.normal(size=rows).tolist(), pa.float64()),
        "skewed": (np.exp(4 * draw.normal(size=rows)).tolist(), pa.float64()),
        "whole": (draw.integers(0, 4000, rows).tolist(), pa.int64()),
        "with_gaps": (
            [None if gap else int(cell) for cell, gap in zip(binary, gaps, strict=True)],
            pa.int64(),
        ),
    }
    return of_kind[kind]


def _dated_child(
    tables: Sequence["Table"], table: "Table"
) -> tuple["Table", tuple[str, ...]] | None:
    """A table whose rows name those asked about and happened in the years that are split."""
    for other in tables:
        moments = [c for c in other.columns if c.name == other.time_column]
        if other is table or not moments or not pa.types.is_timestamp(moments[0].kind):
            continue
        known = [cell for cell in moments[0].cells if cell is not None]
        if len(known) < 100 or min(known).year < FIRST.year:
            continue
        for link in other.links:
            if link.parent == table.name:
                return other, link.columns
    return None


def _in_time(table: "Table", child: "Table", columns: tuple[str, ...]) -> Asked:
    keys = ", ".join(f'entity."{name}"' for name in table.primary)
    on = " and ".join(
        f'child."{mine}" = entity."{theirs}"'
        for mine, theirs in zip(columns, table.primary, strict=True)
    )
    sql = f"""\
select {keys}, asked.cutoff,
    cast(count(child._row) > 0 as integer) as label
from aligned."{table.name}" as entity
cross join aligned.cutoffs_soon as asked
left join aligned."{child.name}" as child
    on {on} and child._time > asked.cutoff and child._time <= asked.window_end
group by all
"""
    return Asked(table.name, horizon_days=HORIZON_DAYS, sql=sql)
