"""Explanations of a task's model for its report: importance, flow, real rows, distributions.

Everything is measured on validation samples; test samples decide and explain nothing. Where
samples stand is told of training samples.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nexus_model.align.recipe import Recipe
from nexus_model.align.relate import quoted
from nexus_model.align.samples import Split
from nexus_pipeline.steps.report_facts import (
    Distribution,
    ExplainedRow,
    Explanations,
    FlowPass,
)
from nexus_pipeline.steps.tokenize_task import Splits
from nexus_pipeline.storage import Store

if TYPE_CHECKING:
    from nexus_model.explain.effects import Reference
    from nexus_model.explain.facts import Fact
    from nexus_model.explain.outcome import Asked
    from nexus_model.tokenize.batch import TaskTensors
    from nexus_model.tokenize.statistics import Tokenizer

MOST_SAMPLES, FEWER_SAMPLES, FLOW_SAMPLES, MOST_REFERENCE = 200, 64, 256, 3000
MOST_DISTRIBUTIONS, MOST_VALUES, MOST_SEGMENTS = 14, 6, 3


class TaskModel(NamedTuple):
    """A model and the tokenized task it is asked about."""

    asked: "Asked"
    recipe: Recipe
    tokenizer: "Tokenizer"
    tensors: "TaskTensors"
    splits: Splits


def explain_task(task: TaskModel, store: Store, said: np.ndarray) -> Explanations:
    """Importance, attention between tables and a few rows; ``said`` are all predictions."""
    from nexus_model.api.attention_summary import between_tables
    from nexus_model.explain.attention_flow import attention_flow
    from nexus_model.explain.coalitions import Coalitions
    from nexus_model.explain.importance import MOST_EXACT, table_importance
    from nexus_model.explain.interaction import table_interactions

    held_B = task.splits[Split.VALIDATION]
    if len(held_B) < 2:
        return Explanations()
    drawn_B = np.random.default_rng(0).permutation(held_B)
    few = len(task.recipe.database.tables) <= MOST_EXACT
    chosen_B = np.sort(drawn_B[: MOST_SAMPLES if few else FEWER_SAMPLES])
    found = Coalitions(task.asked, task.tensors, chosen_B)
    model = task.asked.model
    flow = between_tables(
        attention_flow(model, task.tensors, held_B[:FLOW_SAMPLES]), model.path_tables
    )
    return Explanations(
        importance=table_importance(found, task.tensors.times.entity_B[chosen_B]),
        pairs=table_interactions(found).pairs if few else (),
        pairs_asked=few,
        tables=flow.tables,
        passes=tuple(FlowPass(weights=one) for one in flow.passes),
        rows=_rows(task, store, said, chosen_B),
    )


def _rows(
    task: TaskModel, store: Store, said: np.ndarray, chosen_B: np.ndarray
) -> tuple[ExplainedRow, ...]:
    """The highest, the middle and the lowest prediction among some validation samples."""
    from nexus_model.explain.effects import told
    from nexus_model.explain.inside import refinement_trace
    from nexus_model.explain.reasons import explain_in_words

    said_B = told(task.asked.task, said[chosen_B])
    order = np.argsort(said_B, kind="stable")
    picked = {"highest": order[-1], "middle": order[len(order) // 2], "lowest": order[0]}
    asked_B = chosen_B[list(picked.values())]
    reference = learned_reference(task)
    reasons = explain_in_words(
        task.asked, task.tokenizer, task.tensors, asked_B, reference=reference
    )
    trace = refinement_trace(task.asked, task.tensors, asked_B)
    keys = _keys(store, task.recipe, task.tensors.times.entity_B[asked_B])
    return tuple(
        ExplainedRow(
            key=key,
            which=which,
            prediction=float(said_B[picked[which]]),
            label=float(task.tensors.label_B[sample]),
            reasons=tuple(reason.text for reason in why),
            score_after_each_cycle=tuple(scores[place] for scores in trace.scores),
        )
        for place, (which, key, sample, why) in enumerate(
            zip(picked, keys, asked_B, reasons, strict=True)
        )
    )


def learned_reference(task: TaskModel) -> "Reference":
    """Where training samples stand; of many, some."""
    from nexus_model.explain.effects import learn_reference

    train_B = task.splits[Split.TRAIN]
    some_B = np.sort(np.random.default_rng(0).permutation(train_B)[:MOST_REFERENCE])
    return learn_reference(task.asked, task.tokenizer, task.tensors, some_B)


def _keys(store: Store, recipe: Recipe, rows_B: np.ndarray) -> list[str]:
    key = ", ".join(quoted(column) for column in recipe.entity.primary_key)
    table, found = f"aligned.{quoted(recipe.entity.name)}", []
    with store.read() as con:
        for row in rows_B.tolist():
            values = con.execute(f"select {key} from {table} where _row = ?", [row]).fetchone()
            found.append(", ".join(map(str, values or ("?",))))
    return found


def segments_of(task: TaskModel) -> dict[str, np.ndarray]:
    """Values of all samples by which scores are looked at apart: own categories, and how many rows
    of the most numerous other table a sample has.
    """
    from nexus_model.explain.facts import gather_facts

    every_B = np.arange(len(task.tensors.label_B))
    found = gather_facts(task.tokenizer, task.tensors, every_B)
    segments: dict[str, np.ndarray] = {}
    by_column: dict[str, list[tuple[str, np.ndarray]]] = {}
    counts: dict[str, np.ndarray] = {}
    for fact, value_B in zip(found.facts, found.value_BK.T, strict=True):
        if fact.kind == "own_value":
            by_column.setdefault(fact.column, []).append((fact.value, value_B == 1))
        if fact.kind == "rows":
            counts[fact.table] = value_B
    for column, values in by_column.items():
        if len(values) <= MOST_VALUES and len(segments) < MOST_SEGMENTS:
            names = np.full(len(every_B), "missing", object)
            for value, is_B in values:
                names[is_B] = value
            segments[column] = names.astype(np.str_)
    if counts:
        table = max(counts, key=lambda name: float(counts[name].sum()))
        low, high = np.quantile(counts[table], [1 / 3, 2 / 3])
        names = np.where(counts[table] <= low, f"1. up to {low:.0f}", f"2. up to {high:.0f}")
        names = np.where(counts[table] > high, f"3. above {high:.0f}", names)
        segments[f"number of {table}"] = names
    return segments


def distributions(task: TaskModel, said: np.ndarray) -> tuple[Distribution, ...]:
    """Quantiles of the prediction and of plain facts over training samples."""
    from nexus_model.explain.effects import told
    from nexus_model.explain.facts import gather_facts

    train_B = task.splits[Split.TRAIN]
    if not len(train_B):
        return ()
    found = gather_facts(task.tokenizer, task.tensors, train_B)
    rows = [("prediction", told(task.asked.task, said[train_B]))]
    for fact, value_B in zip(found.facts, found.value_BK.T, strict=True):
        name = _name(fact)
        if name and np.isfinite(value_B).any():
            rows.append((name, value_B))
    shares = [0.05, 0.25, 0.5, 0.75, 0.95]
    return tuple(
        Distribution(name=name, quantiles=tuple(np.nanquantile(value_B, shares).tolist()))
        for name, value_B in rows[:MOST_DISTRIBUTIONS]
    )


def _name(fact: "Fact") -> str:
    match fact.kind:
        case "rows":
            return f"rows of {fact.table}"
        case "mean":
            return f"mean {fact.column} of {fact.table}"
        case "own":
            return fact.column
        case "newest":
            return f"days since the newest of {fact.table}"
        case _:
            return ""
