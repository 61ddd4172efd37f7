"""The two web pages on this machine: Dagster with its daemon, and MLflow; stopped together."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from nexus_pipeline.defs.making import open_tracker
from nexus_pipeline.defs.resources import default_resources, home
from nexus_pipeline.project import ProjectConfig, load_project
from nexus_pipeline.run import dagster_instance
from nexus_pipeline.scaffold import WORKSPACE_FILE

LOOPBACK = "127.0.0.1"
PATIENCE_S = 4.0


def commands(project: ProjectConfig, dagster_port: int, mlflow_port: int) -> list[list[str]]:
    """The processes to start, listening on loopback only."""
    dagster_instance(project).dispose()
    resource = default_resources(project)["tracker"]
    tracker = open_tracker(resource.path, resource.experiment)  # type: ignore[attr-defined]
    place = ["-h", LOOPBACK, "-p", str(dagster_port)]
    module = ["-w", str(workspace_file(project))]
    scripts = Path(sys.executable).parent
    return [
        [str(scripts / "dagster-webserver"), *place, *module],
        [str(scripts / "dagster-daemon"), "run", *module],
        [
            str(scripts / "mlflow"), "ui", "--backend-store-uri", tracker.uri,
            "--host", LOOPBACK, "--port", str(mlflow_port), "--workers", "1",
        ],
    ]  # fmt: skip


def workspace_file(project: ProjectConfig) -> Path:
    """The project's workspace file, or one like it, so that the location has the same name."""
    own = project.root / "workspace.yaml"
    if own.is_file():
        return own
    made = home(project) / "workspace.yaml"
    made.parent.mkdir(parents=True, exist_ok=True)
    made.write_text(WORKSPACE_FILE, encoding="utf-8")
    return made


def serve_pages(file: Path, dagster_port: int, mlflow_port: int) -> None:
    """Start both pages, print their addresses, and wait for Ctrl-C or SIGTERM."""
    project = load_project(file)
    os.environ["NEXUS_PROJECT"] = str(file.resolve())
    quiet = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    started = [
        subprocess.Popen(command, env={**os.environ, **quiet}, start_new_session=True)  # noqa: S603 - our own commands
        for command in commands(project, dagster_port, mlflow_port)
    ]
    sys.stdout.write(
        f"Dagster http://{LOOPBACK}:{dagster_port}\n"
        f"MLflow  http://{LOOPBACK}:{mlflow_port}\n"
        "Ctrl-C stops both.\n"
    )
    sys.stdout.flush()
    try:
        started[0].wait()
    except KeyboardInterrupt:
        sys.stdout.write("stopping\n")
    finally:
        stop(started)


def stop(started: list[subprocess.Popen[bytes]]) -> None:
    """Ask every process group to end, and after a while make it."""
    for step in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        for process in started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, step)
        if step is not signal.SIGKILL:
            with suppress(subprocess.TimeoutExpired):
                for process in started:
                    process.wait(timeout=PATIENCE_S)
