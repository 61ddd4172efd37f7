"""Commands that make assets: validate, train, evaluate, ablate, ensemble, optimize."""

from functools import partial
from pathlib import Path

from nexus_pipeline.answer import Answer
from nexus_pipeline.commands.options import HERE, ProjectOption, TaskOption


def validate(project: ProjectOption = HERE) -> Answer:
    """Read and validate every table; say what was accepted, quarantined and why.

    Example: nexusflow validate --project nexusflow.yaml
    """
    from nexus_pipeline.project import load_project
    from nexus_pipeline.run import RunFailedError, materialize
    from nexus_pipeline.summary import validation

    try:
        return validation(materialize(project, stages=("raw", "validated")), project)
    except RunFailedError as failed:
        if "blocking" not in str(failed):
            raise
        found = validation(load_project(project), project)
        said = "\n".join(str(part) for part in found.shown)
        stopped = "\n".join(line for line in str(failed).splitlines() if line not in said)
        return Answer(found.facts, (*found.shown, f"error: {stopped}"), failed.exit_code)


def train(project: ProjectOption = HERE, task: TaskOption = None) -> Answer:
    """Materialize every asset, from raw tables to the registered model; reuse what is unchanged.

    Example: nexusflow train --project nexusflow.yaml
    """
    from nexus_pipeline.run import materialize
    from nexus_pipeline.summary import summary

    return summary(materialize(project, task=task), task)


def evaluate(project: ProjectOption = HERE, task: TaskOption = None) -> Answer:
    """Measure the model beside every baseline and write the report.

    Example: nexusflow evaluate --project nexusflow.yaml
    """
    from nexus_pipeline.defs.making import STAGES
    from nexus_pipeline.run import materialize
    from nexus_pipeline.summary import comparisons

    return comparisons(materialize(project, stages=STAGES[:7], task=task), task)


def ablate(project: ProjectOption = HERE, task: TaskOption = None) -> Answer:
    """Train every variant of the model the project file's ablation asks for; print the grid.

    Example: nexusflow ablate --project nexusflow.yaml --task dnf
    """
    from nexus_pipeline.defs.making import ABLATION

    return _made_apart(project, task, ABLATION)


def ensemble(project: ProjectOption = HERE, task: TaskOption = None) -> Answer:
    """Train the model with several seeds, average, stack beside boosting; print the comparison.

    Example: nexusflow ensemble --project nexusflow.yaml --task position
    """
    from nexus_pipeline.defs.making import ENSEMBLE

    return _made_apart(project, task, ENSEMBLE)


def _made_apart(file: Path, task: str | None, job: str) -> Answer:
    """Make a job's assets and what they are made from; the page and the figures of each."""
    import json

    from nexus_pipeline.defs.trained import trained_before
    from nexus_pipeline.project import load_project
    from nexus_pipeline.run import materialize

    stages = ["raw", "validated", "aligned", "tokenized"]
    project = load_project(file)
    if any(trained_before(project, name) for name in project.task_names):
        stages.append("trained")
    materialize(file, stages=stages, task=task)
    config = materialize(file, task=task, job=job)
    names = [task] if task else list(config.task_names)
    folders = {name: config.stage_folder("evaluated", f"{job}_{name}") for name in names}
    facts = {name: json.loads((at / f"{job}.json").read_bytes()) for name, at in folders.items()}
    return Answer(facts, tuple((at / f"{job}.md").read_text("utf-8") for at in folders.values()))


def optimize(project: ProjectOption = HERE, task: TaskOption = None) -> Answer:
    """Make each model smaller as the project file's optimization asks; print what was measured.

    Example: nexusflow optimize --project nexusflow.yaml --task dnf
    """
    import typer

    from nexus_pipeline.defs.making import STAGES
    from nexus_pipeline.defs.optimized import optimize_models
    from nexus_pipeline.run import materialize
    from nexus_pipeline.steps.smaller_task import SMALLER, told_stages

    config = materialize(project, stages=STAGES[:6], task=task)
    names = [task] if task else list(config.task_names)
    reports = optimize_models(config, names, partial(typer.echo, err=True))
    shown = []
    for name, report in reports.items():
        shown += [told_stages(report), f"{name}: {report.said}"]
        shown.append(f"{name}: {config.stage_folder('optimized', name) / SMALLER}")
    facts = {name: report.model_dump(mode="json") for name, report in reports.items()}
    return Answer(facts, tuple(shown))
