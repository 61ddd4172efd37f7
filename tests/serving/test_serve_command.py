"""``nexusflow serve`` as a process: its options, what it prints, and SIGTERM."""

import json
import os
import re
import signal
import subprocess
import sys
import threading

import pytest
from tiny_artifact import CUTOFF, frames
from typer.testing import CliRunner

from nexus_pipeline import cli
from nexus_pipeline.serving.client import NexusClient

TOKEN = "a-token-of-enough-characters"
RUNNER = CliRunner()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ([], 2, "give either --model FILE.nxf or --registered NAME"),
        (["--model", "nowhere.nxf"], 3, "no such file"),
        (["--model", "m.nxf", "--registered", "shop"], 2, "give either"),
        (["--model", "m.nxf", "--port", "70000"], 2, "port"),
        (["--registered", "shop"], 2, "MLFLOW_TRACKING_URI"),
    ],
)
def test_options_that_do_not_agree_are_told(monkeypatch, words, code, told):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shown = RUNNER.invoke(cli.app, ["serve", *words])
    assert (shown.exit_code, told in shown.output) == (code, True), shown.output


def test_no_option_takes_the_token_itself():
    shown = RUNNER.invoke(cli.app, ["serve", "--help"]).output
    assert "--token-file" in shown
    assert not re.search(r"--token\b(?!-)", shown)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_command_serves_with_a_token_and_ends_on_sigterm(model_file):
    words = ["serve", "--model", str(model_file), "--port", "0"]
    environment = {**os.environ, "NEXUS_SERVE_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", "from nexus_pipeline.cli import main; main()", *words],
        env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    guard = threading.Timer(120, process.kill)
    guard.start()
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
                break
        client = NexusClient(f"http://127.0.0.1:{found[1]}", TOKEN)
        assert client.predict(frames(), CUTOFF).num_rows == len(frames()["customers"])
        process.send_signal(signal.SIGTERM)
        rest = process.communicate(timeout=60)[1]
    finally:
        guard.cancel()
        process.kill()
    assert process.returncode == 0
    said = [json.loads(line[line.index("{") :]) for line in rest.splitlines() if "{" in line]
    assert [line["path"] for line in said] == ["/predict"]
    assert TOKEN not in "".join(lines) + rest
