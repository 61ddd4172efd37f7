"""compose.yaml, read by the rules a container engine would apply, and some of ours."""

import importlib
import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

import click
import pytest
import typer.main
import yaml

from deploy.compose_file import MissingVariableError, read_compose, read_variables, variables_in
from deploy.dockerfile import image_environment
from deploy.local_places import HERE, made_variables

FILE = HERE / "compose.yaml"
TEXT = FILE.read_text(encoding="utf-8")
TREE = yaml.safe_load(TEXT)
EXAMPLE = read_variables((HERE / ".env.example").read_text(encoding="utf-8"))
COMPOSE = read_compose(FILE, made_variables(HERE.parent, "f1-dnf"))
NAMES = sorted(COMPOSE.services)
OURS = [name for name in NAMES if COMPOSE.services[name].is_ours]
KEYS = {
    "image", "build", "init", "restart", "security_opt", "cap_drop", "stop_grace_period", "command",
    "environment", "volumes", "networks", "ports", "expose", "depends_on", "healthcheck", "secrets",
}  # fmt: skip
LENGTH = re.compile(r"\d+(ms|s|m|h)")
IMAGE = re.compile(r"[a-z/-]+:v?\d+\.\d+(\.\d+)?(-[a-z]+)?")
SECRET = re.compile(r"PASSWORD|TOKEN|SECRET|STORE_URI")
NOT_PASSED_ON = {"POSTGRES_PASSWORD"}


@pytest.fixture(params=NAMES)
def told(request: pytest.FixtureRequest) -> dict[str, Any]:
    """One service as it is written."""
    return TREE["services"][request.param]


def test_a_service_has_only_keys_that_compose_knows(told: dict[str, Any]) -> None:
    assert set(told) <= KEYS
    assert told["restart"] == "unless-stopped"
    assert LENGTH.fullmatch(told.get("stop_grace_period", "10s"))
    assert IMAGE.fullmatch(told["image"])


def test_a_service_is_watched(told: dict[str, Any]) -> None:
    check = told["healthcheck"]
    assert check["test"][0] == "CMD"
    assert isinstance(check["retries"], int)
    times = {name: check[name] for name in ("interval", "timeout", "start_period")}
    assert set(check) == {"test", "retries", *times}
    assert all(LENGTH.fullmatch(value) for value in times.values())


def test_a_service_names_only_what_is_declared(told: dict[str, Any]) -> None:
    assert set(told["networks"]) <= set(TREE["networks"])
    assert set(told.get("secrets", ())) <= set(TREE["secrets"])
    for needed, how in told.get("depends_on", {}).items():
        assert how == {"condition": "service_healthy"}
        assert "healthcheck" in TREE["services"][needed]
    for line in told.get("volumes", ()):
        source = line.split(":")[0]
        is_there = source.startswith("${") or (HERE / source).exists()
        assert is_there if source.startswith((".", "$")) else source in TREE["volumes"]


def test_a_port_is_published_on_this_machine_only(told: dict[str, Any]) -> None:
    for port in told.get("ports", ()):
        assert re.fullmatch(r"127\.0\.0\.1:\$\{\w+_PORT:-\d+\}:\d+", port)


def test_whatever_is_declared_is_used() -> None:
    used = yaml.safe_dump(TREE["services"])
    for group in ("networks", "secrets", "volumes"):
        for name in TREE[group]:
            assert re.search(rf"\b{name}\b", used), name


def test_services_can_be_started_one_after_the_other() -> None:
    started: set[str] = set()
    for _ in NAMES:
        started |= {name for name in NAMES if started.issuperset(COMPOSE.services[name].needs)}
    assert started == set(NAMES)


def test_every_variable_is_in_the_example_and_every_example_is_asked_for() -> None:
    asked = variables_in(TEXT) | set(COMPOSE.secrets.values())
    assert asked == set(EXAMPLE)


def test_no_secret_is_written_down() -> None:
    for name, one in TREE["services"].items():
        for variable, value in one.get("environment", {}).items():
            if SECRET.search(variable):
                assert "${" in value or value.startswith("/run/secrets/"), (name, variable)
        assert not SECRET.search(" ".join(one.get("command", ()))), name
    assert not [name for name, value in EXAMPLE.items() if SECRET.search(name) and value]


@pytest.mark.parametrize("name", [name for name in EXAMPLE if SECRET.search(name)])
def test_without_a_secret_nothing_starts(name: str) -> None:
    with pytest.raises(MissingVariableError, match=name):
        read_compose(FILE, made_variables(HERE.parent, "f1-dnf") | {name: ""})


def test_our_containers_give_up_every_capability() -> None:
    for name in NAMES:
        if name != "postgres":  # its image starts as root and steps down by itself
            one = TREE["services"][name]
            assert one["cap_drop"] == ["ALL"], name
            assert one["security_opt"] == ["no-new-privileges:true"], name


def test_only_what_has_a_page_can_be_reached_from_outside() -> None:
    assert TREE["networks"]["inside"] == {"internal": True}
    for name in NAMES:
        one = TREE["services"][name]
        assert ("pages" in one["networks"]) is ("ports" in one), name
        assert "inside" in one["networks"], name


def test_settings_read_only_variables_that_are_set() -> None:
    for file in ("dagster.yaml", "workspace.yaml"):
        asked = set(environment_asked(yaml.safe_load((HERE / "dagster" / file).read_text())))
        assert asked
        for name in ("code", "dagster", "daemon"):
            assert asked <= set(COMPOSE.services[name].environment), (file, name)
    text = (HERE / "postgres/databases.sql").read_text()
    asked = set(re.findall(r"\\getenv \w+ (\w+)", text))
    assert asked == set(COMPOSE.services["postgres"].environment) - NOT_PASSED_ON


def environment_asked(tree: Any) -> Iterator[str]:
    """Names in ``{env: NAME}``."""
    if isinstance(tree, dict):
        if set(tree) == {"env"}:
            yield tree["env"]
        for value in tree.values():
            yield from environment_asked(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from environment_asked(value)


def test_dagster_takes_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    from dagster._core.instance.config import dagster_instance_config
    from dagster._core.workspace.config_schema import process_workspace_config

    found, _ = dagster_instance_config(str(HERE / "dagster"))
    assert found["telemetry"] == {"enabled": False}
    for name, value in COMPOSE.services["daemon"].environment.items():
        monkeypatch.setenv(name, value)
    tree = yaml.safe_load((HERE / "dagster/workspace.yaml").read_text())
    [location] = process_workspace_config(tree).value["load_from"]
    assert location["grpc_server"]["host"] == "code"
    assert location["grpc_server"]["port"] == 4000


def test_the_image_and_the_file_agree_about_places() -> None:
    image = image_environment(HERE / "Dockerfile")
    ours = COMPOSE.services["code"].environment
    for name in ("NEXUS_HOME", "NEXUS_PROJECT", "DAGSTER_HOME"):
        assert ours[name] == image[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", OURS)
def test_a_command_of_our_image_is_there_and_takes_these_options(name: str) -> None:
    words = COMPOSE.services[name].command
    command, left = program(words[0]), [*words[1:]]
    while hasattr(command, "resolve_command"):
        _, command, left = command.resolve_command(click.Context(command), left)
    _, left, _ = command.make_parser(click.Context(command)).parse_args(args=left)
    assert left == []


def program(name: str) -> Any:
    """The click command behind a script; scripts of distributions that are installed."""
    script = next(iter(entry_points(group="console_scripts", name=name)))
    module = importlib.import_module(script.module)
    return typer.main.get_command(module.app) if name == "nexusflow" else module.cli
