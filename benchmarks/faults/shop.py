"""The shop that meets the faults: where it is, its states, and what is known of it afterwards."""

import hashlib
import json
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from nexus_pipeline.run import SHIPPED_SETTINGS
from nexus_pipeline.scaffold import create_project, write_shop
from nexus_pipeline.steps.intact import content_hash, files_at
from nexus_pipeline.steps.records import MadeRecord, Records
from nexus_pipeline.storage import Store

REPOSITORY = Path(__file__).resolve().parents[2]
CUSTOMERS, STUCK_S = 150, 240
QUICK = """\
training: {epochs: 1, batch_size: 32, optimizer: {lr: 0.01, warmup_steps: 2}}
architecture: {global_embed_dim: 16, heads: 2}
"""
TWICE = "0-0,0,2025-12-24,12.5\n"
# Their content says how long something took, or which number a version got: what they say is
# compared instead.
TIMED = ("baselines_", "evaluated/", "served/")
LEFT = ("*.partial", "*.unfinished", ".reference-*", "*.lock")
# Without the four processes that copy what each step prints: most of what a run here would cost.
DAGSTER = (
    SHIPPED_SETTINGS
    + """\
compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
"""
)
QUIET = {
    "DAGSTER_DISABLE_TELEMETRY": "yes",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "OMP_NUM_THREADS": "1",
    "MPLBACKEND": "Agg",
}


class Ended(NamedTuple):
    """How a command ended and what it said."""

    code: int
    told: str
    is_stuck: bool = False
    cpu_s: float = 0.0

    @property
    def last(self) -> str:
        """The message a person sees last."""
        lines = [line for line in self.told.splitlines() if line.strip()]
        return lines[-1][:300] if lines else ""

    @property
    def is_clear(self) -> bool:
        """Whether it failed with a message, which nothing else follows."""
        message = f"\n{self.told}".rpartition("\nerror: ")
        return self.code > 0 and bool(message[1]) and "Traceback" not in message[2]


class Place:
    """A project folder, the home of its state, and a temporary folder, all below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder, self.home, self.temporary = root / "shop", root / "home", root / "tmp"
        self.notes = root.with_name(f"{root.name}-notes")

    @property
    def orders(self) -> Path:
        """The raw file that changes."""
        return self.folder / "data/raw/shop/orders.csv"

    @property
    def store(self) -> Path:
        """The DuckDB file."""
        return self.folder / "data/raw/shop.duckdb"

    @property
    def records(self) -> Records:
        """What is known of its assets."""
        return Records(self.folder / "data/records/shop")

    @property
    def environment(self) -> dict[str, str]:
        """What points a process to it."""
        return {
            **QUIET,
            "NEXUS_HOME": str(self.home),
            "DAGSTER_HOME": str(self.home / "dagster"),
            "NEXUS_PROJECT": str(self.folder / "nexusflow.yaml"),
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": str(REPOSITORY),
        }

    def make(self) -> None:
        """A shop nobody has run yet."""
        folder = create_project(self.root, "shop")
        write_shop(folder / "data/raw/shop", CUSTOMERS)
        with (folder / "nexusflow.yaml").open("a", encoding="utf-8") as text:
            text.write(QUICK)
        with self.orders.open("a", encoding="utf-8") as text:
            text.write(TWICE * 2)
        self.temporary.mkdir()
        (self.home / "dagster").mkdir(parents=True)
        (self.home / "dagster/dagster.yaml").write_text(DAGSTER, encoding="utf-8")

    def change(self) -> None:
        """Another value in a raw file, so that everything is to be made."""
        header, first, rest = self.orders.read_text(encoding="utf-8").split("\n", 2)
        front, _, total = first.rpartition(",")
        self.orders.write_text(f"{header}\n{front},{float(total) + 1:g}\n{rest}", encoding="utf-8")

    def save(self, to: Path) -> None:
        """Copy it as it is."""
        shutil.copytree(self.root, to, symlinks=True)

    def restore(self, state: Path) -> None:
        """Make it what it was; the folder itself stays, it may be a disk."""
        for old in self.root.iterdir():
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        shutil.copytree(state, self.root, symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(self.notes, ignore_errors=True)
        self.notes.mkdir()


class Runner:
    """Starts commands in a place, each in a process of its own, forked from one that is warm."""

    def __init__(self, extra: Mapping[str, str] | None = None) -> None:
        self.environment = {**os.environ, **QUIET, "PYTHONPATH": str(REPOSITORY), **(extra or {})}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.faults.server"],
            cwd=REPOSITORY, env=self.environment, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.ready = self._answer(300)
        assert self.ready is not None

    def start(self, place: Place, **asked: Any) -> tuple[int, Path]:
        """Begin ``words``, or ``stages``, perhaps with a ``fault``; the process and its output."""
        out = place.notes / f"{time.monotonic_ns()}.log"
        environment = {**place.environment, **asked.pop("environment", {})}
        request = {
            "do": "start", "folder": str(place.folder), "environment": environment,
            "out": str(out), "place": str(place.notes), **asked,
        }  # fmt: skip
        answer = self._ask(request, 60)
        assert answer is not None
        return answer["pid"], out

    def wait(self, pid: int, out: Path) -> Ended:
        """Until it ends; one that does not is stuck, and is ended."""
        answer = self._ask({"do": "wait", "pid": pid}, STUCK_S)
        is_stuck = answer is None
        if answer is None:
            os.killpg(pid, signal.SIGKILL)
            answer = self._answer(60)
            assert answer is not None
        told = out.read_text(errors="replace")
        return Ended(answer["code"], told, is_stuck, round(answer["cpu_s"], 1))

    def run(self, place: Place, *words: str, **asked: Any) -> Ended:
        """A command from start to end."""
        return self.wait(*self.start(place, words=words, **asked))

    def warm(self, modules: Path) -> None:
        """Import what a run in ``stages`` wrote that it needed, so that later ones have it."""
        self._ask({"do": "import", "file": str(modules)}, 300)

    def close(self) -> None:
        """End the warm process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)

    def _ask(self, request: dict[str, Any], patience_s: float) -> dict[str, Any] | None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._answer(patience_s)

    def _answer(self, patience_s: float) -> dict[str, Any] | None:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], patience_s)
        if not ready:
            return None
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found


