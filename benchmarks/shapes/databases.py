"""Random databases: the same number gives the same schema, cells, files and project file.

Every shape a person's tables are known to have comes with some chance, and is named, so that a
result can be told by what was in the database. What the product may refuse is named too.
"""

import csv
import gzip
import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks.shapes import keys as made_keys
from benchmarks.shapes.cells import (
    KINDS,
    ODD_NAMES,
    PARQUET_KINDS,
    Column,
    Draw,
    csv_cell,
    thinned,
)
from benchmarks.shapes.targets import Asked, ask

TABLE_NAMES = (
    "orders", "order", "Kunden", "t1", "group", "events", "Strassen", "line_items", "people", "a",
    "select", "Table", "visits_2024", "samples", "links",
)  # fmt: skip
ENCODERS = ("mlp", "standard", "ft_transformer", "tabnet", "timeseries", "text")
SUFFIXES = ("csv", "csv", "csv.gz", "csv.zip", "parquet", "parquet")


class Link(NamedTuple):
    """Columns of a table that name rows of a parent."""

    columns: tuple[str, ...]
    parent: str


class Table(NamedTuple):
    """One table as it will be written."""

    name: str
    suffix: str
    columns: list[Column]
    primary: tuple[str, ...]
    links: list[Link]
    time_column: str | None

    @property
    def rows(self) -> int:
        """How many."""
        return len(self.columns[0].cells)

    def cells(self, names: Sequence[str]) -> list[tuple[Any, ...]]:
        """Cells of some columns, row by row."""
        known = {column.name: column.cells for column in self.columns}
        return list(zip(*(known[name] for name in names), strict=True))


class Database(NamedTuple):
    """Tables, what is asked of them, and the shapes that are in it."""

    number: int
    tables: list[Table]
    asked: Asked
    shapes: tuple[str, ...]
    settings: dict[str, Any]

    def __getitem__(self, name: str) -> Table:
        return next(table for table in self.tables if table.name == name)


class Wish(NamedTuple):
    """What a database must have, where it is not left to chance; ``rows`` by place of the table."""

    tables: int | None = None
    key: str | None = None
    links: tuple[tuple[int, int], ...] | None = None
    kinds: tuple[str, ...] | None = None
    columns: int | None = None
    rows: tuple[int, ...] = ()
    target: str | None = None
    suffix: str | None = None
    timed: bool | None = None


def make_database(number: int, wish: Wish | None = None) -> Database:
    """The database of this number; ``wish`` replaces what would be drawn."""
    wish = wish or Wish()
    draw = np.random.default_rng(number)
    count = wish.tables or int(draw.choice([1, 2, 3, 4, 5, 6, 7], p=_COUNTS))
    names = [str(name) for name in draw.permutation(TABLE_NAMES)[:count]]
    shapes: set[str] = {f"{count}_tables"}
    pairs = wish.links if wish.links is not None else _drawn_links(draw, count, shapes)
    entity = 0 if wish.links is not None else int(draw.integers(count))
    suffixes = [wish.suffix or str(draw.choice(SUFFIXES)) for _ in names]
    kinds = [wish.key or _drawn_key(draw, suffixes) for _ in names]
    if set(kinds) & set(made_keys.ONLY_CSV):
        suffixes = [suffix if suffix != "parquet" else "csv" for suffix in suffixes]
    shapes |= {f"key_{kind}" for kind in kinds} | set(suffixes)
    sizes = [
        wish.rows[place] if place < len(wish.rows) else _drawn_rows(draw, place == entity, shapes)
        for place in range(count)
    ]
    keys = [made_keys.make_key(draw, kind, rows) for kind, rows in zip(kinds, sizes, strict=True)]
    tables = []
    for place, name in enumerate(names):
        linked = [
            (parent, names[parent], keys[parent]) for child, parent in pairs if child == place
        ]
        tables.append(_table(draw, wish, (name, suffixes[place]), keys[place], linked, shapes))
    if wish.links is None:
        tables = [
            _without_key(draw, table, place == entity or _is_named(place, pairs), shapes)
            for place, table in enumerate(tables)
        ]
    asked, tables[entity] = ask(draw, wish.target, tables, entity, shapes)
    settings = _settings(draw)
    return Database(number, tables, asked, tuple(sorted(shapes)), settings)


