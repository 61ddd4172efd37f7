"""The server: tokens, limits, request numbers, metrics, explanations, and how it stops."""

import json
import threading
import time

import numpy as np
import pandas as pd
import polars as pl
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tiny_artifact import CUTOFF, frames, predictor

from nexus_model.schema import ConfigurationError, TaskKind
from nexus_pipeline.serving.app import create_app
from nexus_pipeline.serving.client import NexusClient, ServerRefusedError, ServerUnreachableError
from nexus_pipeline.serving.input_schema import example_request
from nexus_pipeline.serving.live_model import FileSource
from nexus_pipeline.serving.settings import ServeSettings, check_exposure, read_token
from tests.serving.bad_input import asked
from tests.serving.conftest import other_artifact, running, until

pytestmark = pytest.mark.filterwarnings("ignore")
TOKEN = "a-token-of-enough-characters"


@pytest.mark.parametrize("kind", ["arrow", "pandas", "polars"])
def test_the_client_takes_any_frame_and_gives_what_the_library_gives(served, kind):
    turn = {"arrow": lambda f: f, "pandas": lambda f: f.to_pandas(), "polars": pl.from_arrow}[kind]
    found = served.client.predict({n: turn(f) for n, f in frames().items()}, CUTOFF)
    expected = predictor().predict(frames(), CUTOFF)
    assert found["id"].to_pylist() == expected["id"].to_pylist()
    np.testing.assert_allclose(found["prediction"], expected["prediction"], atol=1e-6, rtol=0)


def test_json_and_arrow_give_the_same_answer(served):
    few = frames(customers=frames()["customers"].slice(0, 3))
    binary = served.client.predict(few, CUTOFF)
    _, text = served.post(asked())
    assert [row["key"]["id"] for row in text["predictions"]] == binary["id"].to_pylist()
    told = [row["prediction"] for row in text["predictions"]]
    np.testing.assert_allclose(told, binary["prediction"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", [TaskKind.MULTICLASS, TaskKind.QUANTILE])
def test_further_outputs_come_by_name(tmp_path, kind):
    from tiny_artifact import artifact

    artifact(kind).save(tmp_path / "m.nxf")
    with running(FileSource(tmp_path / "m.nxf")) as server:
        found = server.client.predict(frames(), CUTOFF)
    expected = predictor(kind).predict(frames(), CUTOFF)
    assert set(expected.column_names) | {"flags"} == set(found.column_names)
    for name in expected.column_names[2:]:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5, rtol=1e-6)


def test_the_example_of_the_schema_is_answered(served):
    page = json.loads(served.send("GET", "/openapi.json")[2])
    body = page["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    status, found = served.post(body["example"])
    assert status == 200, found
    assert not any("unknown_category" in f for row in found["predictions"] for f in row["flags"])
    orders = page["components"]["schemas"]["Request"]["properties"]["tables"]["properties"][
        "orders"
    ]
    assert orders["items"]["properties"]["total"] == {"type": ["number", "null"]}
    assert body["example"] == example_request(served.service.live.current.artifact)


def test_an_explanation_says_what_was_read_and_what_each_table_changes(served):
    few = frames(customers=frames()["customers"].slice(0, 2))
    found = served.client.explain(few, CUTOFF)
    for row in found:
        told = row["explanation"]
        assert sum(told["attention"]["tables"].values()) == pytest.approx(1)
        assert "not what the prediction depended on" in told["attention"]["of"]
        assert all(len(said.split()) > 3 for said in told["reasons"]["sentences"])
        for effect in told["without_table"]["tables"].values():
            assert effect["outputs"][0] + effect["change"][0] == pytest.approx(row["prediction"])
    without = found[0]["explanation"]["without_table"]["tables"]["tickets"]["outputs"][0]
    left = {name: frame for name, frame in few.items() if name != "tickets"}
    expected = predictor().predict(left, CUTOFF)["prediction"][0].as_py()
    assert without == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("given", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}])
def test_without_the_token_nothing_but_health_is_told(model_file, given):
    with running(FileSource(model_file), TOKEN) as server:
        for path in ("/model", "/metrics", "/openapi.json", "/nothing"):
            status, headers, body = server.send("GET", path, **given)
            assert (status, headers["www-authenticate"]) == (401, "Bearer")
            assert json.loads(body)["error"]["code"] == "unauthorized"
        assert server.send("GET", "/health")[0] == server.send("GET", "/ready")[0] == 200
        assert server.client.model()["task"]["name"] == "again"


