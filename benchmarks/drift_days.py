"""What monitoring would have told of a project's own past: inputs and labels, day after day.

    python -m benchmarks.drift_days PROJECT_FILE TASK [days apart] [--write]

Reads the tables of a project that was trained; predictions, novelty and live metrics are left out,
as nobody predicted those days. The reference is what a champion of today's project file has.
"""

import datetime as dt
import json
import sys
from pathlib import Path
from typing import Any

from nexus_model.align.recipe import Recipe
from nexus_pipeline.monitor.compare import decide
from nexus_pipeline.monitor.observed import Observed, as_labels, closed_labels, compare_observed
from nexus_pipeline.monitor.windows import Span, read_rows
from nexus_pipeline.project import load_project, monitoring_of
from nexus_pipeline.settings.monitoring import MonitoringConfig
from nexus_pipeline.steps.align import read_recipe
from nexus_pipeline.storage import Store

RESULTS = Path(__file__).parent / "results"


def seen(store: Store, recipe: Recipe, rows: Span, labels: Span, most: int) -> Observed:
    """Rows and labels of spans."""
    with store.read() as con:
        found = as_labels(recipe.task, closed_labels(con, recipe, *labels))
        return Observed(read_rows(con, recipe, rows, most), labels=found)


def told_days(
    store: Store, recipe: Recipe, config: MonitoringConfig, apart: int
) -> list[dict[str, Any]]:
    """What moved by each day from the test split on, until the last label."""
    grid = recipe.grid
    assert grid is not None
    most, days = config.most_rows, []
    spans = (
        Span.before(end, config.reference_days) for end in (grid.test_from, grid.validation_from)
    )
    reference = seen(store, recipe, *spans, most)
    with store.read() as con:
        last = con.sql(f"select max(window_end) from aligned.{recipe.cutoffs}").fetchall()[0][0]
    day = grid.test_from
    while (day := day + dt.timedelta(days=apart)) <= last:
        window = Span.before(day, config.window_days)
        labels = Span.before(day, max(config.window_days, grid.step_days))
        now = seen(store, recipe, window, labels, most)
        found = decide(config, compare_observed(config, recipe.task.name, reference, now))
        moved = sorted(f"{one.name} {one.measure}" for one in found if one.moved)
        days.append({"day": f"{day:%Y-%m-%d}", "tests": len(found), "moved": moved})
    return days


def main(file: Path, task: str, apart: int) -> dict[str, Any]:
    """Every day of a task, with the usual window and with one of a quarter."""
    project = load_project(file)
    recipe, config = read_recipe(project, task), monitoring_of(project)
    store = Store(project.data / "raw" / f"{project.project_name}.duckdb")
    told = {
        str(days): told_days(store, recipe, config.model_copy(update={"window_days": days}), apart)
        for days in (config.window_days, 90)
    }
    return {"project": project.project_name, "task": task, "by_window_days": told}


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--write"]
    result = main(Path(words[0]), words[1], int(words[2]) if words[2:] else 120)
    text = json.dumps(result, indent=1) + "\n"
    if "--write" in sys.argv:
        (RESULTS / f"drift_{result['project']}.json").write_text(text, encoding="utf-8")
    sys.stdout.write(text)
