"""Monitored: the champion's reference beside the model, and what moved since, a partition a day."""

import datetime as dt
from collections.abc import Mapping

from nexus_model.schema import ConfigurationError
from nexus_pipeline.defs.day_reads import reads_until
from nexus_pipeline.defs.making import MONITORING, Doing, Made, Making, open_tracker
from nexus_pipeline.defs.resources import Workshop, default_resources, home
from nexus_pipeline.project import ProjectConfig, monitoring_of
from nexus_pipeline.steps import plan
from nexus_pipeline.storage.resource import StoreResource
from nexus_pipeline.tracking.resource import TrackerResource

CODE = ("nexus_model/evaluate", "nexus_pipeline/monitor", "nexus_pipeline/steps/report_style.py",
        "nexus_pipeline/steps/report_svg.py", "nexus_pipeline/steps/report_parts.py")  # fmt: skip


def monitored_makings(project: ProjectConfig) -> list[Making]:
    """The reference and the drift of every task, if the project file has the section."""
    if project.monitoring is None:
        return []
    return [making(project, task) for task in project.task_names for making in (_reference, _drift)]


def _reference(project: ProjectConfig, task: str) -> Making:
    name = project.project_name

    def make(room: Workshop, doing: Doing) -> Made:
        from nexus_pipeline.monitor.reference import reference_task

        stored = reference_task(project, task, room.store, doing.tracking_uri)
        return Made(stored, {"rows": stored.rows})

    def champion(tracking_uri: str) -> Mapping[str, str]:
        from nexus_pipeline.steps.champion import champion_version

        return {"champion": champion_version(project, task, tracking_uri)}

    config = monitoring_of(project)
    return Making(
        key=f"{name}/served/reference_{task}",
        tasks=frozenset({task}),
        description="What the champion was made from: rows, predictions, vectors, a bounded draw.",
        kinds=frozenset({"parquet"}),
        upstream=(f"{name}/served/champion_{task}",),
        code=CODE,
        config={"reference_days": config.reference_days, "most_rows": config.most_rows},
        make=make,
        also=champion,
    )


def _drift(project: ProjectConfig, task: str) -> Making:
    name, reference = project.project_name, _reference(project, task)
    dated = bool(project.tasks)
    predictions = f"{name}/served/predictions_daily_{task}"
    tables = (f"{name}/aligned/database", f"{name}/aligned/samples_{task}")
    labels = (f"{name}/aligned/{plan.task_config(project, task).sql}",) if dated else ()

    def make(room: Workshop, doing: Doing) -> Made:
        from nexus_pipeline.monitor.drift_task import PAGE, drift_task, publish_metrics
        from nexus_pipeline.monitor.summary import drift_folder

        version = doing.upstream.get(tables[0], "")
        if doing.day:
            version = reads_until(project, room, (doing.day,))[doing.day]["until"]
        made = drift_task(project, task, room.store, doing.tracking_uri, doing.day, version)
        publish_metrics(made.report, home(project) / "metrics")
        doing.run.log_artifact(drift_folder(project, task, doing.day) / PAGE)
        return Made(made.stored, {"rows": made.stored.rows, "drift": made.table})

    def reads(room: Workshop, days: tuple[str, ...]) -> Mapping[str, Mapping[str, str]]:
        found = reads_until(project, room, days)
        return {
            day: {**read, **_predicted_until(room, predictions, day)} for day, read in found.items()
        }

    return Making(
        key=f"{name}/evaluated/drift_{task}",
        tasks=frozenset({task}),
        description="Which inputs, predictions and labels moved since the champion was trained.",
        kinds=frozenset({"python", "html"}),
        upstream=(*tables, *labels, reference.key, *((predictions,) if dated else ())),
        code=CODE,
        config=monitoring_of(project).model_dump(mode="json"),
        make=make,
        also=reference.also,
        job=MONITORING,
        daily_from=project.split.test_from if dated else None,
        reads=reads if dated else None,
    )


def _predicted_until(room: Workshop, predictions: str, day: str) -> dict[str, str]:
    """Versions of the predictions of a day and of those before it, whose labels may be there."""
    records = room.records.folder.glob(f"{predictions.replace('/', '.')}.*.json")
    days = sorted(path.stem.rsplit(".", 1)[-1] for path in records)
    return room.records.versions(f"{predictions}/{one}" for one in days if one <= day)


def check_day(project: ProjectConfig, day: str) -> None:
    """Whether a day can be monitored; empty is the last, or the only one without time.

    Raises:
        ConfigurationError: it is no day, before the test split, not over yet, or there are no days.
    """
    first = project.split.test_from
    if not day:
        return
    if not project.tasks or first is None:
        raise ConfigurationError("--day: a task without time has no days; leave it out")
    try:
        asked = dt.date.fromisoformat(day)
    except ValueError as error:
        raise ConfigurationError(f"--day must be YYYY-MM-DD, got {day!r}") from error
    today = dt.datetime.now(dt.UTC).date()
    if not first <= asked < today:
        raise ConfigurationError(
            f"--day {day}: days are from split.test_from, {first}, to yesterday"
        )


def last_day(project: ProjectConfig, task: str) -> str:
    """The day of the last moment the tables reach; empty without time."""
    from nexus_pipeline.steps.align import read_recipe
    from nexus_pipeline.steps.predict_batch import latest_moment

    moment = latest_moment(read_recipe(project, task), _store(project).store())
    if moment is None:
        return ""
    check_day(project, found := moment.date().isoformat())
    return found


def _store(project: ProjectConfig) -> StoreResource:
    store = default_resources(project)["store"]
    assert isinstance(store, StoreResource)
    return store


def keep_references(project: ProjectConfig, task: str | None) -> list[str]:
    """Keep each champion's reference before tables are read anew; tasks that have no champion."""
    from nexus_pipeline.monitor.reference import ensure_reference, load_champion

    store, tracker = _store(project), default_resources(project)["tracker"]
    assert isinstance(tracker, TrackerResource)
    uri, without = open_tracker(tracker.path, tracker.experiment).uri, list[str]()
    for name in (task,) if task else project.task_names:
        champion = load_champion(project, name, uri)
        if champion is None:
            without.append(name)
        else:
            ensure_reference(project, name, store.store(), champion)
    return without
