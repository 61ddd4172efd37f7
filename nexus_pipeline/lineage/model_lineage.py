"""Lineage of a model: raw files, every asset on the way, code, configuration, commit, packages.

It is read from ``data/records`` and written as ``lineage.json`` beside the artifact and, with the
version, into the MLflow run that registered it. No server is asked.
"""

import datetime as dt
import hashlib
import json
import platform
import subprocess
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nexus_model.schema import ConfigurationError, Record
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.records import MadeRecord, Records

LINEAGE = "lineage.json"
PACKAGES = (
    "nexusflow", "torch", "duckdb", "dagster", "mlflow", "polars", "pyarrow", "numpy", "lightgbm",
)  # fmt: skip


class RawFile(Record):
    """A file that was read: as the project file says it, with its hash and its rows."""

    table: str
    file: str
    sha256: str
    rows: int


class Asset(Record):
    """One asset on the way, as its record says it."""

    key: str
    fingerprint: str
    code_version: str
    config_sha256: str
    config: dict[str, Any]
    data_version: str
    rows: int
    location: str
    upstream: dict[str, str]
    run_id: str
    tracking_run_id: str
    commit: str
    made_at: str


class Figure(Record):
    """A metric with its interval."""

    estimate: float
    low: float
    high: float


class ModelLineage(Record):
    """Where one artifact comes from; ``version`` is empty while it is not registered."""

    project: str
    task: str
    name: str
    version: str
    parent_version: str
    artifact_sha256: str
    commit: str
    written: dt.datetime
    packages: dict[str, str]
    raw: tuple[RawFile, ...]
    assets: tuple[Asset, ...]
    metrics: dict[str, dict[str, Figure]]

    def __getitem__(self, key: str) -> Asset:
        return next(asset for asset in self.assets if asset.key == key)


def model_lineage(project: ProjectConfig, task: str, records: Records) -> ModelLineage:
    """The lineage of the task's artifact, as the records are now; it names no version yet.

    Raises:
        ConfigurationError: an asset on the way has no record, or something was made anew below it.
    """
    own = project.project_name
    tops = (f"{own}/optimized/{task}", f"{own}/evaluated/{task}")
    found = walk(records, tops)
    artifact = found[tops[0]]
    return ModelLineage(
        project=own,
        task=task,
        name="",
        version="",
        parent_version="",
        artifact_sha256=artifact.stored.sha256,
        commit=commit_of(project.root),
        written=dt.datetime.now(dt.UTC).replace(microsecond=0),
        packages=package_versions(),
        raw=raw_files(project, found.values()),
        assets=tuple(asset_of(record) for record in found.values()),
        metrics=_figures(project, task),
    )


def walk(records: Records, tops: Iterable[str]) -> dict[str, MadeRecord]:
    """Records of these assets and of all they are made from, sources first.

    Raises:
        ConfigurationError: one has no record, or is no longer what the other was made from.
    """
    found: dict[str, MadeRecord] = {}

    def visit(key: str, wanted: str | None, reader: str) -> None:
        record = found.get(key) or records.read(key)
        if record is None:
            raise ConfigurationError(f"{key} has no record; `nexusflow train` makes it")
        if not record.code_version:
            told = "was made before lineage was kept; `nexusflow train` completes its record"
            raise ConfigurationError(f"{key} {told}")
        if wanted is not None and record.data_version != wanted:
            raise ConfigurationError(f"{key} was made anew after {reader}; `nexusflow train`")
        if key not in found:
            for upstream, data_version in record.upstream.items():
                visit(upstream, data_version, key)
            found[key] = record

    for top in tops:
        visit(top, None, "")
    return found


def asset_of(record: MadeRecord) -> Asset:
    """A record as lineage tells it."""
    return Asset(
        key=record.key,
        fingerprint=record.fingerprint,
        code_version=record.code_version,
        config_sha256=config_hash(record.config),
        config=record.config,
        data_version=record.data_version,
        rows=record.stored.rows,
        location=record.stored.location,
        upstream=record.upstream,
        run_id=record.run_id,
        tracking_run_id=record.tracking_run_id,
        commit=record.commit,
        made_at=record.made_at,
    )


def raw_files(project: ProjectConfig, records: Iterable[MadeRecord]) -> tuple[RawFile, ...]:
    """The files behind the raw tables among these records."""
    prefix, found = f"{project.project_name}/raw/", []
    for record in records:
        if record.key.startswith(prefix):
            table = record.key.removeprefix(prefix)
            found.append(
                RawFile(
                    table=table,
                    file=_said_path(project, table),
                    sha256=str(record.stored.facts["file_sha256"]),
                    rows=record.stored.rows,
                )
            )
    return tuple(found)


def _said_path(project: ProjectConfig, table: str) -> str:
    """Where the project file says a table is: below its folder, or in a package."""
    from nexus_pipeline.steps.read_raw import raw_file
    from nexus_pipeline.steps.stored import relative

    said = project.raw_folder or ""
    if said.startswith("package:") and not project[table].path:
        return f"{said}/{raw_file(project, table).name}"
    return relative(raw_file(project, table), project.root)


def config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of a configuration."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()


def commit_of(root: Path) -> str:
    """The commit the project's files are at, with ``+changes`` if they differ from it.

    ``unknown`` outside a repository.
    """
    told = _git(root, "rev-parse", "HEAD")
    if told is None:
        return "unknown"
    changes = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return f"{told}+changes" if changes else told


def _git(root: Path, *words: str) -> str | None:
    try:
        found = subprocess.run(  # noqa: S603 - our own words
            ["git", *words],  # noqa: S607 - whichever git the user has
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def package_versions() -> dict[str, str]:
    """What the model was made with."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _figures(project: ProjectConfig, task: str) -> dict[str, dict[str, Figure]]:
    """The model's own metrics with their intervals, as its report has them."""
    from nexus_pipeline.steps.evaluation import MODEL, evaluation_folder

    report = json.loads((evaluation_folder(project, task) / "metrics.json").read_bytes())
    model = next(model for model in report["models"] if model["name"] == MODEL)
    return {
        split: {
            one["metric"]: Figure(estimate=one["estimate"], low=one["low"], high=one["high"])
            for one in model[split]
        }
        for split in ("validation", "test")
    }


def keep_lineage(project: ProjectConfig, task: str, lineage: ModelLineage) -> Path:
    """Write lineage with the version that was registered last, beside its artifact."""
    from nexus_pipeline.steps.optimize_task import artifact_folder
    from nexus_pipeline.steps.register_task import read_registration

    made = read_registration(project, task)
    found = lineage.model_copy(
        update={
            "name": made.name, "version": made.version, "parent_version": made.parent_version,
        }
    )  # fmt: skip
    path = artifact_folder(project, task) / LINEAGE
    partial = path.with_suffix(".partial")
    partial.write_text(found.model_dump_json(indent=1), encoding="utf-8")
    partial.replace(path)
    return path
