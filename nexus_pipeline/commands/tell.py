"""Commands that tell about a model: explain, card."""

from pathlib import Path
from typing import Annotated

import typer

from nexus_pipeline.answer import Answer


def explain(
    model: Annotated[Path, typer.Argument(help="a .nxf file")],
    data: Annotated[Path, typer.Option(help="folder with one CSV or Parquet file per raw table")],
    entity: Annotated[
        str | None, typer.Option(help="key of one entity; all tables if unset")
    ] = None,
    cutoff: Annotated[str | None, typer.Option(help="moment asked about, ISO 8601")] = None,
    page: Annotated[Path, typer.Option(help="page to write")] = Path("explanation.html"),
) -> Answer:
    """Why a model says what it says: one entity in words, or what all tables are worth.

    Example: nexusflow explain model.nxf --data data/raw/shop --entity 17
    """
    from nexus_pipeline.steps.explain_model import (
        explain_entity,
        explain_tables,
        opened,
        told_entity,
        told_tables,
    )

    former, explained = opened(model, data, cutoff)
    if entity is not None:
        facts = explain_entity(explained, entity)
        return Answer(facts, tuple(told_entity(facts)))
    facts = explain_tables(former, explained, page)
    return Answer(facts, tuple(told_tables(facts)))


def card(
    model: Annotated[Path, typer.Argument(help="a .nxf file")],
    evaluation: Annotated[Path | None, typer.Option(help="metrics.json of its report")] = None,
    to: Annotated[Path | None, typer.Option(help="Markdown file to write")] = None,
) -> Answer:
    """The model card: use, data, metrics with intervals, limits, ethics; none may be empty.

    Example: nexusflow card model.nxf --evaluation data/evaluated/shop/churned/metrics.json
    """
    from nexus_pipeline.steps.model_card import model_card

    found = model_card(model, evaluation)
    if to is not None:
        to.write_text(found["text"], encoding="utf-8")
    return Answer(found["facts"], (found["text"],))
