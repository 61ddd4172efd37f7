"""The two pages: on this machine only, one location name, started together and stopped together."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from nexus_pipeline import pages
from tests.browser_pages import answers, free_port
from tests.pipeline.conftest import REPOSITORY, Shop, command, in_its_home, small_shop

pytestmark = pytest.mark.filterwarnings("ignore")
PATIENCE_S = 120.0


@pytest.fixture
def unrun(tmp_path: Path):
    shop = small_shop(tmp_path)
    patch = in_its_home(shop)
    yield shop
    patch.undo()


def test_both_pages_listen_on_this_machine_only(unrun: Shop) -> None:
    webserver, daemon, tracking = pages.commands(unrun.project, 3001, 5001)
    assert webserver[1:5] == ["-h", "127.0.0.1", "-p", "3001"]
    assert daemon[1] == "run"
    assert tracking[tracking.index("--host") + 1] == "127.0.0.1"
    assert tracking[tracking.index("--port") + 1] == "5001"
    assert tracking[tracking.index("--backend-store-uri") + 1] == unrun.tracker.uri


def test_the_location_has_one_name_with_and_without_a_workspace_file(unrun: Shop) -> None:
    own = unrun.folder / "workspace.yaml"
    assert pages.workspace_file(unrun.project) == own
    shipped = yaml.safe_load((REPOSITORY / "workspace.yaml").read_text())
    assert yaml.safe_load(own.read_text()) == shipped
    own.unlink()
    made = pages.workspace_file(unrun.project)
    assert made == unrun.home / "workspace.yaml"
    assert yaml.safe_load(made.read_text()) == shipped


def test_when_one_page_ends_the_others_are_stopped(
    unrun: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short, long = ("pass", "import time; time.sleep(600)")
    started = []
    popen = subprocess.Popen

    def noted(*words: object, **options: object) -> subprocess.Popen[bytes]:
        started.append(popen(*words, **options))
        return started[-1]

    monkeypatch.setattr(
        pages, "commands", lambda *_: [[sys.executable, "-c", code] for code in (short, long)]
    )
    monkeypatch.setattr(pages.subprocess, "Popen", noted)
    before = signal.getsignal(signal.SIGTERM)
    try:
        pages.serve_pages(unrun.file, 3001, 5001)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "http://127.0.0.1:3001" in capsys.readouterr().out
    assert [process.poll() is None for process in started] == [False, False]


def members(group: set[int]) -> list[int]:
    """Processes that are still in one of these groups."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) in group and fields[0] != "Z":
            found.append(int(place.name))
    return found


def children(pid: int) -> set[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return {int(child) for child in listed.read_text().split()}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_the_command_shows_both_pages_and_leaves_nothing_behind(made: Shop) -> None:
    ports = (free_port(), free_port())
    words = ["--dagster-port", str(ports[0]), "--mlflow-port", str(ports[1])]
    entry = "from nexus_pipeline.cli import main; main()"
    process = command("-c", entry, "ui", *words, shop=made, start_new_session=True)
    groups: set[int] = set()
    try:
        said = [process.stdout.readline() for _ in range(2)]
        give_up_at = time.monotonic() + PATIENCE_S
        while not all(answers(f"http://127.0.0.1:{port}/") for port in ports):
            assert time.monotonic() < give_up_at, said
            assert process.poll() is None, said
            time.sleep(0.5)
        groups = children(process.pid)
        assert len(groups) == 3
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        assert process.returncode == 0
        assert members(groups) == []
        assert str(ports[0]) in "".join(said)
    finally:
        for group in groups | {process.pid}:
            try:
                os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.stdout.close()
