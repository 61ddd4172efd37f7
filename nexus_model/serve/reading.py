"""Questions -> samples: frames of one or several requests become the tensors of one batch.

B samples of all requests, one request after another; R rows of a table.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from nexus_model.align.assemble import sample_times
from nexus_model.align.index import SampleTimes
from nexus_model.align.recipe import Recipe
from nexus_model.schema import DataError
from nexus_model.serve.compiled import AlignedRows
from nexus_model.serve.encoded import encode_rows, samples_of
from nexus_model.serve.linked import codes_of, match_keys, refuse_repeats
from nexus_model.serve.staged import Given, StagedDatabase
from nexus_model.tokenize.batch import TaskTensors
from nexus_model.tokenize.sentences import SentenceReader
from nexus_model.tokenize.statistics import Tokenizer

Asked: TypeAlias = set[Any] | np.ndarray | None


class Question(NamedTuple):
    """One request: its typed frames, the moment asked about, what moment its frames are of, and
    who is asked about (keys, or rows of the aligned entity table; all if None).
    """

    given: Given
    moment: dt.datetime | None = None
    as_of: dt.datetime | None = None
    asked: Asked = None


class Read(NamedTuple):
    """Key columns of those asked about by request, and all of them as samples.

    Samples of request ``i`` are ``starts[i]`` to ``starts[i + 1]``; ``requests`` says of every row
    of an aligned table whose it is.
    """

    keys: list[pa.Table]
    starts: list[int]
    requests: dict[str, np.ndarray]
    tensors: TaskTensors


def read_questions(
    staged: StagedDatabase,
    tokenizer: Tokenizer,
    questions: Sequence[Question],
    reader: SentenceReader | None = None,
) -> Read:
    """The samples of several questions that give the same tables; each reads its own rows only.

    Raises:
        DataError: keys repeat, an entity is lost, or one asked about is not there.
        ConfigurationError: a SQL model of the artifact fails, or texts lack their ``reader``.
    """
    recipe = staged.recipe
    entity = recipe.entity
    keys = [question.given.tables[entity.name].select(entity.primary_key) for question in questions]
    for table in keys:
        refuse_repeats(entity.name, entity.primary_key, table.columns, codes_of(table.columns))
    aligned = staged.align([q.given for q in questions], [q.moment for q in questions])
    rows = entity_rows(recipe, aligned[entity.name], keys)
    first_rows = np.searchsorted(aligned[entity.name].request_R, np.arange(len(questions)))
    chosen = [
        _chosen(entity.name, table, own_B - int(first), question.asked)
        for table, own_B, first, question in zip(keys, rows, first_rows, questions, strict=True)
    ]
    parts = [
        sample_times(own_B[chosen_B], question.moment, question.as_of)
        for own_B, chosen_B, question in zip(rows, chosen, questions, strict=True)
    ]
    times = SampleTimes(*(np.concatenate(moments) for moments in zip(*parts, strict=True)))
    starts = np.cumsum([0, *(len(part) for part in chosen)]).tolist()
    encoded = encode_rows(recipe, tokenizer, aligned, reader)
    tensors = samples_of(recipe, tokenizer, encoded, times)
    tensors = tensors._replace(absent=questions[0].given.absent)
    picked = [table.take(own_B) for table, own_B in zip(keys, chosen, strict=True)]
    requests = {name: rows.request_R for name, rows in aligned.items()}
    return Read(picked, starts, requests, tensors)


def entity_rows(recipe: Recipe, aligned: AlignedRows, keys: Sequence[pa.Table]) -> list[np.ndarray]:
    """Row of the aligned entity table of each frame's rows, by request.

    Raises:
        DataError: an entity's key is missing, or its SQL model left it out or gives it twice.
    """
    entity = recipe.entity
    own = [aligned.columns[column] for column in entity.primary_key]
    together = AlignedRows(aligned.columns, aligned.request_R, aligned.time_R)
    numbers = np.repeat(np.arange(len(keys)), [len(table) for table in keys])
    if len(own[0]):
        code_R = codes_of([*own, pa.chunked_array([pa.array(aligned.request_R)])])
        refuse_repeats(entity.name, entity.primary_key, own, code_R)
    asked = pa.concat_tables(keys)
    rows_B = match_keys(entity.name, together, entity.primary_key, asked.columns, numbers)
    lost = np.flatnonzero(rows_B < 0)
    if len(lost):
        example = tuple(asked.slice(int(lost[0]), 1).to_pylist()[0].values())
        raise DataError(
            "entity has no row in the aligned table",
            table=entity.name,
            column="+".join(entity.primary_key),
            rows=len(lost),
            example=example[0] if len(example) == 1 else example,
        )
    return [rows_B[numbers == number] for number in range(len(keys))]


def _chosen(table: str, entities: pa.Table, rows_B: np.ndarray, asked: Asked) -> np.ndarray:
    """Places of those asked about among the entities."""
    if asked is None:
        return np.arange(len(rows_B))
    if isinstance(asked, np.ndarray):
        return np.flatnonzero(np.isin(rows_B, asked))
    known = key_values(entities)
    lost = sorted(asked - set(known), key=str)
    if lost:
        raise DataError(
            "is asked about and has no row", table=table, rows=len(lost), example=lost[0]
        )
    return np.flatnonzero([key in asked for key in known])


def key_values(entities: pa.Table) -> list[Any]:
    """Keys as values, tuples if of several columns."""
    values = [column.to_pylist() for column in entities.columns]
    return values[0] if len(values) == 1 else list(zip(*values, strict=True))
