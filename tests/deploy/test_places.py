"""The file's words on this machine: variables, addresses, paths, and nothing else."""

from pathlib import Path

import pytest
import yaml

from deploy.compose_file import MissingVariableError, interpolated, read_compose
from deploy.local_places import HERE, REPOSITORY, Places, made_variables


@pytest.fixture
def places(tmp_path):
    variables = made_variables(tmp_path / "project", "shop-churned")
    compose = read_compose(HERE / "compose.yaml", variables)
    return Places(compose, variables, tmp_path / "state", scraped="1s")


def test_a_variable_that_must_be_there_is_asked_for() -> None:
    with pytest.raises(MissingVariableError, match="A: say A"):
        interpolated("x${A:?say A}", {"A": ""})
    assert interpolated("${A:-x}${B}$$", {"A": ""}) == "x$"


def test_addresses_and_ports_become_free_ones_on_loopback(places) -> None:
    mlflow, api = (places.compose.services[name] for name in ("mlflow", "api"))
    port = places.port("mlflow")
    assert places.said("http://mlflow:5000", api) == f"http://127.0.0.1:{port}"
    assert places.said("postgresql+psycopg2://u:p@postgres:5432/x", api) == (
        f"postgresql+psycopg2://u:p@127.0.0.1:{places.port('postgres')}/x"
    )
    assert places.said("5000", mlflow) == str(port)
    assert places.said("0.0.0.0", mlflow) == "127.0.0.1"
    assert len(set(places.ports.values())) == len(places.ports)


def test_what_only_looks_like_an_address_or_a_path_is_left_alone(places) -> None:
    mlflow, prometheus = (places.compose.services[name] for name in ("mlflow", "prometheus"))
    for text in ("mlflow:5000,localhost:*", "mlflow", "/dev/null", "nexusflow", "8000"):
        assert places.said(text, mlflow) == text
    assert places.said("/other/prometheus", prometheus) == "/other/prometheus"


def test_paths_become_volumes_secrets_and_the_repository(places) -> None:
    api, code = (places.compose.services[name] for name in ("api", "code"))
    assert places.said("/run/secrets/serve_token", api) == str(places.state / "secrets/serve_token")
    assert places.said("/opt/nexus/deploy/health.py", api) == str(REPOSITORY / "deploy/health.py")
    assert places.said("/var/lib/nexus/dagster", code) == str(
        places.state / "volumes/nexus/dagster"
    )
    assert places.said("/var/lib/nexus", api).startswith(str(places.state / "containers/api"))


def test_configuration_is_copied_with_this_machines_places(places) -> None:
    prometheus = places.compose.services["prometheus"]
    places.prepare(prometheus)
    file = places.folders(prometheus)["/etc/prometheus/prometheus.yml"]
    told = yaml.safe_load(file.read_text())
    assert told["global"] == {"scrape_interval": "1s", "evaluation_interval": "1s"}
    job, drift = told["scrape_configs"]
    assert drift["static_configs"][0]["targets"] == [f"127.0.0.1:{places.port('drift')}"]
    assert job["static_configs"][0]["targets"] == [f"127.0.0.1:{places.port('api')}"]
    assert job["authorization"]["credentials_file"] == str(places.state / "secrets/serve_token")
    assert all(Path(name).is_file() for name in told["rule_files"])


def test_secrets_are_files_that_only_their_owner_reads(places) -> None:
    files = sorted((places.state / "secrets").iterdir())
    assert [file.name for file in files] == ["grafana_password", "serve_token"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert len({file.read_text() for file in files}) == 2
