"""Leaks: what training would learn that nobody knows when the question is asked.

Looked for in what was stored, by SQL of its own: the samples, and the index of the rows each sees.
Codes: N rows or samples.
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, TypeAlias

import duckdb
import numpy as np
import pyarrow as pa

from nexus_model.align.paths import RelationPath
from nexus_model.align.recipe import Recipe
from nexus_model.schema import ColumnSpec, Record, SemanticType, TaskKind
from nexus_pipeline.expect.strength import strength_of_category, strength_of_number
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.align import read_recipe
from nexus_pipeline.steps.stored import aligned_view
from nexus_pipeline.storage import Store
from nexus_pipeline.storage.names import quote, quote_table

Array: TypeAlias = np.ndarray
_COPY = 0.9995
_MOST_SAMPLES = 20_000
_EXAMPLES = 5


class LeakKind(StrEnum):
    """How the answer gets to the model."""

    OVERLAP = "entity overlap"
    FUTURE = "future rows"
    COPY = "target copy"
    TOO_GOOD = "too-good column"
    ROWS = "row-set leak"


class Leak(Record):
    """One leak; ``name`` is ``table.column`` or a table, as ``validation.accepted_leaks`` says."""

    kind: LeakKind
    name: str
    rows: int
    told: str
    examples: tuple[str, ...] = ()

    @property
    def is_arguable(self) -> bool:
        """Whether it may be known in time; shared entities and later rows never are."""
        return self.kind not in {LeakKind.OVERLAP, LeakKind.FUTURE}

    def advised(self) -> str:
        """In words, with what to do."""
        shown = f"; such as {', '.join(self.examples)}" if self.examples else ""
        told = f"{self.name}: {self.kind}: {self.told}{shown}"
        if not self.is_arguable:
            return f"{told}\n  mend the SQL or the rows this is made from"
        out = "leave the table out" if self.kind is LeakKind.ROWS else "ignore it (ignore_columns)"
        return (
            f"{told}\n  {out}, or say in the project file under "
            "validation.accepted_leaks why it is known when the question is asked"
        )


class _Seen(NamedTuple):
    """What training samples of one task see: an open view, their labels, the stored index."""

    con: duckdb.DuckDBPyConnection
    recipe: Recipe
    folder: Path
    sample_N: Array
    label_N: Array


def shared_entities(project: ProjectConfig, task: str, store: Store) -> tuple[Leak, ...]:
    """Entities of a static task that are in two splits; keys that differ in spaces are one."""
    if project.target is None:
        return ()
    table = project.target.target_table
    keys = project[table].primary_key
    same = ", ".join(f"trim(CAST({quote(key)} AS VARCHAR)) AS k{n}" for n, key in enumerate(keys))
    names = ", ".join(f"k{n}" for n in range(len(keys)))
    with store.read() as con:
        found = con.execute(
            f"SELECT {names}, count(*) FROM (SELECT split, {same} FROM "
            f"{quote_table(f'aligned.samples_{task}')}) GROUP BY {names} "
            f"HAVING count(DISTINCT split) > 1 ORDER BY {names}"
        ).fetchall()
    if not found:
        return ()
    shown = tuple(", ".join(str(value) for value in row[:-1]) for row in found[:_EXAMPLES])
    told = f"{len(found)} of its rows are asked about in two splits, so the test is no test"
    rows = sum(row[-1] for row in found)
    return (Leak(kind=LeakKind.OVERLAP, name=table, rows=rows, told=told, examples=shown),)


def future_rows(project: ProjectConfig, task: str, store: Store) -> tuple[Leak, ...]:
    """Rows the stored index shows a sample that are later than the sample's ``as_of``."""
    recipe, folder = read_recipe(project, task), project.stage_folder("aligned", task)
    found, samples = [], quote_table(f"aligned.samples_{task}")
    with aligned_view(store, recipe.database) as con:
        for number, path in enumerate(recipe.paths):
            if recipe.database[path.table].time_column is None:
                continue
            con.register("seen", _pairs(folder, number))
            late = (
                f"FROM seen JOIN {samples} AS samples USING (sample) JOIN "
                f"{quote_table(f'aligned.{path.table}')} AS own ON own._row = seen.row "
                "WHERE own._time > least(samples.as_of, samples.cutoff)"
            )
            count = con.execute(f"SELECT count(*) {late}").fetchall()[0][0]
            if count:
                rows = con.execute(
                    f"SELECT sample, as_of, own._row, own._time {late} "
                    f"ORDER BY ALL LIMIT {_EXAMPLES}"
                ).fetchall()
                shown = tuple(f"sample {s} of {a} sees row {r} of {t}" for s, a, r, t in rows)
                told = f"{count} rows on path {path.name} are later than the question may know"
                found.append(
                    Leak(
                        kind=LeakKind.FUTURE, name=path.table, rows=count, told=told, examples=shown
                    )
                )
            con.unregister("seen")
    return tuple(found)


def _pairs(folder: Path, number: int, wanted_N: Array | None = None) -> pa.Table:
    """The stored index of a path as rows: sample, row, and its place, the newest last."""
    offsets_B = np.load(folder / f"path{number}_offsets_B.npy")
    rows_N = np.load(folder / f"path{number}_rows_N.npy", mmap_mode="r")
    asked_N = np.arange(len(offsets_B) - 1) if wanted_N is None else wanted_N
    count_N = (offsets_B[1:] - offsets_B[:-1])[asked_N]
    sample_N = np.repeat(asked_N, count_N)
    before_N = np.repeat(np.cumsum(count_N) - count_N, count_N)
    place_N = np.repeat(offsets_B[asked_N], count_N) + np.arange(len(sample_N)) - before_N
    return pa.table({"sample": sample_N, "row": np.asarray(rows_N)[place_N], "place": place_N})