def test_a_request_number_is_kept_if_it_is_harmless_and_made_if_it_is_not(served):
    _, headers, body = served.send("POST", "/predict", b"{", X_Request_ID="order-7")
    assert headers["x-request-id"] == json.loads(body)["request_id"] == "order-7"
    _, headers, _ = served.send("GET", "/health", X_Request_ID="<script>")
    assert len(headers["x-request-id"]) == 32


def test_the_model_page_holds_manifest_metrics_lineage_and_schema(served):
    found = served.client.model()
    assert "weights.safetensors" in found["manifest"]["members"]
    assert {"metrics", "lineage", "optimization", "parameters"} <= set(found)
    assert found["answers_together"] == {"yes": True, "why_not": None}
    assert set(found["input_schema"]["properties"]["tables"]["properties"]) == set(frames())


def test_nothing_is_reported_to_anybody_whatever_the_environment_says(served, monkeypatch):
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    app = create_app(served.service)
    assert not any(app._telemetry.values())
    assert not app._native_telemetry.enabled()


def test_an_unknown_address_and_a_wrong_method_have_typed_bodies(served):
    for method, path, code in (
        ("GET", "/x", "not_found"),
        ("GET", "/predict", "method_not_allowed"),
    ):
        _, _, body = served.send(method, path)
        assert json.loads(body)["error"]["code"] == code


def test_a_bug_is_a_typed_500_without_a_trace_and_the_server_goes_on(served, monkeypatch):
    from nexus_pipeline.serving import engine

    def broken(*_):
        raise KeyError("secret detail")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "answer_jobs", broken)
        status, found = served.post(asked())
    assert (status, found["error"]["code"]) == (500, "internal")
    assert "secret" not in json.dumps(found)
    assert found["request_id"]
    assert served.post(asked())[0] == 200


def families(server):
    return {family.name: family for family in text_string_to_metric_families(server.metrics())}


def total(family, suffix, **labels):
    return sum(
        sample.value
        for sample in family.samples
        if sample.name.endswith(suffix) and labels.items() <= sample.labels.items()
    )


def test_metrics_count_latency_errors_predictions_flags_and_name_the_model(served):
    before = families(served)
    served.post(asked())
    served.post(b"{")
    after = families(served)

    def more(name, suffix, **labels):
        return total(after[name], suffix, **labels) - total(before[name], suffix, **labels)

    assert more("nexusflow_request_seconds", "_count", path="/predict", status="200") == 1
    assert more("nexusflow_errors", "_total", code="malformed_json") == 1
    assert more("nexusflow_prediction", "_count") == 3
    assert more("nexusflow_prediction_flags", "_total", kind="after_cutoff") == 3
    [info] = after["nexusflow_model_info"].samples
    assert info.labels["sha256"] == served.service.live.current.sha256


def test_a_request_that_takes_too_long_is_told_so_and_others_are_answered(model_file):
    with running(FileSource(model_file), timeout_s=0.3) as server:
        held = threading.Event()
        read = server.service.live.current.predictor.read_several
        server.service.live.current.predictor.read_several = lambda q: (held.wait(20), read(q))[1]
        status, found = server.post(asked())
        assert (status, found["error"]["code"]) == (504, "too_slow")
        held.set()
        until(lambda: server.post(asked())[0] == 200)


def test_too_many_waiting_requests_are_turned_away(model_file):
    with running(FileSource(model_file), most_waiting=1) as server:
        held, entered = threading.Event(), threading.Event()
        one = server.service.live.current.predictor
        read = one.read_several
        one.read_several = lambda q: (entered.set(), held.wait(30), read(q))[2]
        found = []
        asks = [threading.Thread(target=lambda: found.append(server.post(asked())[0]))
                for _ in range(2)]  # fmt: skip
        asks[0].start()
        entered.wait(30)
        asks[1].start()
        until(server.service.engine._jobs.full)
        assert server.post(asked())[0] == 503
        held.set()
        for ask in asks:
            ask.join()
        assert found == [200, 200]


def test_requests_under_way_are_finished_when_the_server_stops(model_file):
    with running(FileSource(model_file)) as server:
        entered, one, found = threading.Event(), server.service.live.current.predictor, []
        read = one.read_several
        one.read_several = lambda q: (entered.set(), time.sleep(0.5), read(q))[2]
        ask = threading.Thread(target=lambda: found.append(server.post(asked())[0]))
        ask.start()
        entered.wait(30)
        server.server.should_exit = True
        ask.join(30)
    assert found == [200]
    with pytest.raises(ServerUnreachableError, match="tried 2 times"):
        NexusClient(f"http://127.0.0.1:{server.port}", tries=2).ready()


