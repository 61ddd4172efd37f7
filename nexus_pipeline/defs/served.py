"""Served: a registered version, the champion alias, and batch predictions of the champion."""

from collections.abc import Mapping

from nexus_pipeline.defs.day_reads import prediction_reads
from nexus_pipeline.defs.making import BATCH, Doing, Made, Making
from nexus_pipeline.defs.resources import Workshop
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.tracking.server import answering_server

AGAIN = "start the server and say `nexusflow train` again: what was made is kept"
CODE = tuple(
    f"nexus_pipeline/{name}.py"
    for name in (
        "steps/serve_task",
        "steps/register_task",
        "steps/predict_batch",
        "steps/stream_predictions",
        "steps/registry",
        "steps/champion",
        "served_model",
    )
)


def served_makings(project: ProjectConfig) -> list[Making]:
    """Registration, promotion and predictions of every task."""
    makings = []
    for task in project.task_names:
        makings += [_registered(project, task), _promoted(project, task), _predicted(project, task)]
    return makings + [
        _predicted_daily(project, task) for task in project.task_names if project.tasks
    ]


def _registered(project: ProjectConfig, task: str) -> Making:
    name = project.project_name

    def make(room: Workshop, doing: Doing) -> Made:
        from nexus_pipeline.lineage.model_lineage import keep_lineage, model_lineage
        from nexus_pipeline.steps.register_task import Registering, register_task

        lineage = model_lineage(project, task, room.records)
        run, uri = doing.run.registrable_id(), doing.tracking_uri
        with answering_server(uri, f"{task} is not registered; {AGAIN}"):
            at = Registering(run, uri, doing.tags, doing.note)
            stored = register_task(project, task, room.store, at)
        doing.run.log_artifact(keep_lineage(project, task, lineage))
        return Made(stored, {"rows": 1})

    return Making(
        key=f"{name}/served/registered_{task}",
        tasks=frozenset({task}),
        description="A version of the registered MLflow model, aliased challenger.",
        kinds=frozenset({"mlflow"}),
        upstream=(f"{name}/optimized/{task}", f"{name}/evaluated/{task}"),
        code=CODE,
        config={},
        make=make,
    )


def _promoted(project: ProjectConfig, task: str) -> Making:
    name = project.project_name

    def make(room: Workshop, doing: Doing) -> Made:  # noqa: ARG001 - all makings are called alike
        from nexus_pipeline.steps.serve_task import promote_task

        uri = doing.tracking_uri
        with answering_server(uri, f"no gate was decided; {AGAIN}"):
            stored, promotion = promote_task(project, task, uri, doing.note)
        return Made(stored, {"rows": 1, "decision": promotion.model_dump(mode="json")})

    return Making(
        key=f"{name}/served/champion_{task}",
        tasks=frozenset({task}),
        description="The gate, read again, and the champion alias moved if it is open.",
        kinds=frozenset({"mlflow"}),
        upstream=(f"{name}/served/registered_{task}", f"{name}/evaluated/{task}"),
        code=(*CODE, "nexus_pipeline/steps/gate.py"),
        config=project.gate.model_dump(exclude_defaults=True),
        make=make,
    )


def _predicted(project: ProjectConfig, task: str) -> Making:
    name = project.project_name

    def make(room: Workshop, doing: Doing) -> Made:
        from nexus_pipeline.steps.predict_batch import predict_batch, prediction_preview

        uri = doing.tracking_uri
        with answering_server(uri, f"nothing was predicted; {AGAIN}"):
            stored = predict_batch(project, task, room.store, uri, doing.day)
        shown = prediction_preview(project, task, doing.day)
        return Made(stored, {"rows": stored.rows, "preview": shown})

    def champion(tracking_uri: str) -> Mapping[str, str]:
        from nexus_pipeline.steps.champion import champion_identity

        with answering_server(tracking_uri, f"who is champion is not known; {AGAIN}"):
            return champion_identity(project, task, tracking_uri)

    return Making(
        key=f"{name}/served/predictions_{task}",
        tasks=frozenset({task}),
        description="The champion's prediction for every entity at the latest moment.",
        kinds=frozenset({"parquet", "pytorch"}),
        upstream=(f"{name}/served/champion_{task}",),
        code=CODE,
        config={},
        make=make,
        also=champion,
    )


def _predicted_daily(project: ProjectConfig, task: str) -> Making:
    """As the latest predictions, for a day; it reads the tables, so they are upstream."""
    name, latest = project.project_name, _predicted(project, task)
    return latest._replace(
        key=f"{name}/served/predictions_daily_{task}",
        description="The champion's prediction for every entity as of the start of a day, a "
        "partition a day. Days the champion was trained on are no test of it.",
        upstream=(*latest.upstream, f"{name}/aligned/database", f"{name}/aligned/samples_{task}"),
        job=BATCH,
        daily_from=project.split.test_from,
        reads=lambda room, days: prediction_reads(project, task, room, days),
    )
