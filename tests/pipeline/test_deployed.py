"""The processes of compose.yaml, run here: a run of Dagster ends in the API and on the board."""

import json
import math
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from deploy.local_places import HERE
from deploy.local_postgres import postgres_programs
from deploy.run_processes import Processes
from nexus_pipeline.defs.resources import default_resources
from nexus_pipeline.serving.client import NexusClient, ServerRefusedError
from nexus_pipeline.steps.serve_task import raw_frames
from tests.pipeline.conftest import Shop
from tests.serving.conftest import until

PROGRAMS = {
    "postgresql": (postgres_programs() / "initdb").exists(),
    "prometheus": shutil.which("prometheus") is not None,
    "prometheus-node-exporter": shutil.which("prometheus-node-exporter") is not None,
}
ABSENT = sorted(name for name, is_there in PROGRAMS.items() if not is_there)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(bool(ABSENT), reason=f"not installed (apt-get install): {ABSENT}"),
]
SERVED = ("registered_churned", "champion_churned", "predictions_churned")
FIRST = ("postgres", "mlflow", "code", "dagster", "prometheus", "drift")
ALL = (*FIRST, "daemon", "api")
LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}"""
STATUS = "query Status($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


class Deployed(NamedTuple):
    """What runs, and what it was asked."""

    processes: Processes
    run_id: str
    frames: dict[str, Any]

    @property
    def client(self) -> NexusClient:
        token = self.processes.variables["NEXUS_SERVE_TOKEN"]
        return NexusClient(self.processes.places.url("api"), token)

    def asked(self, expression: str) -> list[float]:
        """The numbers Prometheus answers with."""
        words = urllib.parse.urlencode({"query": expression})
        found = fetched(f"{self.processes.places.url('prometheus')}/api/v1/query?{words}")
        return [float(one["value"][1]) for one in found["data"]["result"]]


def fetched(url: str, body: Any = None, **headers: str) -> Any:
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"} | headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def graphql(processes: Processes, query: str, **variables: Any) -> Any:
    url = f"{processes.places.url('dagster')}/graphql"
    return fetched(url, {"query": query, "variables": variables})["data"]


def launched(processes: Processes) -> str:
    """A run of what is served, started as the page starts it; its id when it has succeeded."""
    selector = {
        "repositoryLocationName": "nexusflow",
        "repositoryName": "__repository__",
        "pipelineName": "shop_everything",
        "assetSelection": [{"path": ["shop", "served", name]} for name in SERVED],
    }
    told = graphql(processes, LAUNCH, params={"selector": selector, "mode": "default"})
    run_id = told["launchRun"]["run"]["runId"]
    status = ""
    give_up = time.monotonic() + 150
    while status != "SUCCESS":
        status = graphql(processes, STATUS, id=run_id)["runOrError"]["status"]
        assert status not in {"FAILURE", "CANCELED"}, processes.log("code")[-4000:]
        assert time.monotonic() < give_up, (status, processes.log("daemon")[-4000:])
        time.sleep(0.5)
    return run_id


@pytest.fixture(scope="module")
def project(made: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run shop at another place, with nothing served yet."""
    folder = tmp_path_factory.mktemp("deployed") / "shop"
    shutil.copytree(made.folder, folder)
    for record in (folder / "data/records/shop").glob("shop.served.*"):
        record.unlink()
    return folder


