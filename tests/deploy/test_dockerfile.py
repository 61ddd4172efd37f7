"""The Dockerfile keeps our rules, and each rule finds what it is for."""

import fnmatch
import re
import subprocess
import tomllib

import pytest

from deploy.dockerfile import image_environment, instructions
from deploy.local_places import HERE, REPOSITORY
from tests.deploy.dockerfile_rules import problems

DOCKERFILE = HERE / "Dockerfile"
TEXT = DOCKERFILE.read_text(encoding="utf-8")
WRONG = {
    "FROM python:3.11.15-slim-bookworm AS": ("FROM python:latest AS", "not pinned"),
    "\nUSER nexus": ("\nUSER root", "runs as root"),
    "\nUSER nexus\n": ("\n", "runs as root"),
    "WORKDIR /project": ("RUN true\nWORKDIR /project", "RUN after USER"),
    " --no-install-recommends": ("", "recommended"),
    " \\\n    && rm -rf /var/lib/apt/lists/*": ("", "lists stay"),
    "pip install -c constraints.txt \".": ("pip install \".", "ignores constraints"),
    "COPY nexus_model nexus_model": ("COPY nexus_models nexus_model", "not in the repository"),
    "COPY nexus_pipeline nexus_pipeline": ("COPY . .", "all of it"),
    "ARG NEXUS_UID=1000": ("ARG SERVE_TOKEN=a", "secret in the image"),
    'CMD ["nexusflow", "--help"]': ("CMD nexusflow --help", "shell"),
    "HEALTHCHECK --interval": ("LABEL --interval", "no HEALTHCHECK"),
}  # fmt: skip


def test_the_dockerfile_keeps_every_rule() -> None:
    assert problems(TEXT) == []


@pytest.mark.parametrize("old", WRONG)
def test_each_rule_finds_what_it_is_for(old: str) -> None:
    new, expected = WRONG[old]
    assert old in TEXT
    assert expected in "\n".join(problems(TEXT.replace(old, new)))


def test_what_is_copied_is_sent_to_the_builder_and_nothing_else() -> None:
    lines = (HERE / "Dockerfile.dockerignore").read_text().splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        source
        for one in instructions(TEXT)
        if one.word == "COPY" and "--from=" not in one.rest
        for source in one.words[:-1]
    }
    assert "*" in lines
    assert copied == kept
    assert not [name for name in kept if fnmatch.fnmatch(".env", name)]


def test_the_image_installs_extras_that_exist() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    asked = re.search(r'"\.\[(.+)\]"', TEXT)
    assert set(asked[1].split(",")) <= set(project["optional-dependencies"])


def test_the_image_has_the_python_that_constraints_were_made_for() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    version = re.search(r"python:(\d+\.\d+)", TEXT)
    assert project["tool"]["mypy"]["python_version"] == version[1]


def test_nothing_reports_to_anybody_from_the_image() -> None:
    environment = image_environment(DOCKERFILE)
    makefile = (REPOSITORY / "Makefile").read_text()
    exported = dict(re.findall(r"export (\w+) = (\w+)", makefile))
    told_off = {name: value for name, value in exported.items() if "PATH" not in name}
    assert told_off.items() <= environment.items()
    assert len(told_off) >= 4


def test_every_run_line_is_a_shell_script() -> None:
    lines = [one.rest for one in instructions(TEXT) if one.word == "RUN"]
    assert len(lines) == 5
    for line in lines:
        done = subprocess.run(
            ["bash", "-n", "-c", line], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
