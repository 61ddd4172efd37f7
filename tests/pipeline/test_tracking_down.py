"""A tracking server that is down: the work goes on, everything waits, and is sent once."""

import shutil
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dagster as dg
import pytest
from mlflow.exceptions import MlflowException

from nexus_pipeline.defs.making import Made, Making, build_asset
from nexus_pipeline.defs.resources import default_resources
from nexus_pipeline.steps.stored import Stored
from nexus_pipeline.tracking import Tracker, delivery
from nexus_pipeline.tracking.events import params_event
from nexus_pipeline.tracking.replay import sync
from nexus_pipeline.tracking.server import ServerDownError, answering_server
from nexus_pipeline.tracking.system_metrics import SystemMetrics, is_wanted
from nexus_pipeline.tracking.tracker import ASSET, DAGSTER_RUN, FINGERPRINT
from nexus_pipeline.tracking.waiting import KeptRun, read_kept, waiting_files

# MLflow 3.17 asks SQLAlchemy 2.1 for a loader strategy that it deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
TAGS = {DAGSTER_RUN: "dagster-1", ASSET: "f1/trained/dnf", FINGERPRINT: "f" * 8}
GONE = "http://127.0.0.1:9"


class Down:
    """Lets so many requests of the tracker through, and is down from then on, until it is up."""

    def __init__(self, patch: pytest.MonkeyPatch, *, after: int = 0) -> None:
        self.left, self.asked, self.up = after, 0, False
        patch.setattr(delivery, "answering_server", self.answering)

    def answering(self, uri, then):
        self.asked += 1
        if not self.up and self.left <= 0:
            raise ServerDownError(uri, "connection refused")
        self.left -= 1
        return answering_server(uri, then)


def a_training(tracker: Tracker, folder: Path, run: str = "dagster-1", **options) -> None:
    """One materialization as ``make_or_reuse`` tells of it."""
    (folder / "report.html").write_text(f"<p>{run}</p>")
    (folder / "plots").mkdir(exist_ok=True)
    (folder / "plots/a.svg").write_text("<svg/>")
    parent = tracker.parent_run(run, {"project": "f1"})
    with tracker.run("trained", parent, {**TAGS, DAGSTER_RUN: run}, **options) as log:
        for epoch in range(5):
            log.log_metrics({"loss": 1 / (epoch + 1), "score": epoch / 5}, step=epoch)
        log.log_artifact(folder / "report.html")
        log.log_artifact(folder / "plots", "pictures")
        log.log_params({"epochs": 5, "optimizer": {"lr": 0.1}})
        log.log_metrics({"rows": 7.0, "none": float("nan")})
        log.set_tags({"said": "é"})
        log.log_dataset("f1/trained/dnf", "d" * 64, "data/trained")
    tracker.finish_parent(run)
    (folder / "report.html").write_text("of a later run")


def recorded(tracker: Tracker, name: str = "trained") -> dict:
    """All the server knows of the one run of this name, without ids and moments."""
    client = tracker.client
    [run] = client.search_runs([tracker.experiment_id], f"attributes.run_name = '{name}'")
    own = {"dagster.run_id", "mlflow.parentRunId", "nexusflow.run_key", "mlflow.log-model.history"}
    files = {}
    for folder in ("", "pictures/plots", "pictures"):
        for file in client.list_artifacts(run.info.run_id, folder):
            if not file.is_dir:
                path = client.download_artifacts(run.info.run_id, file.path)
                files[file.path] = Path(path).read_text()
    return {
        "status": run.info.status,
        "tags": {key: value for key, value in run.data.tags.items() if key not in own},
        "params": run.data.params,
        "metrics": {
            key: [
                (point.step, repr(point.value))
                for point in client.get_metric_history(run.info.run_id, key)
            ]
            for key in run.data.metrics
        },
        "inputs": [
            (one.dataset.name, one.dataset.digest, sorted((t.key, t.value) for t in one.tags))
            for one in run.inputs.dataset_inputs
        ],
        "files": files,
    }


def moments(tracker: Tracker) -> list[int]:
    [run] = tracker.client.search_runs([tracker.experiment_id], "attributes.run_name = 'trained'")
    history = tracker.client.get_metric_history(run.info.run_id, "loss")
    return [run.info.start_time, *(point.timestamp for point in history), run.info.end_time]


@pytest.mark.parametrize("after", [0, 1, 2, 3, 8, 9, 11, 13])
def test_what_waited_is_recorded_as_if_the_server_had_never_been_down(
    tracker, empty_database, tmp_path, monkeypatch, after
):
    with monkeypatch.context() as patch:
        down = Down(patch, after=after)
        began = int(time.time() * 1000)
        a_training(tracker, tmp_path)
        ended = int(time.time() * 1000)
        assert down.asked == after + 1, "it is not asked again after it was down"
    sent = sync(tracker)
    assert (sent.refused, sent.under_way, waiting_files(tracker.waiting)) == ({}, (), [])
    assert list(tracker.waiting.iterdir()) == []
    shutil.copy(empty_database, tmp_path / "live.db")
    live = Tracker(tmp_path / "live.db", "f1")
    a_training(live, tmp_path)
    assert recorded(tracker) == recorded(live)
    assert recorded(tracker)["files"]["report.html"] == "<p>dagster-1</p>"
    assert len(tracker.client.search_runs([tracker.experiment_id])) == 2
    assert moments(tracker) == sorted(moments(tracker))
    assert began <= moments(tracker)[0] <= moments(tracker)[-1] <= ended + 1


