"""Ctrl-C leaves a state the same command goes on from; what is made may go to another folder."""

import hashlib
import json
import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nexus_pipeline import cli
from tests.pipeline.conftest import Shop, command, in_its_home

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]
HELD = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from nexus_pipeline import cli, progress\n"
    "progress.TrainingWatch.epoch = lambda *_: (print('HELD', flush=True), time.sleep(600))\n"
    "sys.argv = ['nexusflow', 'train']\n"
    "cli.main()\n"
)


def test_ctrl_c_says_so_and_the_next_run_goes_on(copied: Shop) -> None:
    copied.say("epochs: 3", "epochs: 2")
    process = command("-c", HELD, shop=copied)
    assert any(line.startswith("HELD") for line in process.stdout), "training never began"
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from there" in told
    patch = in_its_home(copied)
    try:
        done = CliRunner().invoke(cli.app, ["train", "--project", str(copied.file), "--json"])
    finally:
        patch.undo()
    assert done.exit_code == 0, done.output
    assert "trained/churned: resumed at epoch 1" in copied.log
    assert json.loads(done.stdout)["tasks"]["churned"]["artifact"]


def contents(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_with_a_data_folder_elsewhere_the_project_folder_is_only_read(
    fresh: Shop, tmp_path: Path
) -> None:
    before, patch = contents(fresh.folder), in_its_home(fresh)
    patch.setenv("NEXUS_DATA", str(tmp_path / "elsewhere"))
    try:
        done = CliRunner().invoke(cli.app, ["validate", "--project", str(fresh.file), "--json"])
    finally:
        patch.undo()
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["tables"]["orders"]["quarantined"] in (1, 2)
    assert contents(fresh.folder) == before
    assert (tmp_path / "elsewhere/raw/shop.duckdb").is_file()
