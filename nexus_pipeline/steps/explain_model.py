"""Explain from files: a ``.nxf`` file and a folder of raw tables in, facts and words out."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nexus_model.schema import DataError
from nexus_pipeline.steps.read_raw import find_file, text_rows

if TYPE_CHECKING:
    from nexus_model.api.former import NexusFormer
    from nexus_model.serve.explained import Explained

MOST_CELLS = 8
FLOW_SAMPLES = 256
NOT_THE_SAME = "attention is where the model looked, not what the answer depended on"


def opened(model: Path, data: Path, cutoff: str | None) -> "tuple[NexusFormer, Explained]":
    """The model, and it asked about every entity in the folder's files.

    Raises:
        DataError: a file of the entity table is missing, or a file cannot be read.
    """
    from nexus_model.api.former import NexusFormer
    from nexus_model.serve.explained import Explained

    former = NexusFormer.load(model)
    recipe, frames = former.preprocessors, {}
    for table in recipe.raw:
        path = find_file(data, table.name)
        if path is not None:
            frames[table.name] = text_rows(path, table.name)
    if recipe.entity.name not in frames:
        raise DataError(f"neither CSV nor Parquet of it is in {data}", table=recipe.entity.name)
    return former, Explained(former.predictor, frames, cutoff)


def explain_entity(explained: "Explained", entity: str) -> dict[str, Any]:
    """Everything told of one entity, as JSON; ``entity`` is its key as text.

    Raises:
        DataError: nobody has that key.
    """
    place = _place_of(explained, entity)
    (reasons,), (near,) = explained.reasons(place), explained.nearest(place)
    attribution, trace = explained.attributions(place), explained.trace(place)
    cells = sorted(attribution.by_column(0).items(), key=lambda cell: -abs(cell[1]))[:MOST_CELLS]
    return {
        "entity": entity,
        "reasons": [reason.model_dump(mode="json") for reason in reasons],
        "cells": [
            {"table": table, "column": column, "share": share} for (table, column), share in cells
        ],
        "score": float(attribution.score_B[0]),
        "baseline": float(attribution.baseline_B[0]),
        "completeness_error": float(attribution.error_B[0]),
        "score_after_each_cycle": [scores[0] for scores in trace.scores],
        "cycles_changed": [dict(zip(trace.paths, change, strict=True)) for change in trace.changes],
        "nearest": [{"key": one.key, "cosine": one.cosine} for one in near],
    }


def _place_of(explained: "Explained", entity: str) -> Any:
    from nexus_model.serve.reading import key_values

    for key in key_values(explained.keys):
        if ",".join(map(str, key)) == entity if isinstance(key, tuple) else str(key) == entity:
            return explained.places([key])
    raise DataError("nobody has this key", table=explained.asked.task.entity_table, example=entity)


def explain_tables(former: "NexusFormer", explained: "Explained", page: Path) -> dict[str, Any]:
    """Attention between tables, importance where labels are given, and the page that shows both."""
    import numpy as np

    from nexus_model.api.attention_summary import between_tables, summarized
    from nexus_model.api.flow_page import flow_page
    from nexus_model.explain.attention_flow import attention_flow

    network = former.model
    some_B = np.arange(min(FLOW_SAMPLES, len(explained.tensors.label_B)))
    flow = between_tables(attention_flow(network, explained.tensors, some_B), network.path_tables)
    found = summarized(flow)
    facts: dict[str, Any] = {
        "attention": {name: found[name] for name in ("top_broadcaster", "top_pairs")},
        "experts": [layer.model_dump() for layer in explained.experts(some_B)],
        "tabnet_columns": explained.masks(some_B),
        "page": str(page),
    }
    importance = None
    try:
        importance, pairs = explained.importance()
        facts["importance"] = importance.model_dump(mode="json")
        facts["pairs"] = [pair.model_dump(mode="json") for pair in pairs.pairs if pair.found]
    except DataError as error:
        facts["importance"], facts["no_importance"] = None, str(error)
    title = f"Attention flow: {explained.asked.task.name}"
    page.write_text(flow_page(flow, title, importance), encoding="utf-8")
    return facts


def told_entity(facts: dict[str, Any]) -> list[str]:
    """One entity's explanation in lines."""
    lines = [f"{facts['entity']}:"]
    lines += [f"  - {reason['text']}" for reason in facts["reasons"]]
    if not facts["reasons"]:
        lines.append("  nothing in its tables changes the prediction noticeably")
    error = facts["completeness_error"]
    lines.append(f"cells that add most to the score (completeness error {error:.2%}):")
    lines += [f"  {c['table']}.{c['column']}: {c['share']:+.4f}" for c in facts["cells"]]
    scores = ", ".join(f"{score:.4f}" for score in facts["score_after_each_cycle"])
    lines.append(f"score after 0, 1, ... cycles: {scores}")
    near = ", ".join(f"{one['key']} ({one['cosine']:.3f})" for one in facts["nearest"])
    return [*lines, f"most alike: {near or 'nobody else is in the tables'}"]


def told_tables(facts: dict[str, Any]) -> list[str]:
    """The explanation of all tables in lines."""
    if facts["importance"] is None:
        lines = [f"importance of tables was not measured: {facts['no_importance']}"]
    else:
        found = facts["importance"]
        lines = [f"importance of tables ({found['unit']}, {found['samples']} entities, 95 %):"]
        lines += [
            f"  {row['table']}: {row['shapley']:.4f} [{row['low']:.4f}, {row['high']:.4f}]"
            for row in found["tables"]
        ]
        pairs = [" and ".join(pair["tables"]) for pair in facts["pairs"]]
        lines.append(f"say something together: {'; '.join(pairs) or 'no pair beyond chance'}")
    top = facts["attention"]["top_broadcaster"]
    lines.append(f"read most by others: {top or 'tables do not read others'} ({NOT_THE_SAME})")
    return [*lines, f"page: {facts['page']}"]
