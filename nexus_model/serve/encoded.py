"""Aligned tables as numbers: linked and encoded once, then asked for any samples.

B samples, R rows of a table, P parents of a row.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from nexus_model.align.index import SampleTimes
from nexus_model.align.recipe import Recipe
from nexus_model.schema import SemanticType
from nexus_model.serve.compiled import AlignedRows
from nexus_model.serve.linked import known_parents, link_all
from nexus_model.serve.visible import Linked, visible_rows
from nexus_model.tokenize import columns
from nexus_model.tokenize.batch import TaskTensors
from nexus_model.tokenize.fit import encode_clock, encode_table
from nexus_model.tokenize.sentences import SentenceReader
from nexus_model.tokenize.statistics import Tokenizer
from nexus_model.tokenize.table_tensors import TableTensors


class EncodedRows(NamedTuple):
    """Every table encoded and linked, and the entity's moments, which clocks are made from.

    ``stamps`` are the entity's columns of moments, in row order.
    """

    tables: dict[str, TableTensors]
    linked: Linked
    stamps: dict[str, pa.ChunkedArray]


def encode_rows(
    recipe: Recipe,
    tokenizer: Tokenizer,
    aligned: Mapping[str, AlignedRows],
    reader: SentenceReader | None = None,
) -> EncodedRows:
    """What is the same for every sample; ``reader`` gives texts their vectors, if any need one.

    Raises:
        DataError: a key that is referenced names several rows.
        ConfigurationError: a text needs a vector and ``reader`` is not there, or is another.
    """
    database, dated = recipe.database, recipe.task.horizon_days is not None
    links = link_all(database, aligned)
    moments = {name: rows.time_R for name, rows in aligned.items()}
    parents = known_parents(database, aligned, links, dated=dated)
    tables = {
        table.name: encode_table(
            aligned[table.name].columns,
            table,
            tokenizer[table.name],
            moments[table.name],
            parents[table.name],
            reader,
        )
        for table in database.tables
    }
    own = aligned[recipe.entity.name].columns
    stamps = {name: own[name] for name in recipe.entity.columns_of(SemanticType.TIMESTAMP)}
    return EncodedRows(tables, Linked(database, moments, links), stamps)


def samples_of(
    recipe: Recipe, tokenizer: Tokenizer, encoded: EncodedRows, times: SampleTimes
) -> TaskTensors:
    """The samples: which rows each sees, and its clock. Tables are those given, not copies."""
    return TaskTensors(
        encoded.tables,
        recipe.parents,
        recipe.paths,
        visible_rows(recipe, encoded.linked, times),
        times,
        encode_clock(tokenizer, _entity_stamps(recipe, encoded, times), times),
        np.full(len(times.entity_B), np.nan),
    )


def _entity_stamps(
    recipe: Recipe, encoded: EncodedRows, times: SampleTimes
) -> dict[str, np.ndarray]:
    """Timestamps of each sample's entity, microseconds; NaN where its row is not known yet."""
    late_B = encoded.linked.times[recipe.entity.name][times.entity_B] > times.as_of_B
    later_B = late_B & (recipe.entity.time_column is not None)
    asked_B = pa.array(times.entity_B)
    return {
        name: np.where(later_B, np.nan, columns.microseconds(column.take(asked_B)))
        for name, column in encoded.stamps.items()
    }
