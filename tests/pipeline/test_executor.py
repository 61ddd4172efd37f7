"""Steps in processes of their own make the same, and one of them writes the store at a time."""

import re
import socket
import subprocess

import dagster as dg
import pytest

from nexus_pipeline.assembly import build_definitions
from nexus_pipeline.project import load_project
from nexus_pipeline.run import OWNER, close_killed_runs, dagster_instance
from tests.pipeline.conftest import Shop, command, in_its_home, small_shop

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]


@pytest.fixture(scope="module")
def apart(tmp_path_factory) -> Shop:
    shop = small_shop(tmp_path_factory.mktemp("apart"))
    with shop.file.open("a", encoding="utf-8") as text:
        text.write("automation: {executor: multiprocess}\n")
    return shop


def test_tables_made_by_processes_of_their_own_are_the_same(apart, made):
    (apart.home / "dagster/dagster.yaml").write_text(
        "telemetry: {enabled: false}\nconcurrency: {pools: {default_limit: 1}}\n", encoding="utf-8"
    )
    keys = [f"key:shop/{key}" for key in ("raw/orders", "raw/customers", "validated/orders")]
    words = ("asset", "materialize", "-m", "nexus_pipeline.definitions", "--select")
    process = command("-m", "dagster", *words, " or ".join(keys), shop=apart)
    told, _ = process.communicate(timeout=240)
    assert process.returncode == 0, told[-3000:]
    record, other = (shop.record("validated/orders") for shop in (apart, made))
    assert record.stored.sha256 == other.stored.sha256
    pids = set(re.findall(r" - (\d+) - \S+ - STEP_START ", told))
    assert len(pids) >= len(keys), told[-3000:]


def test_only_what_writes_the_store_waits_in_its_pool_and_in_one_process_nothing_does(apart, made):
    for shop, expected in ((apart, {"raw", "validated", "aligned"}), (made, set())):
        patch = in_its_home(shop)
        try:
            found = build_definitions(load_project(shop.file))
        finally:
            patch.undo()
        waiting = {
            asset.key.path[1]
            for asset in found.assets
            if isinstance(asset, dg.AssetsDefinition) and asset.op.pool == "shop_store"
        }
        assert waiting == expected


def test_the_place_of_a_killed_process_in_the_pool_is_free_again(copied):
    copied.say("training:", "automation: {executor: multiprocess}\ntraining:")
    gone = subprocess.Popen(["true"])
    gone.wait()
    patch = in_its_home(copied)
    try:
        with dagster_instance(copied.project) as instance:
            storage = instance.event_log_storage
            storage.set_concurrency_slots("shop_store", 1)
            job = build_definitions(copied.project).resolve_job_def("shop_everything")
            run = instance.create_run_for_job(
                job,
                status=dg.DagsterRunStatus.STARTED,
                tags={OWNER: f"{socket.gethostname()}:{gone.pid}"},
            )
            assert storage.claim_concurrency_slot("shop_store", run.run_id, "raw").is_claimed
            close_killed_runs(copied.project, instance)
            assert storage.claim_concurrency_slot("shop_store", "next", "raw").is_claimed
    finally:
        patch.undo()