class State(NamedTuple):
    """What a shop holds: results by asset, rows by table and layer."""

    results: dict[str, str]
    rows: dict[str, int]


def state_of(place: Place, server: Path | None = None) -> State:
    """Results and rows; what a run's clock or a version's number decides is left out."""
    results = {}
    for path in sorted(place.records.folder.glob("shop.*.json")):
        record = MadeRecord.model_validate_json(path.read_bytes())
        if record.key.count("/") == 2 and record.key.count(".") == 0:
            results[record.key.removeprefix("shop/")] = _result(place, record)
    results["champion"] = champion_artifact(server or place.home / "mlflow/mlflow.db")
    return State(results, rows_of(place))


def _result(place: Place, record: MadeRecord) -> str:
    key, at = record.key.removeprefix("shop/"), place.folder / record.stored.location
    if not record.fingerprint or not any(part in key for part in TIMED):
        return f"{record.data_version} {_content(place, record)}"
    if "baselines_" in key:
        return _hash(sorted(at.glob("*.npy")))
    if key.startswith("evaluated/"):
        found = json.loads((at.parent / "evaluation.json").read_bytes())
        return json.dumps([found["by_split"], found["artifact_sha256"]], sort_keys=True)
    if "registered_" in key:
        return str(json.loads(at.read_bytes())["artifact_sha256"])
    if "champion_" in key:
        found = json.loads(at.read_bytes())
        return "champion" if found["champion_after"] == found["version"] else "not champion"
    return _hash([at / "predictions.parquet"])


def _content(place: Place, record: MadeRecord) -> str:
    """What is there now, whatever its record says."""
    at = place.folder / record.stored.location
    if not at.exists():
        return Store(place.store).content_hash(record.stored.location)
    return str(sorted((name, content) for name, (_, _, content) in files_at(at).items()))


def _hash(paths: Sequence[Path]) -> str:
    seen = hashlib.sha256()
    for path in paths:
        seen.update(path.name.encode() + content_hash(path).encode())
    return seen.hexdigest()


def champion_artifact(database: Path) -> str:
    """The hash of the artifact that is champion, as the registry says it."""
    asked = (
        "select t.value from registered_model_aliases a join model_version_tags t "
        "on t.name = a.name and t.version = a.version "
        "where a.alias = 'champion' and t.key = 'artifact_sha256'"
    )
    with sqlite3.connect(database) as con:
        found = con.execute(asked).fetchall()
    return str(found[0][0]) if found else ""


def rows_of(place: Place) -> dict[str, int]:
    """Rows of every raw, validated and quarantined table."""
    with duckdb.connect(str(place.store), read_only=True) as con:
        tables = con.sql(
            "select table_schema, table_name from information_schema.tables "
            "where table_schema in ('raw', 'validated', 'quarantine')"
        ).fetchall()
        return {
            f"{schema}.{name}": int(
                con.sql(f'select count(*) from {schema}."{name}"').fetchall()[0][0]
            )
            for schema, name in sorted(tables)
        }


def lost_rows(rows: Mapping[str, int], before: Mapping[str, int]) -> int:
    """Raw rows that are nowhere, or are there twice, and tables that differ from before."""
    names = [table.removeprefix("raw.") for table in before if table.startswith("raw.")]
    lost = 0
    for name in names:
        raw = rows.get(f"raw.{name}", 0)
        lost += abs(raw - rows.get(f"validated.{name}", 0) - rows.get(f"quarantine.{name}", 0))
        lost += abs(before[f"raw.{name}"] - raw)
    return lost


def leftovers(place: Place, server: Path | None = None) -> list[str]:
    """Files nobody needs, and runs that nobody ends."""
    found = [
        str(path.relative_to(place.root))
        for pattern in LEFT
        for path in place.root.rglob(pattern)
        if path.relative_to(
            place.folder if path.is_relative_to(place.folder) else place.root
        ).as_posix()
        != "data/audit/shop.lock"
        and "dagster" not in path.parts
    ]
    found += [f"tmp/{path.name}" for path in place.temporary.iterdir()]
    found += [f"checkpoint {p.name}" for p in place.folder.glob("data/trained/*/*/checkpoint/*.*s")]
    with sqlite3.connect(server or place.home / "mlflow/mlflow.db") as con:
        (running,) = con.execute("select count(*) from runs where status = 'RUNNING'").fetchone()
    found += ["MLflow run RUNNING"] * running
    with sqlite3.connect(place.home / "dagster/history/runs.db") as con:
        asked = "select count(*) from runs where status in ('STARTED', 'STARTING', 'QUEUED')"
        (open_runs,) = con.execute(asked).fetchone()
    found += ["Dagster run STARTED"] * open_runs
    waiting = place.home / "mlflow/waiting"
    found += [f"waiting {path.name}" for path in waiting.rglob("*") if path.is_file()]
    return found