@pytest.fixture(scope="module")
def deployed(made: Shop, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    """Everything but Grafana, started in the file's order; the API once there is a champion."""
    state = tmp_path_factory.mktemp("state")
    frames = raw_frames(made.project, "churned", default_resources(made.project)["store"].store())
    with Processes(project, "shop-churned", state, scraped="1s") as processes:
        processes.start(FIRST)
        # Its health check costs seconds, and the run waits for it anyway.
        processes.begin("daemon")
        run_id = launched(processes)
        processes.start(["daemon", "api"])
        yield Deployed(processes, run_id, frames)


def queries() -> list[str]:
    """Every query of the dashboard."""
    board = json.loads((HERE / "grafana/dashboards/nexusflow.json").read_text(encoding="utf-8"))
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def test_dagster_and_mlflow_keep_their_state_in_postgresql(deployed: Deployed) -> None:
    run = deployed.processes.databases.run
    said = f"select status from runs where run_id = '{deployed.run_id}'"
    assert run(["-c", said], "dagster") == "SUCCESS"
    aliases = "select name, alias, version from registered_model_aliases order by alias"
    assert "shop-churned|champion|1" in run(["-c", aliases], "mlflow").splitlines()
    assert run(["-c", "select count(*) from runs where status = 'RUNNING'"], "mlflow") == "0"


def test_neither_role_may_open_the_others_database(deployed: Deployed) -> None:
    run = deployed.processes.databases.run
    for role in ("dagster", "mlflow"):
        may = (
            "select string_agg(datname, ',') from pg_database where datname ~ '^(dagster|mlflow)$'"
            f" and has_database_privilege('{role}', datname, 'connect')"
        )
        assert run(["-c", may], "postgres") == role


def test_a_dump_of_the_registry_can_be_restored(deployed: Deployed, tmp_path: Path) -> None:
    databases, dump = deployed.processes.databases, str(tmp_path / "mlflow.dump")
    databases.program("pg_dump", ["-Fc", "-f", dump], "mlflow")
    databases.run(["-c", "create database restored owner mlflow"], "postgres")
    databases.program("pg_restore", ["--exit-on-error", dump], "restored")
    said = "select name, alias, version from registered_model_aliases order by alias"
    found = databases.run(["-c", said], "restored")
    assert found == databases.run(["-c", said], "mlflow")
    assert "shop-churned|champion|1" in found


def test_the_champion_of_the_registry_answers_with_a_token_only(deployed: Deployed) -> None:
    assert deployed.client.ready()["model"]["version"] == "1"
    found = deployed.client.predict(deployed.frames)
    assert found.num_rows == deployed.frames["customers"].num_rows
    with pytest.raises(ServerRefusedError, match="unauthorized"):
        NexusClient(deployed.processes.places.url("api"), "x" * 20).predict(deployed.frames)


def test_mlflow_answers_its_name_in_the_network_and_no_foreign_one(deployed: Deployed) -> None:
    url = deployed.processes.places.url("mlflow") + "/api/2.0/mlflow/registered-models/search"
    assert fetched(url, Host="mlflow:5000")["registered_models"][0]["name"] == "shop-churned"
    with pytest.raises(urllib.error.HTTPError) as caught:
        fetched(url, Host="elsewhere.example")
    caught.value.close()
    assert caught.value.code == 403


def test_every_query_of_the_dashboard_returns_data(deployed: Deployed) -> None:
    waiting = {query.replace("$__rate_interval", "1m") for query in queries()}
    rows = {name: frame.slice(0, 20) for name, frame in deployed.frames.items()}

    def all_answered() -> bool:
        deployed.client.predict({"customers": rows["customers"]})  # flags: tables are missing
        with pytest.raises(ServerRefusedError):
            deployed.client.predict({"orders": rows["orders"]})
        waiting.difference_update(
            [query for query in waiting if any(map(math.isfinite, deployed.asked(query)))]
        )
        time.sleep(0.5)
        return not waiting

    try:
        until(all_answered, 60)
    except AssertionError:
        pytest.fail(f"no data: {waiting}")


def test_prometheus_took_the_rules_and_scrapes_with_the_token(deployed: Deployed) -> None:
    url = deployed.processes.places.url("prometheus")
    until(lambda: deployed.asked('up{job="nexusflow"}') == [1.0], 30)
    groups = fetched(f"{url}/api/v1/rules")["data"]["groups"]
    health = {group["name"]: [rule["health"] for rule in group["rules"]] for group in groups}
    assert health == {"nexusflow": ["ok"] * 7, "nexusflow_drift": ["ok"] * 4}


def test_what_monitoring_leaves_in_the_volume_is_scraped(deployed: Deployed) -> None:
    folder = Path(deployed.processes.state) / "volumes/nexus/metrics"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "shop_churned.prom").write_text(
        'nexusflow_drift_alarm{project="shop",task="churned"} 1\n', encoding="utf-8"
    )
    until(lambda: deployed.asked("nexusflow_drift_alarm") == [1.0], 30)
    machine = deployed.asked('count({__name__=~"node_(cpu|memory|disk|network).*"}) or vector(0)')
    assert machine == [0.0], "nothing is told of the machine"


def test_nothing_is_written_beside_the_instances_settings(deployed: Deployed) -> None:
    assert {path.name for path in (HERE / "dagster").iterdir()} == {
        "dagster.yaml",
        "workspace.yaml",
    }
    kept = Path(deployed.processes.state) / "volumes/nexus/dagster"
    assert any(deployed.run_id in path.as_posix() for path in kept.rglob("*"))


def test_no_secret_is_on_a_command_line(deployed: Deployed) -> None:
    variables = deployed.processes.variables
    hidden = [variables[name] for name in variables if name.endswith(("PASSWORD", "TOKEN"))]
    listed = subprocess.run(
        ["ps", "-eo", "args", "-ww"], capture_output=True, text=True, check=False
    ).stdout
    assert len(hidden) == 5
    assert not [one for one in hidden if one in listed]


def test_all_processes_end_when_they_are_told_to(deployed: Deployed) -> None:
    groups = {process.pid for process in deployed.processes.running.values()}
    codes = deployed.processes.stop()
    # The exporter of files has nothing to finish and lets the signal end it.
    assert codes == {**dict.fromkeys(ALL, 0), "drift": -signal.SIGTERM}
    listed = subprocess.run(
        ["ps", "-eo", "pgid,stat"], capture_output=True, text=True, check=False
    ).stdout
    left = [line.split() for line in listed.splitlines()[1:]]
    assert not [pgid for pgid, state in left if int(pgid) in groups and state[0] != "Z"]