@pytest.mark.parametrize("after", [0, 4, 9])
def test_a_replay_that_is_killed_anywhere_and_repeated_leaves_the_run_once(
    tracker, tmp_path, monkeypatch, after
):
    from nexus_pipeline.tracking import replay

    with monkeypatch.context() as patch:
        Down(patch, after=after)
        a_training(tracker, tmp_path)
    kept = {path.name: path.read_bytes() for path in waiting_files(tracker.waiting)}
    kills = 0
    for where, name in (("before", "send"), ("after", "send"), ("after", "note_sent")) * 40:
        real = getattr(replay, name)

        def killed(*words, real=real, where=where):
            if where == "after":
                real(*words)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(replay, name, killed)
            try:
                sync(tracker)
                break
            except KeyboardInterrupt:
                kills += 1
    assert kept
    assert kills > 3
    assert waiting_files(tracker.waiting) == []
    found = recorded(tracker)
    assert [step for step, _ in found["metrics"]["loss"]] == [0, 1, 2, 3, 4]
    assert (found["status"], len(found["inputs"]), len(found["files"])) == ("FINISHED", 1, 2)
    assert len(tracker.client.search_runs([tracker.experiment_id])) == 2


def test_a_retry_uses_its_run_again_and_doubles_nothing(tracker, tmp_path):
    def attempt(*, fails: bool, former=()):
        with tracker.run("trained", None, TAGS, former) as log:
            for epoch in range(3):
                log.log_metrics({"loss": 1 / (epoch + 1)}, step=epoch)
            if fails:
                raise RuntimeError("no room")
        return log.run_id

    with pytest.raises(RuntimeError):
        attempt(fails=True)
    attempt(fails=False, former=("dagster-1",))
    [run] = tracker.client.search_runs([tracker.experiment_id])
    assert run.info.status == "FINISHED"
    assert len(tracker.client.get_metric_history(run.info.run_id, "loss")) == 3


def test_a_re_execution_goes_on_with_the_run_under_its_own_parent(tracker, tmp_path):
    a_training(tracker, tmp_path)
    a_training(tracker, tmp_path, run="dagster-2", former=("dagster-1",))
    [run] = tracker.client.search_runs([tracker.experiment_id], "attributes.run_name = 'trained'")
    assert run.data.tags[DAGSTER_RUN] == "dagster-2"
    assert run.data.tags["mlflow.parentRunId"] == tracker.parent_run("dagster-2")


def test_a_retry_while_the_server_is_down_is_the_same_run(tracker, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        Down(patch, after=3)  # the first attempt's run is on the server
        a_training(tracker, tmp_path)
        a_training(tracker, tmp_path, former=("dagster-1",))
    sync(tracker)
    found = recorded(tracker)
    assert [step for step, _ in found["metrics"]["loss"]] == [0, 1, 2, 3, 4]
    assert found["status"] == "FINISHED"


def test_a_run_whose_process_is_gone_is_ended_as_killed(tracker, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        Down(patch)
        run = tracker.run("trained", None, TAGS)
        log = run.__enter__()
        log.log_metrics({"loss": 1.0}, step=0)
    assert len(sync(tracker).under_way) == 1
    log._delivery.close()  # what the end of the process does
    [path] = waiting_files(tracker.waiting)
    path.write_bytes(path.read_bytes() + b'{"kind": "metri')
    sent = sync(tracker)
    assert (sent.runs, sent.torn) == (1, 1)
    assert recorded_status(tracker) == "KILLED"


def recorded_status(tracker: Tracker) -> str:
    [run] = tracker.client.search_runs([tracker.experiment_id])
    return run.info.status


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path):
    kept = KeptRun(tmp_path, "run")
    kept.keep({"kind": "run"}, params_event({"a": 1}))
    kept.path.write_bytes(kept.path.read_bytes() + b'{"kind": "par')
    kept.keep({"kind": "run"}, params_event({"b": 2}))
    found = read_kept(kept.path)
    assert [event["entries"] for event in found.events] == [[["a", "1"]], [["b", "2"]]]
    assert found.torn == 1


def test_what_was_meant_for_another_server_is_not_sent_unless_it_moved(
    tracker, tmp_path, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:secret@127.0.0.1:9")
    away = Tracker(tracker.path, "f1")
    a_training(away, tmp_path)
    assert b"secret" not in b"".join(p.read_bytes() for p in waiting_files(away.waiting))
    with pytest.raises(ServerDownError, match=r"127.0.0.1:9 .*tracking sync"):
        sync(away)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert set(sync(tracker).elsewhere.values()) == {GONE}
    assert sync(tracker, moved=True).runs == 2
    assert recorded(tracker)["status"] == "FINISHED"


def test_a_refusal_is_no_outage(tracker):
    with tracker.run("trained") as log:
        log.log_params({"epochs": 1})
        with pytest.raises(MlflowException, match=r"already logged|Changing param"):
            log.log_params({"epochs": 2})
        assert not log.waits


def test_another_dagster_run_asks_the_server_again(tracker, tmp_path, monkeypatch):
    down = Down(monkeypatch)
    a_training(tracker, tmp_path)
    assert tracker.outage.take_news() == "connection refused"
    assert tracker.outage.take_news() == ""
    down.up = True
    a_training(tracker, tmp_path, run="dagster-2")
    assert sync(tracker).runs == 2
    assert len(tracker.client.search_runs([tracker.experiment_id])) == 4


# A real socket


class Stub(BaseHTTPRequestHandler):
    """Answers every request alike."""

    status, sleep_s, body = 200, 0.0, b"{}"

    def do_GET(self) -> None:
        time.sleep(self.sleep_s)
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_POST = do_GET

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.fixture
def served(tracker, tmp_path, monkeypatch):
    """A tracker of a server that answers like this."""
    servers = []

    def serve(**answer):
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answer", (Stub,), answer))
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        return Tracker(tracker.path, "f1")

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"status": 503}, "status 503"),
        ({"status": 500}, "status 500"),
        ({"status": 429}, "status 429"),
        ({"sleep_s": 3.0}, "no answer in 1 s"),
    ],
    ids=["unavailable", "failing", "overloaded", "slow"],
)
def test_a_server_that_cannot_is_waited_for_once_and_not_long(served, tmp_path, answer, reason):
    tracker, started = served(**answer), time.monotonic()
    a_training(tracker, tmp_path)
    assert time.monotonic() - started < 2.5
    assert tracker.outage.reason == reason
    assert len(waiting_files(tracker.waiting)) == 2


