"""Begin where another task of the same database left off: its weights, where they mean the same.

Tasks of one database read the same tables, but each tokenizer is fitted on the rows its own samples
see, so ids differ: vectors of categories are carried value by value. D width. The idea is that of
tuning a trained network further (Yosinski et al. 2014, "How transferable are features in deep
neural networks?"): what is near the input is general, the head is not and stays fresh.
"""

from collections.abc import Mapping
from typing import assert_never

import torch
from torch import Tensor

from nexus_model.encode.table_encoder import part_name
from nexus_model.model import ALSO_HEADS, NexusFormer
from nexus_model.tokenize.columns import FIRST_ID
from nexus_model.tokenize.statistics import (
    SentenceColumn,
    TableTokenizer,
    TextColumn,
    TextReading,
    Tokenizer,
)
from nexus_model.tokenize.subwords import Subwords

_HEADS = ("head.", ALSO_HEADS)


def carry_weights(
    model: NexusFormer, fitted: Tokenizer, weights: Mapping[str, Tensor], origin: Tokenizer
) -> tuple[str, ...]:
    """Copy into ``model`` what a model of another task has learned; the names copied, in order.

    ``fitted`` and ``origin`` are the tokenizers of the two. A weight is copied where name and shape
    agree; vectors of a table's categories where both know the value. Left as they are: the heads,
    cells of tables whose columns differ, and those of texts whose sub-words or sentence model do.
    """
    theirs = {table.table: table for table in origin.tables}
    own, carried = model.state_dict(), []
    with torch.no_grad():
        for table in fitted.tables:
            if table.table in theirs and _names(table) == _names(theirs[table.table]):
                carried += _carry_categories(own, weights, table, theirs[table.table])
        skipped = _unlike(fitted, theirs)
        for name, tensor in weights.items():
            fits = name in own and own[name].shape == tensor.shape
            if fits and not name.startswith((*_HEADS, *skipped)):
                own[name].copy_(tensor)
                carried.append(name)
    return tuple(carried)


def _cells(table: str) -> str:
    return f"database.tables.{part_name(table)}.cells."


def _categories(table: str) -> str:
    return f"{_cells(table)}categorical."


def _names(table: TableTokenizer) -> list[list[str]]:
    kinds = (table.numerical, table.temporal, table.categorical, table.text)
    return [[column.name for column in columns] for columns in kinds]


def _unlike(fitted: Tokenizer, theirs: Mapping[str, TableTokenizer]) -> list[str]:
    """Beginnings of the names of weights that do not mean the same, or were carried by value."""
    found = []
    for table in fitted.tables:
        other = theirs.get(table.table)
        found.append(_categories(table.table))
        if other is None or _names(table) != _names(other):
            found.append(_cells(table.table))
        elif [_read_by(column) for column in table.text] != [_read_by(c) for c in other.text]:
            found += [f"{_cells(table.table)}text.", f"{_cells(table.table)}sentences."]
    return found


def _read_by(column: TextReading) -> Subwords | str:
    """What gives a text's numbers their meaning: sub-words, or a sentence model's digest."""
    match column:
        case TextColumn():
            return column.subwords
        case SentenceColumn():
            return column.model_sha256
        case _ as unreachable:
            assert_never(unreachable)


def _carry_categories(
    own: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    table: TableTokenizer,
    other: TableTokenizer,
) -> list[str]:
    """Vectors of missing, of unknown, and of every value both vocabularies hold."""
    name = f"{_categories(table.table)}embedding.weight"
    if name not in own or name not in weights or own[name].shape[1:] != weights[name].shape[1:]:
        return []
    start = begun = 0
    for column, known in zip(table.categorical, other.categorical, strict=True):
        place = {value: begun + FIRST_ID + at for at, value in enumerate(known.vocabulary)}
        at_own = [start + extra for extra in range(FIRST_ID)]
        at_other = [begun + extra for extra in range(FIRST_ID)]
        for at, value in enumerate(column.vocabulary):
            if value in place:
                at_own.append(start + FIRST_ID + at)
                at_other.append(place[value])
        own[name][at_own] = weights[name][at_other].to(own[name].dtype)
        start, begun = start + column.size, begun + known.size
    return [name]
