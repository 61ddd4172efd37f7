"""Everybody of a database on disk, a chunk of entities at a time: memory is that of one chunk.

A recipe is followed once, over all rows, in a database that keeps its tables in a file. Then of
each chunk only the rows its entities see are read, encoded and let go, so an answer is the same
however many are asked about. Every chunk looks through the tables once: time grows with chunks
times rows.

B entities of a chunk, R rows of a table that they see, P parents of a row.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import duckdb
import numpy as np

from nexus_model.align.assemble import build_aligned, close_off, place_entities, sample_times
from nexus_model.align.index import PathIndex, SampleTimes, times_of
from nexus_model.align.recipe import Recipe
from nexus_model.align.relate import check_unique, quoted
from nexus_model.schema import ConfigurationError
from nexus_model.serve.predictor import Cutoff, Predictor
from nexus_model.serve.reading import Read
from nexus_model.tokenize.batch import TaskTensors, positions
from nexus_model.tokenize.fit import (
    encode_clock,
    encode_table,
    entity_stamps,
    feature_table,
    parent_rows,
)
from nexus_model.tokenize.prepare import index_paths

Connection: TypeAlias = duckdb.DuckDBPyConnection
Array: TypeAlias = np.ndarray

CHUNK = 100_000


class Streamed:
    """A filled database whose entities are read in chunks; nobody else may use it meanwhile.

    ``con`` has every raw table of the recipe as ``validated.<name>``, under the recipe's types;
    ``absent`` are those that are empty because they were not given.

    Raises:
        ConfigurationError: the model reads cohorts, which chunks would take apart, the cutoff is
            no moment, or a SQL model fails.
        DataError: the cutoff is missing, keys repeat, or an entity is lost.
    """

    def __init__(
        self,
        predictor: Predictor,
        con: Connection,
        cutoff: Cutoff = None,
        as_of: Cutoff = None,
        absent: frozenset[str] = frozenset(),
    ) -> None:
        if predictor.reads_cohorts:
            raise ConfigurationError("a model that reads cohorts is asked about all at once")
        self.predictor, self.con, self.absent = predictor, con, absent
        self.moment = predictor.moment(cutoff)
        self.as_of = None if as_of is None else predictor.moment(as_of)
        recipe = predictor.artifact.recipe
        entity, keys = recipe.entity.name, recipe.entity.primary_key
        close_off(con)
        check_unique(con, f"validated.{quoted(entity)}", entity, keys)
        build_aligned(con, recipe, self.moment)
        self.entities = place_entities(con, recipe)

    def chunks(self, size: int = CHUNK) -> Iterator[Read]:
        """So many entities at a time as samples, in the order of their table; at least one chunk.

        ``Predictor.answers_of`` takes each.
        """
        recipe = self.predictor.artifact.recipe
        keys = ", ".join(quoted(column) for column in recipe.entity.primary_key)
        for first in range(0, max(1, self.entities), size):
            found = self.con.sql(
                f"select {keys}, _row from asked.entities "
                f"where _place >= {first} and _place < {first + size} order by _place"
            ).to_arrow_table()
            rows_B = np.asarray(found["_row"].to_numpy(), np.int64)
            times = sample_times(rows_B, self.moment, self.as_of)
            tensors = chunk_tensors(self.con, self.predictor, times)
            named = found.drop_columns("_row")
            yield Read([named], [0, len(rows_B)], {}, tensors._replace(absent=self.absent))


def chunk_tensors(con: Connection, predictor: Predictor, times: SampleTimes) -> TaskTensors:
    """The samples, and of every aligned table the rows they see, numbered anew."""
    recipe, tokenizer = predictor.artifact.recipe, predictor.artifact.tokenizer
    dated = recipe.task.horizon_days is not None
    indexes = index_paths(con, recipe, times)
    needed = _needed(con, recipe, indexes, predictor.model.config.parent_hops)
    tables = {}
    for table in recipe.database.tables:
        own_R = needed[table.name]
        above_RP = parent_rows(con, recipe.database, table, dated=dated, row_R=own_R)
        for place, key in enumerate(table.foreign_keys):
            above_RP[:, place] = positions(needed[key.references_table], above_RP[:, place])
        features, time_R = feature_table(con, table, own_R), times_of(con, table.name, own_R)
        tables[table.name] = encode_table(
            features, table, tokenizer[table.name], time_R, above_RP, predictor.reader
        )
    return TaskTensors(
        tables,
        recipe.parents,
        recipe.paths,
        [
            PathIndex(index.offsets_B, positions(needed[path.table], index.rows_N))
            for path, index in zip(recipe.paths, indexes, strict=True)
        ],
        times,
        encode_clock(tokenizer, entity_stamps(con, recipe.entity, times), times),
        np.full(len(times.entity_B), np.nan),
    )


def _needed(
    con: Connection, recipe: Recipe, indexes: Sequence[PathIndex], hops: int
) -> dict[str, Array]:
    """By table the rows of the paths and their parents ``hops`` up, ascending, each once."""
    dated = recipe.task.horizon_days is not None
    found: dict[str, list[Array]] = {name: [np.zeros(0, np.int64)] for name in recipe.parents}
    for path, index in zip(recipe.paths, indexes, strict=True):
        found[path.table].append(index.rows_N)
    needed = {name: np.unique(np.concatenate(rows)) for name, rows in found.items()}
    new = needed
    for _ in range(hops):
        above: dict[str, list[Array]] = {name: [np.zeros(0, np.int64)] for name in recipe.parents}
        for table in recipe.database.tables:
            own_R = new[table.name]
            above_RP = parent_rows(con, recipe.database, table, dated=dated, row_R=own_R)
            for key, parent_R in zip(table.foreign_keys, above_RP.T, strict=True):
                above[key.references_table].append(parent_R[parent_R >= 0])
        new = {
            name: np.setdiff1d(np.concatenate(rows), needed[name]) for name, rows in above.items()
        }
        needed = {
            name: np.union1d(rows, new[name]) if len(new[name]) else rows
            for name, rows in needed.items()
        }
    return needed
