"""Evaluated: the baselines of every task, and the model beside them in one report."""

from collections.abc import Callable

import dagster as dg

from nexus_pipeline.defs.checks import Outcome, build_check
from nexus_pipeline.defs.making import ABLATION, ENSEMBLE, Doing, Made, Making
from nexus_pipeline.defs.resources import Workshop
from nexus_pipeline.defs.trained import trained_before
from nexus_pipeline.project import ProjectConfig, ablation_of, encoder_files, ensemble_of

BASELINE_CODE = tuple(
    f"nexus_pipeline/steps/{name}.py"
    for name in (
        "baselines",
        "boosting",
        "aggregates",
        "aggregate_paths",
        "aggregate_rows",
        "cohort",
    )
)
ABLATION_CODE = (
    "nexus_model",
    "nexus_pipeline/steps/ablate_task.py",
    "nexus_pipeline/steps/variants.py",
    "nexus_pipeline/steps/model_plan.py",
)
ENSEMBLE_CODE = (
    "nexus_model",
    "nexus_pipeline/steps/ensemble_task.py",
    "nexus_pipeline/steps/member.py",
    "nexus_pipeline/steps/model_plan.py",
    *BASELINE_CODE,
)
REPORT_CODE = (
    "nexus_model/evaluate",
    "nexus_model/explain",
    *(
        f"nexus_pipeline/steps/{name}.py"
        for name in ("evaluate_task", "evaluation", "explain_task", "data_card", "model_card")
    ),
    *(
        f"nexus_pipeline/steps/report{name}.py"
        for name in (
            "",
            "_facts",
            "_graph",
            "_page",
            "_parts",
            "_pictures",
            "_plots",
            "_ranking",
            "_record",
            "_sections",
            "_style",
            "_svg",
        )
    ),
)


def evaluated_makings(project: ProjectConfig) -> list[Making]:
    """Baselines and report of every task."""
    makings = [_baselines(project, task) for task in project.task_names]
    makings += [_report(project, task) for task in project.task_names]
    if project.ablation is not None:
        makings += [_ablation(project, task) for task in project.task_names]
    if project.ensemble is not None:
        makings += [_ensemble(project, task) for task in project.task_names]
    return makings


def _baselines(project: ProjectConfig, task: str) -> Making:
    name = project.project_name

    def make(room: Workshop, doing: Doing) -> Made:  # noqa: ARG001 - all makings are called alike
        from nexus_pipeline.steps.evaluate_task import make_baselines

        room.progress.passing(f"evaluated/baselines_{task}: boosting on aggregates ...")
        stored = make_baselines(project, task, room.store)
        return Made(stored, {"rows": stored.rows})

    return Making(
        key=f"{name}/evaluated/baselines_{task}",
        tasks=frozenset({task}),
        description="Predictions of every baseline, from a constant to boosting on aggregates.",
        kinds=frozenset({"lightgbm", "duckdb"}),
        upstream=(
            f"{name}/aligned/index_{task}",
            f"{name}/aligned/samples_{task}",
            f"{name}/aligned/database",
        ),
        code=BASELINE_CODE,
        config={"seed": project.training.seed, "refit": project.training.refit},
        make=make,
    )


def _report(project: ProjectConfig, task: str) -> Making:
    name = project.project_name

    def make(room: Workshop, doing: Doing) -> Made:
        from nexus_pipeline.steps.evaluate_task import evaluate_task
        from nexus_pipeline.steps.evaluation import evaluation_folder

        made = evaluate_task(project, task, room.store, dict(doing.upstream))
        folder = evaluation_folder(project, task)
        doing.run.log_artifact(folder / "report.html")
        doing.run.log_artifact(folder / "metrics.json")
        if (folder / "card.md").is_file():
            doing.run.log_artifact(folder / "card.md")
        shown = {"rows": made.stored.rows, "comparison": made.table, "model_card": made.card}
        return Made(made.stored, shown)

    return Making(
        key=f"{name}/evaluated/{task}",
        tasks=frozenset({task}),
        description="The model beside every baseline, with intervals, as metrics.json and a page.",
        kinds=frozenset({"python", "html"}),
        upstream=(
            f"{name}/optimized/{task}",
            f"{name}/trained/{task}",
            f"{name}/evaluated/baselines_{task}",
            f"{name}/aligned/samples_{task}",
        ),
        code=REPORT_CODE,
        config={},
        make=make,
    )


