"""One entity through every door: the same tensors into the network, the same prediction out."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from nexus_model.apply import predict_samples
from nexus_model.serve.predictor import load_model
from nexus_pipeline import cli
from nexus_pipeline.defs.resources import default_resources
from nexus_pipeline.serving.client import ServerRefusedError
from nexus_pipeline.serving.live_model import FileSource, RegisteredSource
from nexus_pipeline.serving.lookup import Lookup
from nexus_pipeline.steps.serve_task import raw_frames
from nexus_pipeline.steps.tokenize_task import open_tensors_of
from nexus_pipeline.storage import Store, StoreLockedError
from nexus_pipeline.tracking import tracking_at
from tests.pipeline.conftest import Shop
from tests.serving.conftest import running, until

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]
CUSTOMERS = range(1, 6)


def store_of(shop: Shop):
    resource = default_resources(shop.project)["store"]
    return resource.store()


@pytest.fixture(scope="module")
def validated(made):
    """The rows the pipeline learned from, as frames."""
    return raw_frames(made.project, "churned", store_of(made))


@pytest.fixture(scope="module")
def trained(made):
    """What the trained model says of each customer, through the pipeline's own tensors."""
    tensors, tokenizer = open_tensors_of(made.project, "churned")
    predictor = load_model(made.artifact)
    every_B = np.arange(len(tensors.times.entity_B))
    task = predictor.artifact.recipe.task
    found = predict_samples(predictor.model, tensors, every_B, task, tokenizer.label)
    with store_of(made).read() as con:
        keys = con.sql("select customer_id from aligned.customers order by _row").fetchall()
    rows = tensors.times.entity_B.tolist()
    return {keys[row][0]: float(found[at]) for at, row in enumerate(rows)}


@pytest.fixture(scope="module")
def server(made):
    """The artifact behind HTTP, with lookup in the project's tables."""
    with running(FileSource(made.artifact), lookup=Lookup(store_of(made))) as found:
        yield found


def only(frames, customer):
    """The rows of one customer."""
    return {
        name: pl.from_arrow(frame).filter(pl.col("customer_id") == customer).to_arrow()
        for name, frame in frames.items()
    }


def by_key(table):
    return dict(zip(table["customer_id"].to_pylist(), table["prediction"].to_pylist(), strict=True))


def test_the_network_is_given_the_same_numbers_by_the_pipeline_and_by_the_artifact(made, validated):
    tensors, _ = open_tensors_of(made.project, "churned")
    _, read = load_model(made.artifact).read(validated)
    for name, table in tensors.tables.items():
        for field, values in table._asdict().items():
            np.testing.assert_array_equal(
                getattr(read.tables[name], field), values, f"{name}.{field}"
            )
    place = {int(row): at for at, row in enumerate(read.times.entity_B)}
    for mine, theirs in zip(read.indexes, tensors.indexes, strict=True):
        for at, row in enumerate(tensors.times.entity_B[:20]):
            own = mine.rows_N[mine.offsets_B[place[int(row)]] : mine.offsets_B[place[int(row)] + 1]]
            expected = theirs.rows_N[theirs.offsets_B[at] : theirs.offsets_B[at + 1]]
            np.testing.assert_array_equal(own, expected)


def test_every_door_gives_the_trained_models_prediction(made, validated, trained, server, tmp_path):
    import mlflow
    import pandas as pd

    folder = tmp_path / "data"
    folder.mkdir()
    for name, frame in validated.items():
        pl.from_arrow(frame).write_parquet(folder / f"{name}.parquet")
    words = [
        "--model",
        str(made.artifact),
        "--data",
        str(folder),
        "--output",
        str(tmp_path / "p.parquet"),
    ]
    assert CliRunner().invoke(cli.app, ["predict", *words]).exit_code == 0
    with tracking_at(made.tracker.uri):
        pyfunc = mlflow.pyfunc.load_model("models:/shop-churned@champion")
    asked = pd.DataFrame(
        [{"table": n, "records": json.dumps(pl.from_arrow(f).to_dicts(), default=str)}
         for n, f in validated.items()]
    )  # fmt: skip
    batch = made.folder / "data/served/shop/churned/predictions/predictions.parquet"
    doors = {
        "predictor": by_key(load_model(made.artifact).predict(validated)),
        "command": by_key(pl.read_parquet(tmp_path / "p.parquet").to_arrow()),
        "pyfunc": by_key(pl.from_pandas(pyfunc.predict(asked)).to_arrow()),
        "batch": by_key(pl.read_parquet(batch).to_arrow()),
        "api": by_key(server.client.predict(validated)),
        "lookup": by_key(server.client.lookup(sorted(trained))),
    }
    for name, found in doors.items():
        far = max(abs(found[key] - prediction) for key, prediction in trained.items())
        assert far < 1e-6, name


