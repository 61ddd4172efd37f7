"""Steps in processes of their own make the same, and one of them writes the store at a time."""

import re

import dagster as dg
import pytest

from nexus_pipeline.assembly import build_definitions
from nexus_pipeline.project import load_project
from tests.pipeline.conftest import Shop, command, in_its_home, small_shop

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]
STAGES = "raw", "validated"


@pytest.fixture(scope="module")
def apart(tmp_path_factory) -> Shop:
    shop = small_shop(tmp_path_factory.mktemp("apart"))
    with shop.file.open("a", encoding="utf-8") as text:
        text.write("automation: {executor: multiprocess}\n")
    return shop


def test_tables_made_by_processes_of_their_own_are_the_same(apart, made):
    (apart.home / "dagster").mkdir(parents=True)
    (apart.home / "dagster/dagster.yaml").write_text(
        "telemetry: {enabled: false}\nconcurrency: {pools: {default_limit: 1}}\n", encoding="utf-8"
    )
    keys = [f"key:shop/{stage}/{table}" for stage in STAGES for table in ("orders", "tickets")]
    keys += [f"key:shop/raw/{table}" for table in ("customers",)]
    words = ("asset", "materialize", "-m", "nexus_pipeline.definitions", "--select")
    process = command("-m", "dagster", *words, " or ".join(keys), shop=apart)
    told, _ = process.communicate(timeout=240)
    assert process.returncode == 0, told[-3000:]
    for table in ("orders", "tickets"):
        record, other = (shop.record(f"validated/{table}") for shop in (apart, made))
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
