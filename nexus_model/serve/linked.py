"""Keys matched in memory: the row each key names, as the joins of alignment find it.

R rows of a table, P parents of a row, N rows looked up.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nexus_model.align.index import NEVER
from nexus_model.schema import DatabaseSpec, DataError, TableSpec
from nexus_model.serve.compiled import AlignedRows

Array: TypeAlias = np.ndarray
NONE = -1


def link_all(database: DatabaseSpec, tables: Mapping[str, AlignedRows]) -> dict[str, Array]:
    """``[R, P]`` row each foreign key names, -1 for none, by table.

    Raises:
        DataError: a key that is referenced names several rows.
    """
    return {table.name: _links(table, tables) for table in database.tables}


def _links(table: TableSpec, tables: Mapping[str, AlignedRows]) -> Array:
    own = tables[table.name]
    found = [
        match_keys(
            key.references_table,
            tables[key.references_table],
            key.references_columns,
            [own.columns[column] for column in key.columns],
            own.request_R,
        )
        for key in table.foreign_keys
    ]
    return np.stack(found, axis=1) if found else np.zeros((len(own.time_R), 0), np.int64)


def match_keys(
    name: str,
    named: AlignedRows,
    columns: Sequence[str],
    keys: Sequence[pa.ChunkedArray],
    request_N: Array,
) -> Array:
    """``[N]`` row of ``named`` that each key of the same request names, -1 for none.

    Raises:
        DataError: a key that is asked for names several rows.
    """
    parents = [named.columns[column] for column in columns]
    code_R, code_N = _codes(parents, keys, named.request_R, request_N)
    order_R = np.argsort(code_R, kind="stable")
    sorted_R = code_R[order_R]
    low_N = np.searchsorted(sorted_R, code_N, side="left")
    count_N = np.searchsorted(sorted_R, code_N, side="right") - low_N
    known_N = (code_N != NONE) & (count_N > 0)
    if (count_N[known_N] > 1).any():
        refuse_repeats(name, columns, parents, code_R)
    row_N = np.full(len(code_N), NONE, np.int64)
    row_N[known_N] = order_R[low_N[known_N]]
    return row_N


def refuse_repeats(
    name: str, columns: Sequence[str], keys: Sequence[pa.ChunkedArray], code_R: Array
) -> None:
    """Raise what is wrong with a key if it names several rows; NULL names none."""
    codes, first, counts = np.unique(code_R, return_index=True, return_counts=True)
    twice = (counts > 1) & (codes != NONE)
    if not twice.any():
        return
    values = [tuple(key[int(row)].as_py() for key in keys) for row in first[twice]]
    example = min(values, key=lambda value: tuple(map(str, value)))
    raise DataError(
        "key is not unique",
        table=name,
        column="+".join(columns),
        rows=int((counts[twice] - 1).sum()),
        example=example[0] if len(columns) == 1 else example,
    )


def codes_of(keys: Sequence[pa.ChunkedArray]) -> Array:
    """A number per key, equal where the keys are; -1 where a part is NULL."""
    nothing = np.zeros(len(keys[0]), np.int64)
    return _codes(keys, [key.slice(0, 0) for key in keys], nothing, nothing[:0])[0]


def _codes(
    parents: Sequence[pa.ChunkedArray],
    keys: Sequence[pa.ChunkedArray],
    request_R: Array,
    request_N: Array,
) -> tuple[Array, Array]:
    code = np.concatenate([request_R, request_N])
    for parent, key in zip(parents, keys, strict=True):
        part = _numbered(parent, key)
        missing = (code == NONE) | (part == NONE)
        if code.any():
            # Numbered anew after each column, so that no product overflows.
            _, code = np.unique(code * (part.max(initial=0) + 1) + part, return_inverse=True)
        else:
            code = part
        code = np.where(missing, NONE, code)
    return code[: len(request_R)], code[len(request_R) :]


def _numbered(parent: pa.ChunkedArray, key: pa.ChunkedArray) -> Array:
    if parent.type != key.type:
        # Keys compare as the wider type, numbers before text, as in SQL.
        wide = pa.int64() if _whole(parent.type) and _whole(key.type) else None
        wide = wide or (key.type if pa.types.is_string(parent.type) else parent.type)
        parent, key = pc.cast(parent, wide), pc.cast(key, wide)
    both = pa.chunked_array([*parent.chunks, *key.chunks], parent.type).combine_chunks()
    indices = pc.dictionary_encode(both).indices
    return np.asarray(pc.fill_null(indices, NONE)).astype(np.int64)


def _whole(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind))


def known_parents(
    database: DatabaseSpec,
    tables: Mapping[str, AlignedRows],
    links: Mapping[str, Array],
    *,
    dated: bool,
) -> dict[str, Array]:
    """``[R, P]`` by table: the links without parents later than the row, where samples are dated.

    A row without a time, which may be seen at any moment, has no parent that has one.
    """
    found = {}
    for table in database.tables:
        time_R = tables[table.name].time_R
        if table.time_column is None:
            time_R = np.full_like(time_R, -NEVER)
        parents_RP = links[table.name].copy()
        for place, key in enumerate(table.foreign_keys):
            if dated and database[key.references_table].time_column is not None:
                # The parent of none, -1, is the last entry.
                moment_R = np.append(tables[key.references_table].time_R, NEVER)
                parents_RP[moment_R[parents_RP[:, place]] > time_R, place] = NONE
        found[table.name] = parents_RP
    return found