@pytest.mark.parametrize("customer", CUSTOMERS)
def test_one_entity_alone_is_predicted_as_among_all(validated, trained, server, customer):
    sent = server.client.predict(only(validated, customer))
    looked_up = server.client.lookup([customer])
    assert sent["prediction"][0].as_py() == pytest.approx(trained[customer], abs=1e-6)
    assert looked_up["prediction"][0].as_py() == pytest.approx(trained[customer], abs=1e-6)
    assert looked_up["flags"].to_pylist() == sent["flags"].to_pylist()


def test_looked_up_entities_come_in_the_order_they_were_asked_for(server):
    assert server.client.lookup([9, 2, 30])["customer_id"].to_pylist() == [9, 2, 30]


def test_an_entity_that_is_not_in_the_store_is_named(server):
    with pytest.raises(ServerRefusedError, match="unknown_entity") as caught:
        server.client.lookup([1, 987654])
    assert caught.value.error.example == "987654"


def test_a_locked_store_is_a_busy_server_until_its_tables_are_kept(made, monkeypatch):
    def locked(_):
        raise StoreLockedError("held by another process")

    with running(FileSource(made.artifact), lookup=Lookup(store_of(made))) as server:
        with monkeypatch.context() as patch:
            patch.setattr(Store, "read", locked)
            with pytest.raises(ServerRefusedError, match="busy") as caught:
                server.client.lookup([1])
            assert caught.value.status == 503
        assert len(server.client.lookup([1])) == 1
        monkeypatch.setattr(Store, "read", locked)
        assert len(server.client.lookup([2])) == 1


def test_tables_that_are_not_kept_are_read_by_key(made, trained):
    with running(FileSource(made.artifact), lookup=Lookup(store_of(made), 10)) as server:
        found = by_key(server.client.lookup([3, 1]))
    assert found == pytest.approx({key: trained[key] for key in (3, 1)}, abs=1e-6)


def test_a_new_champion_takes_over_and_a_broken_one_does_not(copied):
    client, name = copied.tracker.client, "shop-churned"
    source = RegisteredSource(name, copied.tracker.uri)
    with running(source) as server:
        assert server.client.ready()["model"]["version"] == "1"
        first = client.get_model_version(name, "1")
        broken = client.create_model_version(name, str(copied.folder), run_id=first.run_id)
        client.set_registered_model_alias(name, "champion", broken.version)
        until(lambda: server.client.ready()["refused"] is not None)
        assert server.client.ready()["model"]["version"] == "1"
        with tracking_at(copied.tracker.uri):
            again = client.create_model_version(name, first.source, run_id=first.run_id)
        client.set_registered_model_alias(name, "champion", again.version)
        until(lambda: server.client.ready()["model"]["version"] == str(again.version))
        assert server.client.ready()["refused"] is None


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_mlflow_serves_the_champion_from_the_registry_alone(made, validated, trained, tmp_path):
    port, wanted = free_port(), f"models:/{made.project.project_name}-churned@champion"
    words = f"models serve -m {wanted} --env-manager local -h 127.0.0.1 -p {port}"
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": made.tracker.uri,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *words.split()],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    rows = {name: frame.to_pylist() for name, frame in only(validated, 2).items()}
    told = [[name, json.dumps(found, default=str)] for name, found in rows.items()]
    body = {"dataframe_split": {"columns": ["table", "records"], "data": told}}
    try:
        until(lambda: server.poll() is not None or answers(port), 120)
        [found] = asked(port, body)["predictions"]
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=60)
    assert found["prediction"] == pytest.approx(trained[2], abs=1e-6)


def answers(port):
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/ping"):
        return True
    return False


def asked(port, body):
    wanted = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(wanted, timeout=60) as found:
        return json.load(found)
