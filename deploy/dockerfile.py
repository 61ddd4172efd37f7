"""A Dockerfile as a list of instructions; enough of the grammar for ours, and no more."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_COMMENT = re.compile(r"^\s*(#.*)?$")


class Instruction(NamedTuple):
    """One instruction: its stage counted from 0, its word, and the rest of it on one line."""

    stage: int
    word: str
    rest: str

    @property
    def words(self) -> list[str]:
        """The rest, as JSON if it is a JSON array, else split as a shell does; without options."""
        if self.rest.startswith("["):
            return [str(word) for word in json.loads(self.rest)]
        return [word for word in shlex.split(self.rest) if not word.startswith("--")]


def instructions(text: str) -> Iterator[Instruction]:
    """Every instruction, with continued lines joined and comments left out.

    >>> [found.word for found in instructions("FROM a:1\\n# no\\nRUN x \\\\\\n  && y\\n")]
    ['FROM', 'RUN']
    """
    stage, pending = -1, ""
    for line in text.splitlines():
        if _COMMENT.match(line):
            continue
        pending += line.strip()
        if pending.endswith("\\"):
            pending = pending[:-1]
            continue
        word, _, rest = pending.partition(" ")
        pending = ""
        stage += word == "FROM"
        yield Instruction(stage, word, rest.strip())


def image_environment(file: Path) -> dict[str, str]:
    """The variables the last stage sets, as written."""
    found = list(instructions(file.read_text(encoding="utf-8")))
    last = max(one.stage for one in found)
    pairs = [
        word.partition("=")
        for one in found
        if one.stage == last and one.word == "ENV"
        for word in one.words
    ]
    return {name: value for name, _, value in pairs}
