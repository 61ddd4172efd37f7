"""Nothing leaves the machine: a whole run looks up no name and connects to nobody but itself."""

from pathlib import Path

import pytest

from tests.pipeline.conftest import Shop, command

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]
# Loaded by every Python that starts, also by processes a library starts: it notes what is asked of
# the network, and refuses it.
WATCH = """\
import os, sys
def refuse(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        asked = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        asked = arguments[1][0]
    else:
        return
    asked = asked.decode() if isinstance(asked, bytes) else asked
    if asked not in (None, "", "127.0.0.1", "::1", "localhost"):
        with open(os.environ["NETWORK_ASKED"], "a") as told:
            told.write(f"{event} {asked}\\n")
        raise OSError("the network is blocked")
sys.addaudithook(refuse)
"""


@pytest.fixture
def watched(tmp_path, monkeypatch) -> Path:
    """A file with everything that is asked of the network from here on."""
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch/sitecustomize.py").write_text(WATCH, encoding="utf-8")
    monkeypatch.setenv("NETWORK_ASKED", str(tmp_path / "asked"))
    for name in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "DAGSTER_DISABLE_TELEMETRY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("GX_ANALYTICS_ENABLED", raising=False)
    return tmp_path / "asked"


def run(shop: Shop, watched: Path, *words: str) -> tuple[int, str]:
    process = command("-c", *words, shop=shop, before=watched.parent / "watch")
    told, _ = process.communicate(timeout=240)
    return process.returncode, told


def test_the_watch_sees_what_is_asked_and_refuses_it(copied, watched):
    asking = "import socket; socket.create_connection(('example.org', 1))"
    code, told = run(copied, watched, asking)
    assert code != 0
    assert "the network is blocked" in told
    assert "example.org" in watched.read_text("utf-8")


def test_a_run_asks_nothing_of_the_network_though_no_variable_forbids_it(copied, watched):
    copied.say("epochs: 3", "epochs: 1")
    before = copied.artifact.read_bytes()
    code, told = run(copied, watched, "from nexus_pipeline.cli import main; main()", "train")
    assert code == 0, told[-3000:]
    assert copied.artifact.read_bytes() != before
    assert not watched.exists(), watched.read_text("utf-8")
