"""Commands that use what was made: predict, inspect, serve, ui."""

from pathlib import Path
from typing import Annotated

import typer

from nexus_pipeline.answer import Answer
from nexus_pipeline.commands.options import HERE, ProjectOption


def predict(
    model: Annotated[Path, typer.Option(help="a .nxf file")],
    data: Annotated[Path, typer.Option(help="folder with one CSV or Parquet file per raw table")],
    output: Annotated[Path, typer.Option(help="CSV or Parquet file to write")],
    cutoff: Annotated[str | None, typer.Option(help="moment asked about, ISO 8601")] = None,
    chunk: Annotated[
        int | None, typer.Option(min=1, help="so many entities at a time, in bounded memory")
    ] = None,
    text_model: Annotated[
        Path | None, typer.Option(help="sentence model of its texts; else NEXUSFLOW_TEXT_MODEL")
    ] = None,
) -> Answer:
    """Predict from raw tables with a .nxf file alone; one row per entity, in input order.

    Broken rows are answered too: the column flags says what is wrong, <output>.flags.csv lists it.
    With --chunk, tables may be larger than memory; broken rows are then refused.

    Example: nexusflow predict --model model.nxf --data data/raw/f1 --cutoff 2026-07-01
    --output predictions.csv
    """
    from nexus_pipeline.predict_files import predict_chunks, predict_flagged

    if chunk is not None:
        rows = predict_chunks(model, data, cutoff, output, chunk, text_model)
        return Answer({"rows": rows, "file": str(output)}, (f"{rows} predictions in {output}",))
    rows, flagged, listed = predict_flagged(model, data, cutoff, output, text_model)
    facts = {"rows": rows, "file": str(output), "flagged_rows": flagged}
    told = [f"{rows} predictions in {output}"]
    if listed is not None:
        told.append(f"{flagged} rows of the tables are flagged: {listed}")
    return Answer({**facts, "flags_file": listed and str(listed)}, tuple(told))


def inspect(file: Annotated[Path, typer.Argument(help="a .nxf file")]) -> Answer:
    """Show what a .nxf file holds, without building the model.

    Example: nexusflow inspect data/optimized/f1/dnf/model.nxf
    """
    from nexus_pipeline.inspection import describe_artifact, told_artifact

    described = describe_artifact(file)
    return Answer(described, (told_artifact(described),))


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

    settings = serve_settings(host, port, max_body_mb, timeout_s)
    serve_model(model, registered, project, token_file, settings)


def ui(
    project: ProjectOption = HERE,
    dagster_port: Annotated[int, typer.Option(help="port of the Dagster page")] = 3000,
    mlflow_port: Annotated[int, typer.Option(help="port of the MLflow page")] = 5000,
) -> None:
    """Open the Dagster page (with its daemon) and the MLflow page on this machine; Ctrl-C stops.

    Example: nexusflow ui --dagster-port 3000 --mlflow-port 5000
    """
    from nexus_pipeline.pages import serve_pages

    serve_pages(project, dagster_port, mlflow_port)