def test_a_new_file_takes_over_and_a_bad_one_does_not(model_file, tmp_path):
    path = tmp_path / "live.nxf"
    path.write_bytes(model_file.read_bytes())
    with running(FileSource(path)) as server:
        old = server.client.predict(frames(), CUTOFF)["prediction"].to_pylist()
        (tmp_path / "bad").write_bytes(b"PK\x03\x04 not a model")
        (tmp_path / "bad").replace(path)
        until(lambda: server.client.ready()["refused"] is not None)
        assert server.client.predict(frames(), CUTOFF)["prediction"].to_pylist() == old
        assert "nexusflow_model_refused 1.0" in server.metrics()
        other_artifact().save(path)
        until(lambda: server.client.ready()["refused"] is None)
        new = server.client.predict(frames(), CUTOFF)["prediction"].to_pylist()
        assert max(abs(a - b) for a, b in zip(old, new, strict=True)) > 1e-4
        assert "nexusflow_model_refused 0.0" in server.metrics()


def test_no_request_is_lost_while_models_are_swapped(model_file, tmp_path):
    path, found = tmp_path / "live.nxf", []
    path.write_bytes(model_file.read_bytes())
    with running(FileSource(path)) as server:
        first, ended = server.client.ready()["model"]["sha256"], threading.Event()

        def ask():
            while not ended.is_set():
                found.append(server.post(asked())[0])

        asks = [threading.Thread(target=ask) for _ in range(3)]
        for thread in asks:
            thread.start()
        other_artifact().save(path)
        until(lambda: server.client.ready()["model"]["sha256"] != first)
        ended.set()
        for thread in asks:
            thread.join()
    assert set(found) == {200}


def test_a_model_of_another_question_does_not_take_over(model_file, tmp_path):
    from tiny_artifact import artifact

    path = tmp_path / "live.nxf"
    path.write_bytes(model_file.read_bytes())
    with running(FileSource(path)) as server:
        artifact(TaskKind.REGRESSION).save(path)
        until(lambda: server.client.ready()["refused"] is not None)
        assert "kind" in server.client.ready()["refused"]["reason"]


def test_concurrent_requests_are_merged_and_each_is_told_its_own(served):
    people, found = frames()["customers"], {}
    few = [frames(customers=people.take([i])) for i in range(len(people))]
    bad = frames(customers=people.take([0, 0]))

    def ask(number):
        try:
            found[number] = served.client.predict(few[number], CUTOFF)["prediction"][0].as_py()
        except ServerRefusedError as error:
            found[number] = error.error.code

    asks = [threading.Thread(target=ask, args=(number,)) for number in range(len(few))]
    few[3] = bad
    for thread in asks:
        thread.start()
    for thread in asks:
        thread.join()
    assert found.pop(3) == "duplicate_key"
    for number, prediction in found.items():
        expected = predictor().predict(few[number], CUTOFF)["prediction"][0].as_py()
        assert prediction == pytest.approx(expected, abs=1e-6)


def test_the_client_raises_what_the_server_says(served):
    with pytest.raises(ServerRefusedError, match=r"missing_column: orders\.total") as caught:
        served.client.predict(frames(orders=frames()["orders"].drop_columns(["total"])), CUTOFF)
    assert (caught.value.status, caught.value.error.table) == (422, "orders")
    with pytest.raises(ServerRefusedError, match="wrong_type"):
        served.client.predict(frames(orders=pd.DataFrame({"id": ["x"]}).assign(
            customer_id=1, shop_id=1, total=1.0, channel="a", promised_at=None, placed_at=None)),
            CUTOFF)  # fmt: skip


def test_a_token_is_read_from_the_environment_or_a_file_and_must_be_long(tmp_path, monkeypatch):
    monkeypatch.setenv("NEXUS_SERVE_TOKEN", TOKEN)
    assert read_token(None) == TOKEN
    (tmp_path / "token").write_text(TOKEN[::-1] + "\n")
    assert read_token(tmp_path / "token") == TOKEN[::-1]
    monkeypatch.setenv("NEXUS_SERVE_TOKEN", "short")
    with pytest.raises(ConfigurationError, match="at least 16"):
        read_token(None)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_token(tmp_path / "none")


def test_no_server_listens_beyond_this_machine_without_a_token():
    with pytest.raises(ConfigurationError, match="reachable from outside"):
        check_exposure(ServeSettings(host="0.0.0.0"), None)
    check_exposure(ServeSettings(host="0.0.0.0"), TOKEN)
