"""Fit on visible training rows, then encode every row: aligned tables -> TableTensors."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import duckdb
import numpy as np
import pyarrow as pa

from nexus_model.align.index import (
    DAY_US,
    NEVER,
    PathIndex,
    SampleTimes,
    column_of,
    only_rows,
    times_of,
)
from nexus_model.align.paths import RelationPath
from nexus_model.align.relate import quoted
from nexus_model.schema import DatabaseSpec, SemanticType, TableSpec, TaskSpec
from nexus_model.tokenize import columns
from nexus_model.tokenize.sentences import (
    SentenceReader,
    checked_reader,
    encode_sentences,
    fit_sentences,
)
from nexus_model.tokenize.statistics import (
    LabelScale,
    NumericalScaling,
    TableTokenizer,
    TemporalColumn,
    TextReading,
    Tokenizer,
)
from nexus_model.tokenize.table_tensors import TableTensors

Connection: TypeAlias = duckdb.DuckDBPyConnection
Array = np.ndarray


def feature_table(con: Connection, table: TableSpec, row_R: Array | None = None) -> pa.Table:
    """Feature columns of an aligned table in row order, or of the ascending rows asked about.

    Of a table without any, ``_row``.
    """
    names = [column.name for column in table.columns]
    listed = ", ".join(map(quoted, [*names, "_row"]))
    query = f"select {listed} from aligned.{quoted(table.name)}"
    if row_R is None:
        found = con.sql(query).to_arrow_table()
    else:
        with only_rows(con, row_R) as chosen:
            found = con.sql(f"{query} {chosen}").to_arrow_table()
    stored_R = found["_row"].to_numpy()
    # Tables are stored in row order; that costs a look, sorting them would cost more than reading.
    if (stored_R[1:] < stored_R[:-1]).any():
        found = found.take(pa.array(np.argsort(stored_R)))
    return found.select(names or ["_row"])


def parent_rows(
    con: Connection,
    database: DatabaseSpec,
    table: TableSpec,
    *,
    dated: bool,
    row_R: Array | None = None,
) -> Array:
    """int64 [R, P] row of each parent, -1 if there is none; of every row, or of those asked about.

    Where samples are ``dated``, a parent later than the row itself is none; and a row without a
    time, which may be seen at any moment, has no parent that has one.
    """
    links, found = quoted("links_" + table.name), []
    for index, key in enumerate(table.foreign_keys):
        parent_R = column_of(con, links, f"_fk_{index}", row_R)
        if dated and database[key.references_table].time_column is not None:
            linked_R = parent_R >= 0
            moment_N = times_of(con, key.references_table, parent_R[linked_R])
            is_timed = table.time_column is not None
            own_R = times_of(con, table.name, row_R) if is_timed else np.full(len(parent_R), -NEVER)
            parent_R[linked_R] = np.where(moment_N > own_R[linked_R], -1, parent_R[linked_R])
        found.append(parent_R)
    if found:
        return np.stack(found, axis=1)
    rows = con.sql(f"select count(*) from aligned.{quoted(table.name)}").fetchall()[0][0]
    return np.zeros((rows if row_R is None else len(row_R), 0), np.int64)


def visible_rows(
    tables: Mapping[str, Array],
    database: DatabaseSpec,
    paths: Sequence[RelationPath],
    indexes: Sequence[PathIndex],
    chosen_B: Array,
) -> dict[str, Array]:
    """For each table a bool [R]: rows the chosen samples see, their parents included.

    ``tables`` maps a table to its ``parents_RP``.
    """
    seen = {name: np.zeros(len(parents), bool) for name, parents in tables.items()}
    for path, index in zip(paths, indexes, strict=True):
        mine_N = np.repeat(chosen_B, np.diff(index.offsets_B))
        seen[path.table][index.rows_N[mine_N]] = True
    grown = True
    while grown:
        before = sum(int(mask.sum()) for mask in seen.values())
        for name, parents_RP in tables.items():
            for number, key in enumerate(database[name].foreign_keys):
                rows = parents_RP[seen[name], number]
                seen[key.references_table][rows[rows >= 0]] = True
        grown = sum(int(mask.sum()) for mask in seen.values()) > before
    return seen


def _origin(table: TableSpec, time_R: Array) -> Array | float:
    """What a table's timestamps, if there are any, are measured from."""
    if table.time_column is None or not table.columns_of(SemanticType.TIMESTAMP):
        return float(columns.EPOCH_2000_US)
    return np.where(time_R == NEVER, np.nan, time_R.astype(np.float64))


def fit_table(
    features: pa.Table,
    table: TableSpec,
    time_R: Array,
    seen_R: Array,
    scaling: NumericalScaling = NumericalScaling.STANDARD,
    reader: SentenceReader | None = None,
) -> TableTokenizer:
    """Statistics of the rows in ``seen_R`` and of no other.

    Texts are read by ``reader``, or without one by sub-words that are fitted like the rest.
    """
    fitted, origin = features.filter(pa.array(seen_R)), _origin(table, time_R)
    origin = origin[seen_R] if isinstance(origin, np.ndarray) else origin
    named = {
        semantic: [(name, fitted[name]) for name in table.columns_of(semantic)]
        for semantic in SemanticType
    }
    return TableTokenizer(
        table=table.name,
        timed=table.time_column is not None,
        numerical=tuple(
            columns.fit_numerical(name, columns.numbers(column), scaling)
            for name, column in named[SemanticType.NUMERICAL]
        ),
        categorical=tuple(
            columns.fit_categorical(name, column)
            for name, column in named[SemanticType.CATEGORICAL]
        ),
        temporal=tuple(
            columns.fit_temporal(name, columns.years_from(columns.microseconds(column), origin))
            for name, column in named[SemanticType.TIMESTAMP]
        ),
        text=tuple(_fit_text(name, column, reader) for name, column in named[SemanticType.TEXT]),
        parents=tuple(key.references_table for key in table.foreign_keys),
    )