_COUNTS = (0.08, 0.17, 0.25, 0.2, 0.15, 0.1, 0.05)


def _drawn_key(draw: Draw, suffixes: Sequence[str]) -> str:
    kinds = (*made_keys.SIMPLE, *made_keys.COMPOSITE)
    if "parquet" not in suffixes:
        kinds += made_keys.ONLY_CSV
    return str(draw.choice(kinds))


def _drawn_rows(draw: Draw, asked: bool, shapes: set[str]) -> int:  # noqa: FBT001 - of one table
    if asked:
        return int(draw.integers(30, 120))
    if draw.random() < 0.01:
        shapes.add("100000_rows")
        return 100_000
    return int(draw.choice([1, 2, 17, 60, 150, 300]))


def _drawn_links(draw: Draw, count: int, shapes: set[str]) -> tuple[tuple[int, int], ...]:
    """Child and parent of each foreign key: a tree, and then whatever else there may be."""
    pairs = []
    for place in range(1, count):
        if draw.random() < 0.07:
            shapes.add("isolated")
            continue
        other = int(draw.integers(place))
        pairs.append((place, other) if draw.random() < 0.65 else (other, place))
    extra = {
        "self_reference": lambda: (p := int(draw.integers(count)), p),
        "two_keys_to_one_parent": lambda: pairs[int(draw.integers(len(pairs)))],
        "cycle": lambda: pairs[int(draw.integers(len(pairs)))][::-1],
        "another_key": lambda: (int(draw.integers(count)), int(draw.integers(count))),
    }
    for shape, chosen in extra.items():
        if draw.random() < 0.15 and (pairs or shape == "self_reference"):
            pairs.append(chosen())
            shapes.add(shape)
    return tuple(pairs)


def _table(
    draw: Draw,
    wish: Wish,
    called: tuple[str, str],
    key: made_keys.Key,
    linked: list[tuple[int, str, made_keys.Key]],
    shapes: set[str],
) -> Table:
    name, suffix = called
    rows = len(key.rows)
    primary = tuple("id" if not place else f"id_{place}" for place in range(len(key.kinds)))
    columns = [
        Column(own, [cells[place] for cells in key.rows], kind)
        for place, (own, kind) in enumerate(zip(primary, key.kinds, strict=True))
    ]
    links: list[Link] = []
    for number, (_, parent, parent_key) in enumerate(linked):
        named = tuple(f"{parent}_{number}_{place}" for place in range(len(parent_key.kinds)))
        columns += _naming(draw, named, parent_key, rows, shapes)
        links.append(Link(named, parent))
    time_column = None
    timed = wish.timed if wish.timed is not None else draw.random() < 0.5
    if timed:
        time_column = "happened"
        columns.append(_time(draw, rows, shapes))
    else:
        shapes.add("table_without_time")
    columns += _features(draw, wish, suffix, rows, shapes)
    return Table(name, suffix, columns, primary, links, time_column)


def _naming(
    draw: Draw, names: tuple[str, ...], key: made_keys.Key, rows: int, shapes: set[str]
) -> Iterator[Column]:
    """Foreign key columns: most rows name a parent; one parent may have all of them, some none."""
    often = int(draw.integers(3))
    chosen = draw.integers(0, len(key.rows), rows)
    if often == 1:
        chosen = np.zeros(rows, int)
        shapes.add("all_children_of_one")
    cells: list[tuple[Any, ...]] = [key.rows[int(place)] for place in chosen]
    nothing = draw.choice([0.0, 0.1, 0.5, 1.0], p=[0.5, 0.3, 0.15, 0.05])
    lost = 0.1 if draw.random() < 0.3 else 0.0
    shapes |= {"orphans"} if lost else set()
    shapes |= {"key_all_null"} if nothing == 1.0 else set()
    for row in range(rows):
        if draw.random() < nothing:
            cells[row] = (None,) * len(names)
        elif draw.random() < lost:
            cells[row] = tuple(made_keys.lost_cell(kind) for kind in key.kinds)
    for place, (name, kind) in enumerate(zip(names, key.kinds, strict=True)):
        yield Column(name, [row[place] for row in cells], kind)


def _time(draw: Draw, rows: int, shapes: set[str]) -> Column:
    kind = str(draw.choice(["recent", "days", "before_1970", "zoned"], p=[0.5, 0.2, 0.1, 0.2]))
    shapes.add(f"time_{kind}")
    cells, arrow = KINDS[kind](draw, rows)
    column = Column("happened", cells, arrow)
    if draw.random() < 0.15:
        shapes.add("time_missing")
        column = thinned(draw, column, 0.1)
    return column


