"""The ``nexusflow`` command: init, schema, validate, train, evaluate, predict, inspect, ablate,
ensemble, optimize, generate, serve, ui; artifact keys, sign, verify, encrypt, decrypt, schema;
models list, compare, promote, rollback.

Exit codes: 0 done, 1 a bug or a failed check, 2 configuration, 3 data, 4 training.
"""

import atexit
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from nexus_model.schema import NexusError
from nexus_pipeline.artifact_files import COMMANDS as ARTIFACT_COMMANDS
from nexus_pipeline.project import DEFAULT_FILE
from nexus_pipeline.registry_commands import COMMANDS as MODEL_COMMANDS

ProjectOption = Annotated[
    Path, typer.Option("--project", "-p", help="project file", envvar="NEXUS_PROJECT")
]
app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    help="Learn from related tables as they are. Exit codes: 2 configuration, 3 data, 4 training.",
)


@contextmanager
def told() -> Iterator[None]:
    """Show a user's error as one message, and leave with its exit code."""
    code = 0
    try:
        yield
    except NexusError as error:
        typer.echo(f"error: {error}", err=True)
        code = error.exit_code
    # Outside the except block, so that no traceback keeps connections open until the very end.
    if code:
        raise typer.Exit(code)


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="name of the project and of its folder")],
    tables: Annotated[Path | None, typer.Option("--from", help="folder of your tables")] = None,
    target: Annotated[str | None, typer.Option(help="table.column to predict")] = None,
) -> None:
    """Make a project folder: from your tables, or with example tables; the file says why.

    Example: nexusflow init shop
    Example: nexusflow init sales --from exports --target customers.churned
    """
    from nexus_pipeline.propose.new_project import init_project

    with told():
        lines = init_project(Path.cwd(), name, tables, target)
    typer.echo("\n".join(lines))


@app.command()
def schema(
    to: Annotated[Path, typer.Option(help="file to write")] = Path("nexusflow.schema.json"),
) -> None:
    """Write the JSON Schema of the project file, for editors that complete and check it.

    Example: nexusflow schema --to nexusflow.schema.json
    """
    from nexus_pipeline.propose.project_schema import project_schema_text

    to.write_text(project_schema_text(), encoding="utf-8")
    typer.echo(f"wrote {to}; first line of the project file: # yaml-language-server: $schema={to}")


@app.command()
def validate(project: ProjectOption = Path(DEFAULT_FILE)) -> None:
    """Read and validate every table; print what was accepted, quarantined and why.

    Example: nexusflow validate --project nexusflow.yaml
    """
    from nexus_pipeline.run import materialize
    from nexus_pipeline.summary import print_validation

    with told():
        config = materialize(project, stages=("raw", "validated"))
        print_validation(config, project)


@app.command()
def train(
    project: ProjectOption = Path(DEFAULT_FILE),
    task: Annotated[str | None, typer.Option(help="one task only")] = None,
) -> None:
    """Materialize every asset, from raw tables to the registered model; reuse what is unchanged.

    Example: nexusflow train --project nexusflow.yaml
    """
    from nexus_pipeline.run import materialize
    from nexus_pipeline.summary import print_summary

    with told():
        config = materialize(project, task=task)
        print_summary(config, task)


@app.command()
def evaluate(
    project: ProjectOption = Path(DEFAULT_FILE),
    task: Annotated[str | None, typer.Option(help="one task only")] = None,
) -> None:
    """Measure the model beside every baseline and write the report.

    Example: nexusflow evaluate --project nexusflow.yaml
    """
    from nexus_pipeline.defs.making import STAGES
    from nexus_pipeline.run import materialize
    from nexus_pipeline.summary import print_comparison

    with told():
        config = materialize(project, stages=STAGES[:7], task=task)
        print_comparison(config, task)


@app.command()
def predict(
    model: Annotated[Path, typer.Option(help="a .nxf file")],
    data: Annotated[Path, typer.Option(help="folder with one CSV or Parquet file per raw table")],
    output: Annotated[Path, typer.Option(help="CSV or Parquet file to write")],
    cutoff: Annotated[str | None, typer.Option(help="moment asked about, ISO 8601")] = None,
) -> None:
    """Predict from raw tables with a .nxf file alone; one row per entity, in input order.

    Example: nexusflow predict --model model.nxf --data data/raw/f1 --cutoff 2026-07-01
    --output predictions.csv
    """
    from nexus_pipeline.predict_files import predict_files

    with told():
        rows = predict_files(model, data, cutoff, output)
    typer.echo(f"{rows} predictions in {output}")


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="a .nxf file")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Show what a .nxf file holds, without building the model.

    Example: nexusflow inspect data/optimized/f1/dnf/model.nxf
    """
    from nexus_pipeline.inspection import describe_artifact, told_artifact

    with told():
        described = describe_artifact(file)
    typer.echo(json.dumps(described, indent=1) if as_json else told_artifact(described))


@app.command()
def ablate(
    project: ProjectOption = Path(DEFAULT_FILE),
    task: Annotated[str | None, typer.Option(help="one task only")] = None,
) -> None:
    """Train every variant of the model the project file's ablation asks for; print the grid.

    Example: nexusflow ablate --project nexusflow.yaml --task dnf
    """
    from nexus_pipeline.defs.making import ABLATION

    _make_apart(project, task, ABLATION)


@app.command()
def ensemble(
    project: ProjectOption = Path(DEFAULT_FILE),
    task: Annotated[str | None, typer.Option(help="one task only")] = None,
) -> None:
    """Train the model with several seeds, average, stack beside boosting; print the comparison.

    Example: nexusflow ensemble --project nexusflow.yaml --task position
    """
    from nexus_pipeline.defs.making import ENSEMBLE

    _make_apart(project, task, ENSEMBLE)


def _make_apart(file: Path, task: str | None, job: str) -> None:
    """Make a job's assets and what they are made from; print the page of each."""
    from nexus_pipeline.defs.trained import trained_before
    from nexus_pipeline.project import load_project
    from nexus_pipeline.run import materialize

    with told():
        stages = ["raw", "validated", "aligned", "tokenized"]
        project = load_project(file)
        if any(trained_before(project, name) for name in project.task_names):
            stages.append("trained")
        materialize(file, stages=stages, task=task)
        config = materialize(file, task=task, job=job)
        for name in [task] if task else config.task_names:
            page = config.stage_folder("evaluated", f"{job}_{name}") / f"{job}.md"
            typer.echo(page.read_text("utf-8"))