def _ablation(project: ProjectConfig, task: str) -> Making:
    def make(room: Workshop, doing: Doing) -> Made:
        from nexus_pipeline.steps.ablate_task import ablate_task, ablation_folder

        stored, text = ablate_task(project, task, room.store, doing.upstream, room.progress)
        doing.run.log_artifact(ablation_folder(project, task) / "ablation.md")
        return Made(stored, {"rows": stored.rows, "ablation": text})

    making = _of_trainings(project, task, ABLATION, make)
    return making._replace(
        description="The model trained with one thing changed at a time, compared on validation.",
        code=ABLATION_CODE,
        config={**making.config, "ablation": ablation_of(project).model_dump(mode="json")},
    )


def _ensemble(project: ProjectConfig, task: str) -> Making:
    def make(room: Workshop, doing: Doing) -> Made:
        from nexus_pipeline.steps.ensemble_task import ensemble_folder, ensemble_task

        stored, text = ensemble_task(project, task, room.store, doing.upstream, room.progress)
        doing.run.log_artifact(ensemble_folder(project, task) / "ensemble.md")
        return Made(stored, {"rows": stored.rows, "ensemble": text})

    name, making = project.project_name, _of_trainings(project, task, ENSEMBLE, make)
    return making._replace(
        description="Several trainings of the model averaged, alone and beside boosting.",
        kinds=making.kinds | {"lightgbm"},
        upstream=(*making.upstream, f"{name}/aligned/index_{task}", *trained_before(project, task)),
        code=ENSEMBLE_CODE,
        config={**making.config, "ensemble": ensemble_of(project).model_dump(mode="json")},
    )


def _of_trainings(
    project: ProjectConfig, task: str, job: str, make: Callable[[Workshop, Doing], Made]
) -> Making:
    """An asset of trainings beside the one that is served; its job is in its name."""
    name = project.project_name
    return Making(
        key=f"{name}/evaluated/{job}_{task}",
        tasks=frozenset({task}),
        description="",
        kinds=frozenset({"pytorch"}),
        upstream=(f"{name}/tokenized/{task}", f"{name}/aligned/samples_{task}"),
        code=(),
        config={
            "architecture": project.architecture.model_dump(mode="json"),
            "training": project.training.on_one_device.model_dump(mode="json"),
            "tables": {d.table: d.encoder_settings() for d in project.datasets},
            "encoder_modules": encoder_files(project),
        },
        make=make,
        job=job,
    )


def evaluated_checks(project: ProjectConfig) -> list[dg.AssetChecksDefinition]:
    """One fact per task; it warns and does not block: the gate of promotion decides."""

    def fact(task: str) -> dg.AssetChecksDefinition:
        def the_model_beats_every_per_entity_baseline_on_validation(room: Workshop) -> Outcome:
            from nexus_pipeline.settings.gate import GateConfig
            from nexus_pipeline.steps.evaluation import read_evaluation
            from nexus_pipeline.steps.gate import open_gate

            evaluation = read_evaluation(room.project, task)
            gate = open_gate(evaluation, "candidate", None, GateConfig())
            figures = {"score": gate.score, "rival": gate.rival, "rival_score": gate.rival_score}
            return Outcome(gate.passed, figures)

        key = f"{project.project_name}/evaluated/{task}"
        looked = the_model_beats_every_per_entity_baseline_on_validation
        return build_check(project, key, looked, blocking=False)

    return [fact(task) for task in project.task_names]