def _features(draw: Draw, wish: Wish, suffix: str, rows: int, shapes: set[str]) -> Iterator[Column]:
    known = {**KINDS, **(PARQUET_KINDS if suffix == "parquet" else {})}
    count = wish.columns if wish.columns is not None else int(draw.integers(0, 7))
    if wish.columns is None and draw.random() < 0.01:
        count = 500
        shapes.add("500_columns")
    kinds = wish.kinds or tuple(str(k) for k in draw.choice(list(known), count))
    odd = draw.permutation(ODD_NAMES).tolist()
    for place, kind in enumerate(kinds):
        cells, arrow = known[kind](draw, rows)
        name = str(odd[place]) if place < len(odd) and draw.random() < 0.3 else f"f{place}_{kind}"
        column = Column(name, cells, arrow)
        shapes.add(kind)
        missing = draw.choice([0.0, 0.1, 0.9], p=[0.6, 0.3, 0.1])
        yield thinned(draw, column, float(missing)) if missing else column


def _is_named(place: int, pairs: Sequence[tuple[int, int]]) -> bool:
    return any(parent == place for _, parent in pairs)


def _without_key(draw: Draw, table: Table, needed: bool, shapes: set[str]) -> Table:  # noqa: FBT001
    """Some tables nobody names have no key; of those some name their parents and no more."""
    if needed or draw.random() > 0.3:
        return table
    shapes.add("bridge" if len(table.links) > 1 else "table_without_key")
    kept = [column for column in table.columns if column.name not in table.primary]
    return table._replace(columns=kept, primary=()) if kept else table


def _settings(draw: Draw) -> dict[str, Any]:
    return {
        "encoders": [str(name) for name in draw.choice(ENCODERS, 15)],
        "numerical": str(draw.choice(["standard", "quantile"])),
        "split_seed": int(draw.integers(100)),
    }


def write_tables(database: Database, folder: Path) -> None:
    """Every table as its file below ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in database.tables:
        file = folder / f"{table.name}.{table.suffix}"
        if table.suffix == "parquet":
            arrays = [pa.array(c.cells, _plain(c.kind)).cast(c.kind) for c in table.columns]
            pq.write_table(pa.table(arrays, [c.name for c in table.columns]), file)
            continue
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([column.name for column in table.columns])
        rows = zip(*(map(csv_cell, column.cells) for column in table.columns), strict=True)
        # A row of one empty cell would be an empty line.
        writer.writerows(row if len(row) > 1 or row[0] else ("NULL",) for row in rows)
        content = text.getvalue().encode()
        if table.suffix == "csv.gz":
            file.write_bytes(gzip.compress(content, mtime=0))
        elif table.suffix == "csv.zip":
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr(f"{table.name}.csv", content)
        else:
            file.write_bytes(content)


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def project_file(database: Database, lost: Sequence[str], depth: int) -> str:
    """The YAML of a project, without the tables that nothing leads to."""
    settings, asked = database.settings, database.asked
    datasets = []
    for place, table in enumerate(database.tables):
        if table.name in lost:
            continue
        encoder = settings["encoders"][place]
        found: dict[str, Any] = {"name": table.name, "transformer_type": encoder}
        if table.primary:
            found["primary_key"] = list(table.primary)
        links = [link for link in table.links if link.parent not in lost]
        if links:
            found["foreign_keys"] = [
                {"columns": list(link.columns), "references_table": link.parent} for link in links
            ]
        if table.time_column:
            found["time_column"] = table.time_column
        datasets.append(found)
    content = {
        "project_name": "shapes",
        "raw_folder": "raw",
        **asked.as_settings(),
        "datasets": datasets,
        "alignment": {"max_depth": depth, "max_rows": 8},
        "tokenization": {"numerical": settings["numerical"]},
        "architecture": {"global_embed_dim": 16, "heads": 2, "refinement_iterations": 1},
        "training": {"epochs": 1, "batch_size": 64, "optimizer": {"warmup_steps": 1}},
    }
    content.setdefault("split", {})
    if asked.horizon_days is None:
        content["split"] = {"seed": settings["split_seed"]}
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
