"""Lookups from tables kept in memory: as among all, and made anew when the store changes."""

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from tiny import stirred, tiny_model
from tiny_artifact import CUTOFF, frames, shop

from nexus_model.align.recipe import SqlText
from nexus_model.artifact.model_file import NexusFlowModelArtifact
from nexus_model.serve.predictor import load_model
from nexus_pipeline.serving.client import ServerRefusedError
from nexus_pipeline.serving.kept import KeptTables
from nexus_pipeline.serving.live_model import FileSource, loaded
from nexus_pipeline.serving.lookup import Lookup
from nexus_pipeline.storage import Store, StoreLockedError
from tests.serving.conftest import other_artifact, running

pytestmark = pytest.mark.filterwarnings("ignore")
RANKED = """
select id, shop_id, cast(10 * rank() over (order by age, id) as double) as age, city, joined_at
from validated.customers
"""


def store_with(path, tables):
    with duckdb.connect(str(path)) as con:
        con.execute("create schema if not exists validated")
        for name, rows in tables.items():
            con.register("rows_given", rows)
            numbered = "select *, row_number() over () - 1 as _row from rows_given"
            con.execute(f"create or replace table validated.{name} as {numbered}")
    return Store(path, threads=1, lock_timeout_s=0.2)


@pytest.fixture(scope="module")
def ranking(tmp_path_factory):
    """A model whose SQL ranks each customer among all, as a file."""
    tiny = shop()
    models = (SqlText(name="customers", sql=RANKED), *tiny.recipe.models)
    recipe = tiny.recipe.model_copy(update={"models": models})
    model = stirred(tiny_model(tiny))
    path = tmp_path_factory.mktemp("ranking") / "model.nxf"
    NexusFlowModelArtifact(recipe, tiny.tokenizer, model.config, model.state_dict()).save(path)
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return store_with(tmp_path_factory.mktemp("store") / "store.duckdb", frames())


@pytest.fixture(scope="module")
def server(ranking, store):
    with running(FileSource(ranking), lookup=Lookup(store)) as found:
        yield found


def test_a_looked_up_entity_is_compared_with_all_others(server, ranking):
    among_all = load_model(ranking).predict(frames(), CUTOFF)
    keys = [9, 2, 5]
    found = server.client.lookup(keys, cutoff=CUTOFF.isoformat())
    assert found["id"].to_pylist() == keys
    for key, prediction in zip(keys, found["prediction"].to_pylist(), strict=True):
        place = among_all["id"].to_pylist().index(key)
        assert prediction == pytest.approx(among_all["prediction"][place].as_py(), abs=1e-6)


@pytest.mark.parametrize(
    ("entities", "code"),
    [([1, 999], "unknown_entity"), ([4, 2, 4], "duplicate_key"), (["x"], "unknown_entity"),
     ([[1, 2]], "malformed_request")],
)  # fmt: skip
def test_keys_that_cannot_be_looked_up_are_named(server, entities, code):
    status, body = server.post({"entities": entities, "cutoff": CUTOFF.isoformat()})
    assert (status // 100, body["error"]["code"]) == (4, code)


def test_a_looked_up_entity_can_be_explained(server):
    body = {"entities": [3], "cutoff": CUTOFF.isoformat()}
    status, found = server.post(body, path="/explain")
    assert status == 200
    assert "orders" in found["predictions"][0]["explanation"]["without_table"]["tables"]


def test_nobody_and_a_missing_cutoff(server):
    assert server.post({"entities": [], "cutoff": CUTOFF.isoformat()})[1]["flags"] == [
        "no_entities"
    ]
    assert server.post({"entities": [1]})[1]["error"]["code"] == "missing_cutoff"


def test_the_page_of_the_model_says_how_lookups_are_answered(server):
    server.client.lookup([1], cutoff=CUTOFF.isoformat())
    told = server.client.model()["lookup"]
    assert told == "from tables kept in memory, among all entities"


def test_tables_are_made_anew_when_the_store_or_the_model_changes(tmp_path, model_file):
    store, path = store_with(tmp_path / "store.duckdb", frames()), tmp_path / "other.nxf"
    other_artifact().save(path)
    kept, model = KeptTables(store), loaded(model_file)
    first = kept.resident(model)
    assert kept.resident(model) is first
    older = frames()["customers"].set_column(1, "age", pa.array(np.full(11, 90.0)))
    store_with(store.path, {"customers": older})
    second = kept.resident(model)
    assert second is not first
    pair = [one.predict([4], CUTOFF)["prediction"][0].as_py() for one in (first, second)]
    assert pair[0] != pair[1]
    assert kept.resident(loaded(path)) is not second


def test_what_was_kept_answers_while_the_store_cannot_be_read(tmp_path, model_file, monkeypatch):
    kept, model = KeptTables(store_with(tmp_path / "s.duckdb", frames())), loaded(model_file)
    first = kept.resident(model)
    (tmp_path / "s.duckdb").touch()

    def locked(_):
        raise StoreLockedError("held by another process")

    monkeypatch.setattr(Store, "read", locked)
    assert kept.resident(model) is first


def test_more_rows_than_are_kept_are_read_by_key(tmp_path, model_file):
    lookup = Lookup(store_with(tmp_path / "s.duckdb", frames()), most_rows=5)
    with running(FileSource(model_file), lookup=lookup) as server:
        found = server.client.lookup([7], cutoff=CUTOFF.isoformat())
        assert server.client.model()["lookup"].startswith("by key")
    rows = lookup.frames(shop().recipe, [7])
    own = {"customers": rows["customers"].filter(pa.compute.field("id") == 7)}
    sent = load_model(model_file).predict(rows | own, CUTOFF)
    assert found["prediction"][0].as_py() == pytest.approx(sent["prediction"][0].as_py(), abs=1e-6)


def test_a_server_without_a_store_looks_nothing_up(model_file):
    refused = pytest.raises(ServerRefusedError, match="no_lookup")
    with running(FileSource(model_file)) as server, refused:
        server.client.lookup([7], cutoff=CUTOFF.isoformat())