def test_a_closed_port_is_down(tracker, tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    away, started = Tracker(tracker.path, "f1"), time.monotonic()
    a_training(away, tmp_path)
    assert (away.outage.reason, time.monotonic() - started < 2) == ("connection refused", True)


def test_a_server_that_says_no_is_a_bug_and_raises(served, tmp_path):
    told = b'{"error_code": "PERMISSION_DENIED", "message": "not you"}'
    tracker = served(status=403, body=told)
    with pytest.raises(MlflowException, match="not you"):
        a_training(tracker, tmp_path)
    assert waiting_files(tracker.waiting) == []


def test_what_needs_a_server_says_so(tracker, tmp_path, monkeypatch):
    Down(monkeypatch)
    with tracker.run("registered") as log:
        assert log.url("http://x") == ""
        with pytest.raises(ServerDownError, match=r"sqlite.*does not answer .*nexusflow train"):
            log.registrable_id()


# Beside the work


def test_the_machine_is_sampled_while_a_run_is_open(tracker, monkeypatch):
    with tracker.run("trained") as log, SystemMetrics(log, every_s=0.05):
        time.sleep(0.2)
    data = tracker.client.get_run(log.run_id).data.metrics
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= set(
        data
    )
    history = tracker.client.get_metric_history(log.run_id, "system/disk_usage_percentage")
    assert [point.step for point in history] == list(range(len(history)))
    assert len(history) > 1


def test_a_sampler_that_fails_is_told_and_the_environment_may_refuse_one(tracker, monkeypatch):
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    assert not is_wanted(True)
    monkeypatch.delenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING")
    assert (is_wanted(True), is_wanted(False)) == (True, False)
    with tracker.run("trained") as log:
        sampler = SystemMetrics(log)
        monkeypatch.setattr(sampler, "_sample", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError), sampler:
            pass


def test_a_step_that_dagster_retries_uses_its_run_again(fresh, monkeypatch):
    tries = []

    def make(room, doing):
        tries.append(doing.tags["nexusflow.fingerprint"])
        doing.run.log_metrics({"loss": 1.0}, step=0)
        if len(tries) == 1:
            raise RuntimeError("no room")
        return Made(Stored(location="nexusflow.yaml", sha256="a" * 64, rows=1), {"rows": 1})

    for name, value in fresh.environment.items():
        monkeypatch.setenv(name, value)
    making = Making(
        key="shop/trained/again", description="", kinds=frozenset(), upstream=(),
        code=("nexus_pipeline/defs/making.py",), config={"lr": 0.1}, make=make,
    )  # fmt: skip
    retry = dg.RetryPolicy(max_retries=1)
    definitions = dg.Definitions(
        assets=[build_asset(fresh.project, making)],
        jobs=[dg.define_asset_job("once", op_retry_policy=retry)],
        resources=default_resources(fresh.project),
    )
    assert definitions.resolve_job_def("once").execute_in_process().success
    tracker = fresh.tracker
    found = tracker.client.search_runs([tracker.experiment_id])
    [run] = [run for run in found if ASSET in run.data.tags]
    assert (len(found), run.info.status, len(tries)) == (2, "FINISHED", 2)
    assert run.data.tags["nexusflow.attempt"] == "2"
    assert len(tracker.client.get_metric_history(run.info.run_id, "loss")) == 1
