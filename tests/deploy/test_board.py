"""The dashboard and the alerts ask for metrics the API exports, in PromQL that Prometheus takes."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_artifact import artifact

from deploy.compose_file import read_compose
from deploy.local_places import HERE, made_variables
from nexus_model.serve.predictor import load_model
from nexus_pipeline.serving.metrics import ServingMetrics

BOARD = json.loads((HERE / "grafana/dashboards/nexusflow.json").read_text(encoding="utf-8"))
RULES = HERE / "prometheus/rules.yml"
TESTS = HERE / "prometheus/rules_test.yml"
[GROUP] = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = [rule["alert"] for rule in GROUP["rules"] if "alert" in rule]
RECORDED = [rule["record"] for rule in GROUP["rules"] if "record" in rule]
QUERIES = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
ASKED = QUERIES + [rule["expr"] for rule in GROUP["rules"]]
promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="promtool is not installed (apt-get install prometheus)",
)


def checked(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *map(str, words)], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Labels by metric, of all the API exports."""
    path = tmp_path_factory.mktemp("board") / "model.nxf"
    artifact().save(path)
    made = ServingMetrics(load_model(path))
    found: dict[str, set[str]] = {"up": {"job"}}
    for one in vars(made).values():
        if not hasattr(one, "_labelnames"):
            continue
        [family] = one.describe()
        ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
        for end in ends[family.type]:
            labels = {*one._labelnames} | ({"le"} if end == "_bucket" else set())
            found[family.name + end] = labels
    return found


def test_metrics_are_those_the_api_exports(exported: dict[str, set[str]]) -> None:
    assert len(exported) > 10
    for query in ASKED:
        names = set(re.findall(r"\b(?:nexusflow[\w:]+|up)\b", re.sub(r'"[^"]*"', "", query)))
        assert names, query
        assert names <= {*exported, *RECORDED}, query


def test_labels_are_those_of_the_metrics_asked_for(exported: dict[str, set[str]]) -> None:
    for query in ASKED:
        names = set(re.findall(r"nexusflow_\w+|\bup\b", query))
        known = set().union(*(exported[name] for name in names))
        chosen = re.findall(r"(\w+)=~?\"", query)
        by = [name for group in re.findall(r"by \(([^)]*)\)", query) for name in group.split(", ")]
        assert {*chosen, *by} <= known, query


def test_every_family_the_api_exports_is_on_the_board(exported: dict[str, set[str]]) -> None:
    families = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in exported}
    shown = " ".join(QUERIES)
    assert [name for name in sorted(families) if name not in shown] == []


def test_the_board_is_provisioned_with_its_source() -> None:
    provisioning = HERE / "grafana/provisioning"
    [source] = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    panels = BOARD["panels"]
    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}
    assert len({panel["id"] for panel in panels}) == len(panels)
    [provider] = yaml.safe_load((provisioning / "dashboards/nexusflow.yml").read_text())[
        "providers"
    ]
    compose = read_compose(HERE / "compose.yaml", made_variables(HERE, "x"))
    mounts = {mount.target: mount.source for mount in compose.services["grafana"].mounts}
    assert mounts[provider["options"]["path"]] == "./grafana/dashboards"
    assert source["url"] == "http://prometheus:9090"


def test_panels_do_not_cover_each_other() -> None:
    places: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        own = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not own & places, panel["title"]
        assert max(x for x, _ in own) < 24
        places |= own


@promtool
def test_prometheus_takes_every_query(tmp_path: Path) -> None:
    rules = [
        {"record": f"query:{place}", "expr": query.replace("$__rate_interval", "5m")}
        for place, query in enumerate(QUERIES)
    ]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}))
    done = checked("check", "rules", file)
    assert done.returncode == 0, done.stderr


@promtool
def test_prometheus_takes_its_settings(tmp_path: Path) -> None:
    for rules in (RULES, RULES.with_name("drift_rules.yml")):
        shutil.copy(rules, tmp_path)
    (tmp_path / "token").write_text("x")
    text = (HERE / "prometheus/prometheus.yml").read_text()
    text = text.replace("/etc/prometheus/", "").replace("/run/secrets/serve_token", "token")
    (tmp_path / "prometheus.yml").write_text(text)
    done = checked("check", "config", tmp_path / "prometheus.yml")
    assert done.returncode == 0, done.stderr


def test_every_alert_is_tested_to_speak_and_to_be_silent() -> None:
    cases = [
        case
        for test in yaml.safe_load(TESTS.read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == set(ALERTS)
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == set(ALERTS)


@promtool
def test_the_alerts_pass_their_tests() -> None:
    done = checked("test", "rules", TESTS)
    assert done.returncode == 0, done.stderr


def broken(rule: dict[str, Any], how: str) -> dict[str, Any]:
    match how:
        case "never":
            return rule | {"expr": f"({rule['expr']}) and vector(0) > 1"}
        case _:
            return rule | {"expr": re.sub(r"(==|>) [\d.]+", "> -1", rule["expr"])}


@promtool
@pytest.mark.parametrize("how", ["never", "always"])
@pytest.mark.parametrize("name", ALERTS)
def test_the_tests_notice_an_alert_that_is_broken(tmp_path: Path, name: str, how: str) -> None:
    rules = [broken(r, how) if r.get("alert") == name else r for r in GROUP["rules"]]
    (tmp_path / "rules.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "nexusflow", "rules": rules}]})
    )
    tests = yaml.safe_load(TESTS.read_text())
    tests["tests"] = [
        test
        for test in tests["tests"]
        if name in {case["alertname"] for case in test["alert_rule_test"]}
    ]
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(tests))
    assert checked("test", "rules", tmp_path / "tests.yml").returncode == 1