def _fit_text(name: str, column: columns.Column, reader: SentenceReader | None) -> TextReading:
    return columns.fit_text(name, column) if reader is None else fit_sentences(name, reader)


def encode_table(
    features: pa.Table,
    table: TableSpec,
    fitted: TableTokenizer,
    time_R: Array,
    parents_RP: Array,
    reader: SentenceReader | None = None,
) -> TableTensors:
    """Every row of the table as numbers; ``reader`` gives texts their vectors, if any need one.

    Raises:
        ConfigurationError: a text needs a vector and ``reader`` is not there, or is another.
    """
    count, origin = len(time_R), _origin(table, time_R)
    numerical = [
        columns.encode_numerical(columns.numbers(features[column.name]), column)
        for column in fitted.numerical
    ]
    temporal = []
    for stamp in fitted.temporal:
        stamps_R = columns.microseconds(features[stamp.name])
        temporal.append(
            columns.encode_temporal(stamps_R, columns.years_from(stamps_R, origin), stamp)
        )
    categorical = [
        columns.encode_categorical(features[column.name], column) for column in fitted.categorical
    ]
    words = fitted.subword_columns
    length = max((column.length for column in words), default=0)
    text = [columns.encode_text(features[column.name], column, length) for column in words]
    sentences = fitted.sentence_columns
    width = max((column.width for column in sentences), default=0)
    known = checked_reader((fitted,), reader)
    vectors = (
        [encode_sentences(features[column.name], column, known) for column in sentences]
        if known is not None
        else []
    )
    return TableTensors(
        numerical_RC=_stacked([values for values, _ in numerical], (count, 0), np.float32),
        present_RC=_stacked([here for _, here in [*numerical, *temporal]], (count, 0), np.bool_),
        categorical_RC=_stacked(categorical, (count, 0), np.int32),
        temporal_RCF=_stacked(
            [cells for cells, _ in temporal], (count, 0, columns.TEMPORAL_FEATURES), np.float32
        ),
        text_RCL=_stacked(text, (count, 0, length), np.int32),
        vectors_RCZ=_stacked(vectors, (count, 0, width), np.float32),
        parents_RP=parents_RP,
        time_R=time_R,
    )


def _stacked(arrays: list[Array], empty: tuple[int, ...], dtype: type) -> Array:
    if not arrays:
        return np.zeros(empty, dtype)
    return np.stack(arrays, axis=1).astype(dtype, copy=False)


def fit_label(task: TaskSpec, label_B: Array) -> LabelScale:
    """Centre on the median and scale by the deviation, for a regression."""
    if not task.kind.is_number:
        return LabelScale()
    is_constant = label_B.min() == label_B.max()
    spread = 1.0 if is_constant else float(label_B.std())
    return LabelScale(center=float(np.median(label_B)), spread=spread)


def entity_stamps(con: Connection, entity: TableSpec, times: SampleTimes) -> dict[str, Array]:
    """Timestamps of each sample's entity, microseconds; NaN where its row is not known yet."""
    names = entity.columns_of(SemanticType.TIMESTAMP)
    if not names:
        return {}
    asked_R, place_B = np.unique(times.entity_B, return_inverse=True)
    features = feature_table(con, entity, asked_R)
    late_B = times_of(con, entity.name, times.entity_B) > times.as_of_B
    later_B = late_B & (entity.time_column is not None)
    return {
        name: np.where(later_B, np.nan, columns.microseconds(features[name])[place_B])
        for name in names
    }


def fit_entity_ages(stamps: Mapping[str, Array], cutoff_B: Array) -> tuple[TemporalColumn, ...]:
    """Scale of the years between an entity's timestamps and the cutoffs it is asked at."""
    moments_B = cutoff_B.astype(np.float64)
    return tuple(
        columns.fit_temporal(name, columns.years_from(moments_B, stamps_B))
        for name, stamps_B in stamps.items()
    )


def encode_clock(tokenizer: Tokenizer, stamps: Mapping[str, Array], times: SampleTimes) -> Array:
    """float32 [B, clock width]: season of the cutoff; years and log days that the data is old, if
    any training sample's is; age, presence of each entity timestamp.
    """
    if not tokenizer.dated:
        return np.zeros((len(times.cutoff_B), 0), np.float32)
    moments_B = times.cutoff_B.astype(np.float64)
    parts = [columns.season(moments_B)]
    if tokenizer.stale:
        days_B = (times.cutoff_B - times.as_of_B) / DAY_US
        parts.append(np.stack([days_B / 365.25, np.log1p(days_B) / 8], axis=1))
    for column in tokenizer.entity_ages:
        years_B = columns.years_from(moments_B, stamps[column.name])
        cells_BF, present_B = columns.encode_temporal(stamps[column.name], years_B, column)
        parts.append(np.stack([cells_BF[:, 0], present_B], axis=1))
    return np.concatenate(parts, axis=1).astype(np.float32)
