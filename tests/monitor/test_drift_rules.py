"""The alerts of monitoring ask for metrics that monitoring writes, and their tests are tests."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from nexus_pipeline.monitor.prometheus import metrics_text, sample
from tests.monitor.reports import drifted

HERE = Path(__file__).resolve().parents[2] / "deploy/prometheus"
RULES, TESTS = HERE / "drift_rules.yml", HERE / "drift_rules_test.yml"
[GROUP] = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = [rule["alert"] for rule in GROUP["rules"]]
promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="promtool is not installed (apt-get install prometheus)",
)


def checked(*words: object, given: str = "") -> subprocess.CompletedProcess[str]:
    line = ["promtool", *map(str, words)]
    return subprocess.run(line, input=given, capture_output=True, text=True, check=False)


@promtool
def test_prometheus_takes_the_metrics_as_they_are_written() -> None:
    text = metrics_text(drifted(column='a "quoted"\\ name\nof two lines'))
    done = checked("check", "metrics", given=text)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "nexusflow_drift_alarm" in text


@promtool
def test_a_label_that_is_not_escaped_is_refused() -> None:
    line = sample("nexusflow_drift", {"column": "x"}, 1.0).replace("x", 'x"y')
    assert checked("check", "metrics", given=f"{line}\n").returncode != 0


def test_alerts_ask_for_metrics_that_are_written() -> None:
    text = metrics_text(drifted())
    for rule in GROUP["rules"]:
        [name] = set(re.findall(r"nexusflow_\w+", rule["expr"]))
        [labels, *_] = re.findall(rf"^{name}{{(.*)}}", text, re.MULTILINE)
        for asked in re.findall(r"\$labels\.(\w+)", str(rule["annotations"])):
            assert f'{asked}="' in labels, (rule["alert"], asked)


def test_every_alert_is_tested_to_speak_and_to_be_silent() -> None:
    tests = yaml.safe_load(TESTS.read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == set(ALERTS)
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == set(ALERTS)


@promtool
def test_the_alerts_pass_their_tests() -> None:
    done = checked("test", "rules", TESTS)
    assert done.returncode == 0, done.stderr + done.stdout


@promtool
@pytest.mark.parametrize("how", ["vector(1)", "vector(1) == 2"])
@pytest.mark.parametrize("name", ALERTS)
def test_the_tests_notice_an_alert_that_is_broken(tmp_path: Path, name: str, how: str) -> None:
    rules: list[dict[str, Any]] = [
        {**rule, "expr": how} if rule["alert"] == name else rule for rule in GROUP["rules"]
    ]
    groups = {"groups": [{"name": "nexusflow_drift", "rules": rules}]}
    (tmp_path / "drift_rules.yml").write_text(yaml.safe_dump(groups))
    shutil.copy(TESTS, tmp_path / "tests.yml")
    assert checked("test", "rules", tmp_path / "tests.yml").returncode == 1
