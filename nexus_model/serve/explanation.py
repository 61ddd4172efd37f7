"""Why a prediction: what the model read, what each table changes, and reasons in sentences.

Different things. Attention is where the model looked, averaged over heads. The effect of a
table is the prediction less the one made as if the table had never been given: a table may be read
much and change nothing, and two tables that say the same hide each other.
"""

from typing import Any

import numpy as np

from nexus_model.align.recipe import Recipe
from nexus_model.apply import predict_samples
from nexus_model.explain.attention_flow import attention_flow
from nexus_model.explain.outcome import Asked
from nexus_model.explain.reasons import explain_in_words
from nexus_model.model import NexusFormer
from nexus_model.schema import Record
from nexus_model.serve.reading import Read
from nexus_model.tokenize.batch import TaskTensors
from nexus_model.tokenize.statistics import Tokenizer
from nexus_model.tokenize.without import without_table


class TableEffect(Record):
    """Outputs without one table, and how far the outputs with it are above them."""

    table: str
    without: tuple[float, ...]
    change: tuple[float, ...]


class Explanation(Record):
    """One entity: its outputs, the share of reading that went to each table, effects and reasons.

    ``attention`` is empty where no relation of the model is cross-contextual. ``reasons`` are
    sentences, the largest change first; none where nothing changes the prediction noticeably.
    """

    outputs: tuple[float, ...]
    attention: dict[str, float]
    effects: tuple[TableEffect, ...]
    reasons: tuple[str, ...]


def explain_samples(
    model: NexusFormer, recipe: Recipe, tokenizer: Tokenizer, read: Read
) -> list[Explanation]:
    """One explanation per sample, in their order."""
    tensors, task, scale = read.tensors, recipe.task, tokenizer.label
    every_B = np.arange(read.starts[-1])

    def outputs(given: TaskTensors) -> np.ndarray:
        found = predict_samples(model, given, every_B, task, scale).astype(np.float64)
        return found.reshape(len(every_B), -1)

    whole_BY = outputs(tensors)
    tables = dict.fromkeys(path.table for path in tensors.paths if path.hops)
    without = {
        table: outputs(without_table(tensors, table))
        for table in tables
        if table not in tensors.absent and table != recipe.entity.name
    }
    words = explain_in_words(Asked(model, task, scale), tokenizer, tensors, every_B)
    return [
        Explanation(
            outputs=_floats(whole_BY[sample]),
            attention=_attention(model, read, sample),
            effects=tuple(
                TableEffect(
                    table=table,
                    without=_floats(less_BY[sample]),
                    change=_floats(whole_BY[sample] - less_BY[sample]),
                )
                for table, less_BY in without.items()
            ),
            reasons=tuple(reason.text for reason in words[sample]),
        )
        for sample in range(len(every_B))
    ]


def _attention(model: NexusFormer, read: Read, sample: int) -> dict[str, float]:
    """Share of all reading, over cycles and readers, that went to each table."""
    flow = attention_flow(model, read.tensors, np.array([sample]))
    if not flow.cycles:
        return {}
    read_P = np.mean(np.array(flow.cycles), axis=(0, 1))
    shares: dict[str, float] = {}
    for path, share in zip(read.tensors.paths, read_P / max(read_P.sum(), 1e-12), strict=True):
        shares[path.table] = shares.get(path.table, 0.0) + float(share)
    return shares


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
