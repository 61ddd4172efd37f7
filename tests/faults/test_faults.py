"""Faults survived: a real process meets one of each kind; the next run is right.

Every fault at every stage: ``python -m benchmarks.faults``.
"""

import os
import signal
import subprocess
import sys

import pytest

from benchmarks.faults.clock import build_clock
from benchmarks.faults.inject import MALFORMED

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]
KILLED = -signal.SIGKILL


def test_a_kill_in_the_middle_of_a_transaction_leaves_the_former_table(scene):
    assert scene.meets("killed_within", "validated/orders").code == KILLED
    scene.check(scene.run())


def test_what_was_written_but_not_recorded_is_never_taken_for_what_was_there_before(unchanged):
    before = unchanged.place.orders.read_bytes()
    unchanged.place.change()
    assert unchanged.meets("killed_after", "raw/orders").code == KILLED
    unchanged.place.orders.write_bytes(before)
    unchanged.check(unchanged.run())


def test_a_kill_between_registration_and_record_registers_again(unchanged):
    unchanged.forget("served/registered_churned")
    key = "served/registered_churned"
    assert unchanged.meets("killed_after", key, "served").code == KILLED
    unchanged.check(unchanged.run("served"))


def test_a_full_disk_is_told_and_the_run_goes_on_once_there_is_room(scene):
    first = scene.meets("full_disk", "validated/orders", by="file size limit")
    assert first.is_clear, first.told
    assert "the disk is full" in first.told
    scene.check(scene.run())


def test_a_damaged_checkpoint_is_not_learned_from(unchanged):
    unchanged.forget("trained/churned")
    assert unchanged.meets("killed_in_epoch", "trained/churned", "trained").code == KILLED
    folder = unchanged.place.folder / "data/trained/shop/churned/checkpoint"
    (checkpoint,) = folder.glob("*.safetensors")
    with checkpoint.open("r+b") as content:
        content.seek(checkpoint.stat().st_size // 2)
        content.write(b"\xa5" * 64)
    unchanged.check(unchanged.run("trained"))
    log = (unchanged.place.home / "logs/shop.log").read_text(encoding="utf-8")
    assert "started anew: the checkpoint is damaged" in log


def test_a_record_that_was_cut_off_is_made_again(unchanged):
    path = unchanged.place.records.folder / "shop.validated.orders.json"
    os.truncate(path, path.stat().st_size // 2)
    ended = unchanged.run()
    assert "6 assets: 1 made" in ended.told
    unchanged.check(ended)


def test_a_stored_file_that_was_written_over_is_made_again(unchanged):
    file = unchanged.place.folder / "data/tokenized/shop/churned/label_B.npy"
    with file.open("r+b") as content:
        content.seek(-8, os.SEEK_END)
        content.write(b"\xa5" * 8)
    unchanged.check(unchanged.run("tokenized"))


def test_a_store_that_another_process_keeps_is_told_with_who_keeps_it(scene):
    first = scene.meets("locked", "validated/orders", held_s=60, wait_s=0.2)
    holder = int((scene.place.notes / "holder").read_text())
    os.kill(holder, signal.SIGKILL)
    assert first.is_clear, first.told
    assert f"PID {holder}" in first.told
    scene.check(scene.run())


def test_a_store_that_another_process_keeps_for_a_moment_is_waited_for(scene):
    scene.check(scene.meets("locked", "validated/orders", held_s=0.5, wait_s=30))


def test_a_tracking_server_that_is_down_stops_nothing(scene):
    environment = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    ended = scene.run(environment=environment)
    assert ended.code == 0, ended.told
    waiting = list((scene.place.home / "mlflow/waiting").rglob("*.jsonl"))
    assert len(waiting) >= 2, "nothing was kept"


def test_a_file_that_cannot_be_read_is_told_and_the_former_table_stays(scene):
    good = scene.place.orders.read_bytes()
    first = scene.meets("malformed", "raw/orders", file=str(scene.place.orders))
    assert (first.code, first.is_clear) == (3, True), first.told
    assert scene.place.orders.read_bytes() == MALFORMED
    scene.place.orders.write_bytes(good)
    scene.check(scene.run())


def test_a_clock_that_jumps_changes_no_result(scene):
    shim = build_clock(scene.place.notes)
    if shim is None:
        pytest.skip("the clock is put by a library that a C compiler makes")
    code = (
        "import sys, time; from pathlib import Path; from benchmarks.faults.inject import arrange; "
        "from nexus_pipeline import cli; place = Path(sys.argv[1]); "
        "arrange({'kind': 'clock', 'key': 'validated/orders', 'now': time.time()}, place); "
        "sys.argv = ['nexusflow', 'validate']; cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(scene.place.notes)],
        cwd=scene.place.folder, env={**os.environ, **scene.place.environment, **shim},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    scene.check(scene.run())


def test_two_runs_at_once_make_everything_once(scene):
    fault = {"kind": "together", "key": "raw/orders"}
    started = [scene.runner.start(scene.place, words=["validate"], fault=fault) for _ in range(2)]
    ended = [scene.runner.wait(*each) for each in started]
    assert [each.code for each in ended] == [0, 0], ended
    made = [each.told.partition(" assets: ")[2].split(" ")[0] for each in ended]
    assert sum(int(count) for count in made) == 2, made
    scene.check(scene.run())


def test_memory_that_is_not_enough_is_told(scene):
    first = scene.meets("little_memory", "raw/orders", by="store")
    assert first.is_clear, first.told
    assert "the memory is not enough" in first.told
    scene.check(scene.run())


def test_the_store_takes_the_memory_the_environment_allows(scene, monkeypatch):
    from nexus_pipeline.defs.resources import default_resources
    from nexus_pipeline.project import load_project

    monkeypatch.setenv("NEXUS_STORE_MEMORY", "64MB")
    project = load_project(scene.place.folder / "nexusflow.yaml")
    with default_resources(project)["store"].store().read() as con:
        ((limit,),) = con.sql("select current_setting('memory_limit')").fetchall()
    assert limit == "61.0 MiB"
