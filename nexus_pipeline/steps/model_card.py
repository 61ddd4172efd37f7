"""The model card: intended use, data, metrics with intervals, limits, ethics, as Markdown.

What people must say stands in the project file under ``card`` and travels in the artifact; what can
be measured is taken from the artifact and, where it is given, from the evaluation.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nexus_model.schema import ConfigurationError
from nexus_pipeline.settings.card import CardConfig

if TYPE_CHECKING:
    from nexus_model.artifact.model_file import NexusFlowModelArtifact
    from nexus_model.evaluate.metrics import Metric
    from nexus_pipeline.steps.report_record import EvaluationReport

CARD, CARD_FILE = "card", "card.md"
MANDATORY = ("intended_use", "limits", "ethics")
NONE_SAID = "none stated"


def missing_of(said: CardConfig | None) -> list[str]:
    """Mandatory fields that say nothing.

    >>> missing_of(CardConfig(intended_use="choosing whom to call", limits=" "))
    ['limits', 'ethics']
    """
    known = said or CardConfig()
    return [name for name in MANDATORY if not getattr(known, name).strip()]


def model_card(file: Path, evaluation: Path | None = None) -> dict[str, Any]:
    """The card of a ``.nxf`` file as ``facts`` and ``text``; ``evaluation`` is a ``metrics.json``.

    Raises:
        ConfigurationError: a mandatory field is empty, or the evaluation is missing or none.
    """
    from nexus_model.artifact.archive import read_archive
    from nexus_model.artifact.model_file import NexusFlowModelArtifact
    from nexus_pipeline.steps.report_record import EvaluationReport

    archive = read_archive(file)
    artifact = NexusFlowModelArtifact.of(archive)
    said = CardConfig.model_validate(artifact.metrics.get(CARD, {}))
    missing = missing_of(said)
    if missing:
        raise ConfigurationError(
            f"{file}: its card says nothing of {', '.join(missing)}; write them under card: in the "
            "project file and train again"
        )
    report = None
    if evaluation is not None:
        try:
            report = EvaluationReport.model_validate_json(evaluation.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{evaluation}: is no evaluation's metrics.json") from error
    facts = card_facts(artifact, said, archive.content_hash, report)
    return {"facts": facts, "text": card_text(facts)}


def card_facts(
    artifact: "NexusFlowModelArtifact",
    said: CardConfig,
    content_hash: str,
    report: "EvaluationReport | None",
) -> dict[str, Any]:
    """Everything on the card, as JSON."""
    recipe, metrics = artifact.recipe, artifact.metrics
    scores: list[dict[str, Any]] = []
    if report is not None:
        own = report["nexusformer"]
        scores += [{"split": "test", **found.model_dump(mode="json")} for found in own.test]
        scores.append({"split": "validation", **own.validation[0].model_dump(mode="json")})
    elif "interval" in metrics:
        scores.append({"split": "validation", **metrics["interval"]})
    return {
        **said.model_dump(),
        "task": recipe.task.model_dump(mode="json"),
        "tables": {
            table.name: {
                "columns": [column.name for column in table.columns],
                "time": table.time_column,
                "references": [key.references_table for key in table.foreign_keys],
            }
            for table in recipe.database.tables
        },
        "rows": _rows_of(report),
        "metrics": scores,
        "best_baseline": _baseline_of(report),
        "weights": sum(weight.numel() for weight in artifact.weights.values()),
        "content_hash": content_hash,
    }


def _rows_of(report: "EvaluationReport | None") -> dict[str, Any]:
    if report is None:
        return {}
    card = report.background.data
    return {
        "samples": {facts.split: facts.rows for facts in report.splits},
        "tables": {} if card is None else {one.table: one.rows for one in card.tables},
        "kept_apart": 0 if card is None else sum(one.quarantined or 0 for one in card.tables),
    }


def _baseline_of(report: "EvaluationReport | None") -> dict[str, Any] | None:
    if report is None or report.best_baseline is None:
        return None
    found = report[report.best_baseline].test[0]
    return {"name": report.best_baseline, **found.model_dump(mode="json")}


def card_text(facts: Mapping[str, Any]) -> str:
    """The card as Markdown."""
    task = facts["task"]
    horizon = f", over {task['horizon_days']} days" if task["horizon_days"] else ""
    classes = f" ({', '.join(task['classes'])})" if task["classes"] else ""
    lines = [
        f"# Model card: {task['name']}",
        "",
        f"Predicts {task['name']}{classes} for each row of {task['entity_table']}{horizon}; a "
        f"{task['kind']} task. {facts['weights']:,} weights, content hash "
        f"`{facts['content_hash'][:16]}`.",
        "",
        "## Intended use",
        "",
        facts["intended_use"],
        "",
        f"Not for: {facts['not_for'] or NONE_SAID}. Answers for it: {facts['owner'] or NONE_SAID}.",
        "",
        "## Data",
        "",
        *_told_data(facts),
        "",
        "## Metrics",
        "",
        *_told_metrics(facts),
        "",
        "## Limits",
        "",
        facts["limits"],
        "",
        "It describes what goes together in the data it saw, not what causes what; a sample unlike "
        "those is answered all the same.",
        "",
        "## Ethics",
        "",
        facts["ethics"],
        "",
    ]
    return "\n".join(lines)


def _told_data(facts: Mapping[str, Any]) -> list[str]:
    rows = facts["rows"]
    of = rows.get("tables", {})
    lines = [
        f"- {name}: {', '.join(table['columns']) or 'keys only'}"
        + (f"; {of[name]:,} rows" if name in of else "")
        for name, table in facts["tables"].items()
    ]
    if rows:
        samples = ", ".join(f"{count:,} {split}" for split, count in rows["samples"].items())
        lines += ["", f"Samples: {samples}. Rows kept apart: {rows['kept_apart']:,}."]
    return lines


def _told_metrics(facts: Mapping[str, Any]) -> list[str]:
    if not facts["metrics"]:
        return ["No metric with an interval is stored in this file; give the evaluation."]
    lines = ["| split | metric | value | 95 % interval | samples |", "|---|---|---|---|---|"]
    for one in facts["metrics"]:
        low, high = ("" if one[name] is None else f"{one[name]:.4f}" for name in ("low", "high"))
        lines.append(
            f"| {one['split']} | {one['metric']} | {one['estimate']:.4f} | {low} to {high} "
            f"| {one['rows']:,} |"
        )
    best = facts["best_baseline"]
    if best is not None:
        lines += ["", f"Best simpler method on test: {best['name']}, {best['estimate']:.4f}."]
    return lines


def write_card(folder: Path, artifact: Path, said: CardConfig | None) -> str:
    """Write ``card.md`` beside ``metrics.json``; the text, or which mandatory fields are empty.

    A project without a card is evaluated all the same: only the command insists.
    """
    missing = missing_of(said)
    if missing:
        told = f"No model card: {', '.join(missing)} of the project file's card say nothing."
        (folder / CARD_FILE).unlink(missing_ok=True)
        return told
    text: str = model_card(artifact, folder / "metrics.json")["text"]
    (folder / CARD_FILE).write_text(text, encoding="utf-8")
    return text


def stored_card(
    said: CardConfig | None, metric: "Metric | str", judged: Any, labels: Any
) -> dict[str, Any]:
    """What the artifact's metrics hold for its card; nothing if the project has none."""
    from nexus_model.evaluate.bootstrap import interval

    if said is None:
        return {}
    found = interval(metric, judged, labels, None, draws=300)
    return {CARD: said.model_dump(), "interval": found.model_dump(mode="json")}
