"""compose.yaml as records, with its variables filled in as Compose does it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

OWN_IMAGE = "nexusflow:"
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?:(?P<how>:-|:\?)(?P<other>[^}]*))?\})")


class MissingVariableError(Exception):
    """A variable without which nothing may start."""


class Mount(NamedTuple):
    """A path inside a container and what is there: a named volume, or a path beside the file."""

    source: str
    target: str

    @property
    def is_named(self) -> bool:
        """Whether Docker keeps it, and not the person."""
        return not self.source.startswith((".", "/", "~"))


class Service(NamedTuple):
    """One process of the file."""

    name: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    mounts: tuple[Mount, ...]
    secrets: tuple[str, ...]
    published: tuple[str, ...]
    ports: tuple[str, ...]
    needs: tuple[str, ...]
    healthcheck: tuple[str, ...]
    restart: str

    @property
    def is_ours(self) -> bool:
        """Whether it runs in the image of this repository's Dockerfile."""
        return self.image.startswith(OWN_IMAGE)


class Compose(NamedTuple):
    """All services, and the variable each secret is read from."""

    services: Mapping[str, Service]
    secrets: Mapping[str, str]


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """Fill in ``${NAME}``, ``${NAME:-default}`` and ``${NAME:?message}``; ``$$`` is a dollar.

    Raises:
        MissingVariableError: a variable that must be there is not, or is empty.

    >>> interpolated("${A:-1} $$ ${B}", {"B": "2"})
    '1 $ 2'
    """

    def filled(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "$"
        value = variables.get(match["name"], "")
        if not value and match["how"] == ":?":
            raise MissingVariableError(f"{match['name']}: {match['other']}")
        return value or (match["other"] or "")

    return _VARIABLE.sub(filled, text)


def variables_in(text: str) -> set[str]:
    """Names of the variables a text asks for."""
    return {match["name"] for match in _VARIABLE.finditer(text) if match["name"]}


def read_compose(file: Path, variables: Mapping[str, str]) -> Compose:
    """The services of a file.

    Raises:
        MissingVariableError: a variable that must be there is not.
    """
    tree = _filled(yaml.safe_load(file.read_text(encoding="utf-8")), variables)
    services = {name: _service(name, told) for name, told in tree["services"].items()}
    secrets = {name: told["environment"] for name, told in tree.get("secrets", {}).items()}
    return Compose(services, secrets)


def read_variables(text: str) -> dict[str, str]:
    """The lines NAME=value of a file like .env.example.

    >>> read_variables("# no\\nA=1\\nB=\\n")
    {'A': '1', 'B': ''}
    """
    pairs = [line.partition("=") for line in text.splitlines() if not line.startswith("#")]
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


def _filled(tree: Any, variables: Mapping[str, str]) -> Any:
    match tree:
        case str():
            return interpolated(tree, variables)
        case dict():
            return {key: _filled(value, variables) for key, value in tree.items()}
        case list():
            return [_filled(value, variables) for value in tree]
        case _:
            return tree


def _service(name: str, told: Mapping[str, Any]) -> Service:
    published = tuple(told.get("ports", ()))
    return Service(
        name=name,
        image=told["image"],
        command=tuple(told.get("command", ())),
        environment=dict(told.get("environment", {})),
        mounts=tuple(_mount(line) for line in told.get("volumes", ())),
        secrets=tuple(told.get("secrets", ())),
        published=published,
        ports=tuple(port.rpartition(":")[2] for port in published) + tuple(told.get("expose", ())),
        needs=tuple(told.get("depends_on", {})),
        healthcheck=tuple(told["healthcheck"]["test"]),
        restart=told["restart"],
    )


def _mount(line: str) -> Mount:
    source, target = line.removesuffix(":ro").rsplit(":", 1)
    return Mount(source, target)
