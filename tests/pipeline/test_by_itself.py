"""A new file, a real daemon, and nobody at the keyboard: a run of everything, told to a webhook."""

import os
import signal
import time

import dagster as dg
import pytest

from nexus_pipeline.pages import workspace_file
from nexus_pipeline.run import dagster_instance
from tests.pipeline.conftest import Shop, command, in_its_home

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]
LONG_AGO = 1_700_000_000
PATIENCE_S = 240
SENSORS = ("shop_new_files", "shop_tell_success")


def workspace_of(shop: Shop) -> str:
    """What the daemon is told to load; the instance it runs on is made with it."""
    patch = in_its_home(shop)
    try:
        dagster_instance(shop.project).dispose()
        return str(workspace_file(shop.project))
    finally:
        patch.undo()


def test_a_new_file_is_learned_from_while_nobody_is_there(copied, listener):
    heard, _ = listener
    copied.file.write_text(
        copied.file.read_text("utf-8") + "automation: {look_every_s: 5, settled_s: 1}\n",
        encoding="utf-8",
    )
    workspace = workspace_of(copied)
    for name in SENSORS:
        words = ("-m", "dagster", "sensor", "start", name, "-w", workspace)
        told, _ = (starting := command(*words, shop=copied)).communicate(timeout=60)
        assert starting.returncode == 0, told
    before = copied.record("served/registered_churned").stored.facts["version"]
    path = copied.raw / "orders.csv"
    path.write_text(path.read_text("utf-8") + "new-1,1,2025-12-20,9.5\n", encoding="utf-8")
    os.utime(path, (LONG_AGO, LONG_AGO))
    daemon = command(
        "-m", "dagster._daemon", "run", "-w", workspace, shop=copied, start_new_session=True
    )
    try:
        wait_until(lambda: heard, daemon)
    finally:
        os.killpg(daemon.pid, signal.SIGTERM)
        told, _ = daemon.communicate(timeout=60)
    assert [one["status"] for one in heard] == ["succeeded"], told[-3000:]
    assert heard[0]["why"] == "another content of orders"
    assert copied.record("served/registered_churned").stored.facts["version"] != before
    patch = in_its_home(copied)
    try:
        with dagster_instance(copied.project) as instance:
            runs = instance.get_runs(dg.RunsFilter(job_name="shop_everything"))
    finally:
        patch.undo()
    assert sum(run.tags.get("dagster/sensor_name") == "shop_new_files" for run in runs) == 1


def wait_until(condition, daemon) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert daemon.poll() is None, daemon.stdout.read()[-3000:]
        assert time.monotonic() < give_up_at, "nothing was told"
        time.sleep(0.5)
