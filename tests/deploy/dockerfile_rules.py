"""What is wrong with a Dockerfile: one function, one sentence for each thing it found."""

import re
from collections.abc import Iterator
from pathlib import Path

from deploy.dockerfile import Instruction, instructions

REPOSITORY = Path(__file__).resolve().parents[2]
PINNED = re.compile(r"[a-z/.-]+:\d+\.\d+\.\d+[\w.-]*")
SECRET = re.compile(r"TOKEN|PASSWORD|SECRET|_KEY", re.IGNORECASE)


def problems(text: str) -> list[str]:
    """Every rule's findings."""
    found = list(instructions(text))
    last = max(one.stage for one in found)
    return [
        *unpinned(found),
        *careless_runs(found),
        *absent_sources(found),
        *secrets_inside(found),
        *last_stage([one for one in found if one.stage == last]),
    ]


def unpinned(found: list[Instruction]) -> Iterator[str]:
    """Base images whose tag says less than major, minor and patch."""
    for one in found:
        if one.word == "FROM" and not PINNED.fullmatch(one.words[0]):
            yield f"{one.words[0]} is not pinned"


def careless_runs(found: list[Instruction]) -> Iterator[str]:
    """Installations that keep lists, take what nobody asked for, or ignore the constraints."""
    for one in (one for one in found if one.word == "RUN"):
        if "apt-get install" in one.rest and "--no-install-recommends" not in one.rest:
            yield "apt-get takes recommended packages"
        if "apt-get install" in one.rest and "rm -rf /var/lib/apt/lists" not in one.rest:
            yield "package lists stay in the layer"
        if "pip install" in one.rest and "-c constraints.txt" not in one.rest:
            yield "pip ignores constraints.txt"
        if re.search(r"\bsudo\b|curl [^|]*\|", one.rest):
            yield "runs what it has fetched, or sudo"


def absent_sources(found: list[Instruction]) -> Iterator[str]:
    """Files copied from the repository that are not there, and ADD."""
    for one in found:
        if one.word == "ADD":
            yield "ADD fetches and unpacks; use COPY"
        if one.word == "COPY" and "--from=" not in one.rest:
            for source in one.words[:-1]:
                if source == "." or not (REPOSITORY / source).exists():
                    yield f"{source} is not in the repository, or is all of it"


def secrets_inside(found: list[Instruction]) -> Iterator[str]:
    """Variables of the build or the image with a name like a secret's."""
    for one in found:
        if one.word in {"ARG", "ENV"}:
            names = [word.partition("=")[0] for word in one.words]
            yield from (f"{name} is a secret in the image" for name in names if SECRET.search(name))


def last_stage(found: list[Instruction]) -> Iterator[str]:
    """What the final image must say of itself."""
    words = [one.word for one in found]
    users = [one.rest for one in found if one.word == "USER"]
    if not users or users[-1] in {"root", "0"}:
        yield "runs as root"
    if users and "RUN" in words[words.index("USER") :]:
        yield "RUN after USER"
    for needed in ("HEALTHCHECK", "CMD", "WORKDIR"):
        if needed not in words:
            yield f"no {needed}"
    for one in found:
        if one.word in {"CMD", "ENTRYPOINT"} and not one.rest.startswith("["):
            yield f"{one.word} is run by a shell that keeps signals to itself"
