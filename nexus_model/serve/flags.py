"""What somebody should know about a prediction: flags, from what was sent and what was read of it.

B samples of all requests, R rows of a table, N rows of all samples of a path one after another,
C columns.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nexus_model.align.index import NEVER
from nexus_model.align.recipe import Recipe
from nexus_model.serve.comparing import comparing_models
from nexus_model.serve.reading import Question, Read
from nexus_model.tokenize.batch import TaskTensors
from nexus_model.tokenize.columns import UNKNOWN
from nexus_model.tokenize.statistics import Tokenizer


def question_flags(recipe: Recipe, question: Question) -> list[str]:
    """Flags of a request as it was sent: SQL that compares entities and sees those sent alone,
    tables not given, nobody asked about, numbers that are not finite, which are read as missing.
    """
    found = [f"compares_rows:{name}" for name in comparing_models(recipe)]
    found += [f"table_missing:{name}" for name in sorted(question.given.absent)]
    found += ["no_entities"] * (len(question.given.tables[recipe.entity.name]) == 0)
    for name, rows in question.given.tables.items():
        for column in rows.schema:
            if pa.types.is_floating(column.type):
                finite = pc.all(pc.is_finite(rows[column.name]), min_count=0).as_py()
                found += [f"not_finite:{name}.{column.name}"] * (finite is False)
    return found


def late_flags(recipe: Recipe, read: Read, questions: Sequence[Question]) -> list[list[str]]:
    """Per request, the tables that have rows later than what it may know; those were not read."""
    found: list[list[str]] = [[] for _ in questions]
    moments = [question.as_of or question.moment for question in questions]
    if any(moment is None for moment in moments):
        return found
    known = np.array(moments, dtype="datetime64[us]").astype(np.int64)
    for table in recipe.database.tables:
        time_R, request_R = read.tensors.tables[table.name].time_R, read.requests[table.name]
        if table.time_column is None or table.name == recipe.history:
            continue
        late_R = (time_R != NEVER) & (time_R > known[request_R])
        for request in np.unique(request_R[late_R]):
            found[request].append(f"after_cutoff:{table.name}")
    return found


def sample_flags(recipe: Recipe, tokenizer: Tokenizer, read: Read) -> list[list[str]]:
    """Flags of each sample: no rows of its own, as many as are ever read, unknown categories."""
    tensors = read.tensors
    count = len(tensors.times.entity_B)
    flags: list[list[str]] = [[] for _ in range(count)]
    seen_B = np.zeros(count, bool)
    for place, plan in enumerate(recipe.plans):
        length_B = np.diff(tensors.indexes[place].offsets_B)
        if plan.path.hops:
            # What was true of an entity in every window is no row of its own.
            seen_B |= (length_B > 0) & (plan.path.table != recipe.history)
            for sample in np.flatnonzero(length_B >= plan.max_rows).tolist():
                flags[sample].append(f"at_row_limit:{plan.path.name}")
        for at, told in _unknown(tensors, tokenizer, place):
            if told not in flags[at]:
                flags[at].append(told)
    for sample in np.flatnonzero(~seen_B).tolist():
        flags[sample].append("no_history")
    return flags


def _unknown(tensors: TaskTensors, tokenizer: Tokenizer, place: int) -> Iterator[tuple[int, str]]:
    """Samples that see a category the model has not learned, along one path."""
    table, index = tensors.paths[place].table, tensors.indexes[place]
    unknown_NC = tensors.tables[table].categorical_RC[index.rows_N] == UNKNOWN
    if not unknown_NC.any():
        return
    sample_N = np.repeat(np.arange(len(index.offsets_B) - 1), np.diff(index.offsets_B))
    for number, column in enumerate(tokenizer[table].categorical):
        for sample in np.unique(sample_N[unknown_NC[:, number]]):
            yield int(sample), f"unknown_category:{table}.{column.name}"
