"""A shop with few customers, run once through every stage; the facts of a whole run stand on it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from nexus_pipeline import cli
from nexus_pipeline.automation.told import WEBHOOK
from nexus_pipeline.project import ProjectConfig, load_project
from nexus_pipeline.run import dagster_instance, materialize
from nexus_pipeline.scaffold import create_project, write_shop
from nexus_pipeline.steps.records import MadeRecord, Records
from nexus_pipeline.tracking.tracker import Tracker

REPOSITORY = Path(__file__).resolve().parents[2]
CUSTOMERS = 150
QUICK = """\
training: {epochs: 3, batch_size: 32, optimizer: {lr: 0.01, warmup_steps: 2}}
architecture: {global_embed_dim: 16, heads: 2}
"""
TWICE = "0-0,0,2025-12-24,12.5"


class Shop(NamedTuple):
    """A project folder and the home of its Dagster and MLflow state."""

    folder: Path
    home: Path

    @property
    def file(self) -> Path:
        return self.folder / "nexusflow.yaml"

    @property
    def project(self) -> ProjectConfig:
        return load_project(self.file)

    @property
    def artifact(self) -> Path:
        return self.folder / "data/optimized/shop/churned/model.nxf"

    @property
    def raw(self) -> Path:
        return self.folder / "data/raw/shop"

    @property
    def log(self) -> str:
        return (self.home / "logs/shop.log").read_text(encoding="utf-8")

    @property
    def tracker(self) -> Tracker:
        return Tracker(self.home / "mlflow/mlflow.db", "shop")

    @property
    def environment(self) -> dict[str, str]:
        return {
            "NEXUS_HOME": str(self.home),
            "DAGSTER_HOME": str(self.home / "dagster"),
            "NEXUS_PROJECT": str(self.file),
        }

    def record(self, key: str) -> MadeRecord:
        found = Records(self.folder / "data/records/shop").read(f"shop/{key}")
        assert found is not None, key
        return found

    def records(self) -> dict[str, MadeRecord]:
        """Everything that was made, by key without the project's name."""
        folder = Records(self.folder / "data/records/shop")
        names = (path.stem for path in folder.folder.glob("shop.*.json"))
        keys = (name.split(".") for name in names)
        return {"/".join(key[1:]): self.record("/".join(key[1:])) for key in keys if len(key) == 3}

    def change(self, table: str, old: str, new: str) -> None:
        """Replace the first ``old`` in a raw file."""
        path = self.raw / f"{table}.csv"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def say(self, old: str, new: str) -> None:
        """Replace a part of the project file."""
        text = self.file.read_text(encoding="utf-8")
        assert old in text
        self.file.write_text(text.replace(old, new, 1), encoding="utf-8")


@cache
def _template() -> "tempfile.TemporaryDirectory[str]":
    """Where ``migrated_home`` is; removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="migrated")


@cache
def migrated_home() -> Path:
    """State of Dagster and MLflow in which nothing happened; migrations take seconds, a copy none.

    Whether both are made where there is nothing is shown by the pages' commands, each of which
    begins in an empty folder.
    """
    home = Path(_template().name)
    shop = Shop(create_project(home, "shop"), home / "home")
    patch = in_its_home(shop)
    try:
        with dagster_instance(shop.project) as instance:
            assert not instance.get_runs()
        assert shop.tracker.client.get_experiment_by_name("shop") is None
    finally:
        patch.undo()
    return shop.home


def small_shop(parent: Path) -> Shop:
    """A shop nobody has run yet; one order comes twice, and one ticket names nobody."""
    folder = create_project(parent, "shop")
    shop = Shop(folder, parent / "home")
    shutil.copytree(migrated_home(), shop.home)
    write_shop(shop.raw, CUSTOMERS)
    with shop.file.open("a", encoding="utf-8") as text:
        text.write(QUICK)
    with (shop.raw / "orders.csv").open("a", encoding="utf-8") as text:
        text.write(f"{TWICE}\n{TWICE}\n")
    return shop


def in_its_home(shop: Shop) -> pytest.MonkeyPatch:
    """Point this process to the shop's own state; undo gives the former one back."""
    patch = pytest.MonkeyPatch()
    for name, value in shop.environment.items():
        patch.setenv(name, value)
    return patch


def run_shop(shop: Shop, **options: object) -> None:
    """Materialize in this process."""
    patch = in_its_home(shop)
    try:
        materialize(shop.file, **options)
    finally:
        patch.undo()


def told(shop: Shop, *words: str) -> tuple[int, str]:
    """The command in this process, about this shop: exit code and output."""
    patch = in_its_home(shop)
    try:
        found = CliRunner().invoke(cli.app, [*words, "--project", str(shop.file)])
    finally:
        patch.undo()
    return found.exit_code, found.output


def command(
    *words: str, shop: Shop, before: Path | None = None, **options: object
) -> subprocess.Popen[str]:
    """A process of this Python beside the tests, with its output in one pipe.

    Modules in the folder ``before`` are found first.
    """
    path = os.pathsep.join(str(place) for place in (before, REPOSITORY) if place)
    environment = {**os.environ, **shop.environment, "PYTHONPATH": path}
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=shop.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop that was run once; tests that change it take ``copied``."""
    shop = small_shop(tmp_path_factory.mktemp("made"))
    run_shop(shop)
    return shop


@pytest.fixture
def copied(made: Shop, tmp_path: Path) -> Shop:
    """The run shop at another place, to be changed."""
    shutil.copytree(made.folder, tmp_path / "shop")
    shutil.copytree(made.home, tmp_path / "home")
    return Shop(tmp_path / "shop", tmp_path / "home")


@pytest.fixture
def fresh(tmp_path: Path) -> Shop:
    """A shop nobody has run yet."""
    return small_shop(tmp_path)


@pytest.fixture(scope="session")
def empty_database() -> Path:
    """A migrated SQLite store of MLflow."""
    return migrated_home() / "mlflow/mlflow.db"


@pytest.fixture
def tracker(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    """A tracker of nothing yet, which waits for nobody long."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_database, tmp_path / "runs.db")
    return Tracker(tmp_path / "runs.db", "f1")


@pytest.fixture
def listener(monkeypatch):
    """A server on this machine that takes what is posted and answers as told."""
    taken, answer = [], [200]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(answer[-1])
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv(WEBHOOK, f"http://127.0.0.1:{server.server_port}/secret")
    yield taken, answer
    server.shutdown()
    server.server_close()
