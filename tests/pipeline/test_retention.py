"""Old versions go with their files; whoever has an alias, and the way back, stays."""

from pathlib import Path

import pytest

from nexus_pipeline.assembly import build_definitions
from nexus_pipeline.steps.champion import CHALLENGER
from nexus_pipeline.steps.registry import versions
from nexus_pipeline.steps.retention import remove_old_versions, superfluous
from tests.pipeline.conftest import in_its_home, run_shop
from tests.pipeline.test_registry import gate, promote, registered, roll_back

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]
NAME = "shop-churned"


@pytest.fixture
def client(tmp_path):
    """Six versions; 2 was champion before 3, and 4 is the challenger."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    client.create_registered_model(NAME)
    for _ in range(6):
        registered(client, NAME, gate)
    promote(client, NAME, "2")
    promote(client, NAME, "3")
    client.set_registered_model_alias(NAME, CHALLENGER, "4")
    return client


def numbers(found) -> list[str]:
    return [str(version.version) for version in found]


def test_aliases_and_the_way_back_stay_however_old(client):
    assert numbers(superfluous(client, NAME, keep=1)) == ["1", "5"]
    assert remove_old_versions(client, NAME, keep=1).removed == ("1", "5")
    assert numbers(versions(client, NAME)) == ["6", "4", "3", "2"]
    assert roll_back(client, NAME).version == "2"


def test_the_newest_stay_and_nothing_is_removed_twice(client):
    assert remove_old_versions(client, NAME, keep=5).removed == ("1",)
    again = remove_old_versions(client, NAME, keep=5)
    assert (again.removed, again.kept) == ((), ("2", "3", "4", "5", "6"))


def test_the_files_of_a_removed_version_are_gone_and_its_run_stays(fresh):
    run_shop(fresh)  # of its own: the files of a copied shop's versions are the other's
    client = fresh.tracker.client
    [first] = client.search_model_versions(f"name = '{NAME}'")
    place = Path(client.get_model_version_download_uri(NAME, "1").removeprefix("file://"))
    assert list(place.rglob("*.nxf"))
    for alias in client.get_registered_model(NAME).aliases:
        client.delete_registered_model_alias(NAME, alias)
    registered(client, NAME, gate)
    patch = in_its_home(fresh)
    try:
        fresh.file.write_text(
            fresh.file.read_text("utf-8") + "automation: {keep_versions: 1}\n", encoding="utf-8"
        )
        job = build_definitions(fresh.project).resolve_job_def("shop_retention")
        assert job.execute_in_process().success
    finally:
        patch.undo()
    assert not list(place.rglob("*.nxf"))
    assert numbers(client.search_model_versions(f"name = '{NAME}'")) == ["2"]
    assert client.get_run(first.run_id).data.metrics