@app.command()
def optimize(
    project: ProjectOption = Path(DEFAULT_FILE),
    task: Annotated[str | None, typer.Option(help="one task only")] = None,
) -> None:
    """Make each model smaller as the project file's optimization asks; print what was measured.

    Example: nexusflow optimize --project nexusflow.yaml --task dnf
    """
    from nexus_pipeline.defs.making import STAGES
    from nexus_pipeline.defs.optimized import optimize_models
    from nexus_pipeline.run import materialize

    with told():
        config = materialize(project, stages=STAGES[:6], task=task)
        optimize_models(config, [task] if task else config.task_names, typer.echo)


@app.command()
def generate(
    kind: Annotated[str, typer.Argument(help="what to generate: shop")],
    rows: Annotated[int, typer.Option(help="customers")] = 4000,
    seed: Annotated[int, typer.Option(help="the same seed gives the same bytes")] = 0,
    to: Annotated[Path, typer.Option(help="folder of the new project")] = Path("shop"),
) -> None:
    """Write a database whose label probabilities are known, and a project file that learns it.

    Example: nexusflow generate shop --rows 4000 --seed 0 --to shop
    """
    from nexus_pipeline.generate.shop import generate_project

    with told():
        report = generate_project(kind, to, rows, seed)
    typer.echo(f"made {to}: {sum(report.rows.values()):,} rows in {len(report.rows)} tables")
    typer.echo(f"churned: {report.base_rate:.3f}; best possible AUROC {report.bayes_auc:.4f}")
    typer.echo(f"next: cd {to} && nexusflow train")


@app.command()
def serve(
    model: Annotated[Path | None, typer.Option(help="a .nxf file")] = None,
    registered: Annotated[str | None, typer.Option(help="registered model; its champion")] = None,
    project: Annotated[Path | None, typer.Option(help="project file: look rows up by key")] = None,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any free port")] = 8000,
    max_body_mb: Annotated[float, typer.Option(help="largest request")] = 32,
    timeout_s: Annotated[float, typer.Option(help="longest time to an answer")] = 10,
    token_file: Annotated[Path | None, typer.Option(help="else NEXUS_SERVE_TOKEN")] = None,
) -> None:
    """Serve predictions over HTTP; a new champion takes over while requests go on.

    Example: nexusflow serve --model model.nxf --port 8000
    """
    from nexus_pipeline.serve_model import serve_model, serve_settings

    with told():
        settings = serve_settings(host, port, max_body_mb, timeout_s)
        serve_model(model, registered, project, token_file, settings)


@app.command()
def ui(
    project: ProjectOption = Path(DEFAULT_FILE),
    dagster_port: Annotated[int, typer.Option(help="port of the Dagster page")] = 3000,
    mlflow_port: Annotated[int, typer.Option(help="port of the MLflow page")] = 5000,
) -> None:
    """Open the Dagster page (with its daemon) and the MLflow page on this machine; Ctrl-C stops.

    Example: nexusflow ui --dagster-port 3000 --mlflow-port 5000
    """
    from nexus_pipeline.pages import serve_pages

    with told():
        serve_pages(project, dagster_port, mlflow_port)


def _telling(command: Callable[..., None]) -> Callable[..., None]:
    """The command with a user's error shown as one message."""

    @wraps(command)
    def run(*given: Any, **named: Any) -> None:
        with told():
            command(*given, **named)

    return run


artifact_app = typer.Typer(no_args_is_help=True, help="Sign, verify, encrypt, decrypt .nxf files.")
app.add_typer(artifact_app, name="artifact")
for _command in ARTIFACT_COMMANDS:
    artifact_app.command()(_telling(_command))
models_app = typer.Typer(no_args_is_help=True, help="List, compare, promote, roll back models.")
app.add_typer(models_app, name="models")
for _name, _asked in MODEL_COMMANDS.items():
    models_app.command(_name)(_telling(_asked))


def main() -> None:
    """Entry point: run a command, finish what other libraries left to do, and leave.

    DuckDB's bindings report every object that is still referenced when the interpreter is torn
    down, and torch keeps modules alive until then; so the process ends before that report.
    """
    code = 0
    try:
        app()
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else int(done.code is not None)
    atexit._run_exitfuncs()  # noqa: SLF001 - what the interpreter itself would call next
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