def telling(project: ProjectConfig, task: str, store: Store) -> tuple[Leak, ...]:
    """Columns, and the presence of rows, that alone tell the label of training samples.

    Of many samples as many as are enough are looked at, evenly over their order. Closed label
    windows are left out: they are answers that were known.
    """
    recipe, bound = read_recipe(project, task), project.validation.too_good
    found: list[Leak] = []
    with aligned_view(store, recipe.database) as con:
        asked = con.execute(
            f"SELECT sample, label FROM {quote_table(f'aligned.samples_{task}')} "
            "WHERE split = 'train' AND label IS NOT NULL ORDER BY sample"
        ).fetchnumpy()
        chosen = np.unique(
            np.linspace(0, len(asked["sample"]) - 1, _MOST_SAMPLES).round().astype(np.int64)
        )
        sample_N, label_N = (np.asarray(asked[name])[chosen] for name in ("sample", "label"))
        seen = _Seen(con, recipe, project.stage_folder("aligned", task), sample_N, label_N)
        for number, path in enumerate(recipe.paths):
            if path.table != recipe.history:
                found += _path_leaks(seen, number, path, bound)
    return tuple(found)


def _path_leaks(seen: _Seen, number: int, path: RelationPath, bound: float) -> Iterator[Leak]:
    table, kind = seen.recipe.database[path.table], seen.recipe.task.kind
    columns = [c for c in table.columns if c.semantic is not SemanticType.TEXT]
    values = _summary(seen, number, path, columns)
    count_N = values["rows"].to_numpy().astype(float)
    has_rows_N = np.minimum(count_N, 1)
    rows = max(strength_of_number(told_N, seen.label_N, kind) for told_N in (count_N, has_rows_N))
    if rows >= bound:
        told = f"which rows there are on path {path.name} alone tells {_score(rows, kind)}"
        yield Leak(kind=LeakKind.ROWS, name=path.table, rows=int((count_N > 0).sum()), told=told)
    for place, column in enumerate(columns):
        best = max(_strengths(values, place, column, seen.label_N, kind, has_rows_N))
        if best >= bound:
            copy = best >= _COPY
            told = f"it alone tells {_score(best, kind)} on {len(seen.label_N)} training samples"
            yield Leak(
                kind=LeakKind.COPY if copy else LeakKind.TOO_GOOD,
                name=f"{path.table}.{column.name}",
                rows=len(seen.label_N) - values[f"last{place}"].null_count,
                told=f"as good as a copy of the label: {told}" if copy else told,
                examples=_examples(values, place, seen.label_N),
            )


def _score(strength: float, kind: TaskKind) -> str:
    match kind:
        case TaskKind.BINARY:
            return f"the label, AUROC {strength:.3f}"
        case TaskKind.MULTICLASS:
            return f"{strength:.1%} of what guessing gets wrong"
        case _:
            return f"the order of labels, rank correlation {strength:.3f}"


def _summary(
    seen: _Seen, number: int, path: RelationPath, columns: Sequence[ColumnSpec]
) -> pa.Table:
    """By training sample: rows seen, and of every column the last value, filled cells, mean."""
    seen.con.register("asked", pa.table({"sample": seen.sample_N}))
    seen.con.register("seen", _pairs(seen.folder, number, seen.sample_N))
    parts = ["count(seen.row) AS rows"]
    for place, column in enumerate(columns):
        value = _as_value(column)
        parts += [
            f"arg_max({value}, seen.place) AS last{place}",
            f"count({value}) AS filled{place}",
        ]
        if column.semantic is SemanticType.NUMERICAL:
            parts.append(f"avg({value}) AS mean{place}")
    found = seen.con.sql(
        f"SELECT {', '.join(parts)} FROM asked LEFT JOIN seen USING (sample) "
        f"LEFT JOIN {quote_table(f'aligned.{path.table}')} AS own ON own._row = seen.row "
        "GROUP BY asked.sample ORDER BY asked.sample"
    ).to_arrow_table()
    for name in ("asked", "seen"):
        seen.con.unregister(name)
    return found


def _as_value(column: ColumnSpec) -> str:
    name = f"own.{quote(column.name)}"
    match column.semantic:
        case SemanticType.NUMERICAL:
            return f"TRY_CAST({name} AS DOUBLE)"
        case SemanticType.TIMESTAMP:
            return f"CAST(epoch(TRY_CAST({name} AS TIMESTAMP)) AS DOUBLE)"
        case _:
            return f"CAST({name} AS VARCHAR)"


def _strengths(
    values: pa.Table,
    place: int,
    column: ColumnSpec,
    label_N: Array,
    kind: TaskKind,
    has_rows_N: Array,
) -> Iterator[float]:
    """Of the last value, of the mean, and, among samples with rows, of whether it is filled."""
    last = values[f"last{place}"]
    if column.semantic is SemanticType.CATEGORICAL:
        codes = last.combine_chunks().dictionary_encode().indices.fill_null(-1)
        yield strength_of_category(codes.to_numpy().astype(np.int64), label_N, kind)
    else:
        yield strength_of_number(last.to_numpy().astype(float), label_N, kind)
    if column.semantic is SemanticType.NUMERICAL:
        yield strength_of_number(values[f"mean{place}"].to_numpy().astype(float), label_N, kind)
    filled_N = (values[f"filled{place}"].to_numpy() > 0).astype(float)
    yield strength_of_number(np.where(has_rows_N > 0, filled_N, np.nan), label_N, kind)


def _examples(values: pa.Table, place: int, label_N: Array) -> tuple[str, ...]:
    given = values[f"last{place}"].slice(0, _EXAMPLES).to_pylist()
    return tuple(f"{v!r} with label {y:g}" for v, y in zip(given, label_N, strict=False))
