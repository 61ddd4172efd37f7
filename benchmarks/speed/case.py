"""A case: parts that are measured, each in a process of its own, and what they are judged by."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

Size: TypeAlias = Literal["small", "full"]
Facts: TypeAlias = dict[str, Any]
Part: TypeAlias = Callable[[Path, Size], Facts]


class Figure(NamedTuple):
    """Ours beside a peer's or a limit: ``ratio`` is told as the bar is, and must be ``sense`` it.

    ``at_most``: ours over the other, at most ``bar``; ``at_least``: the other over ours.
    """

    what: str
    ours: float
    other: float
    unit: str
    sense: Literal["at_most", "at_least"]
    bar: float

    @property
    def ratio(self) -> float:
        """Ours over the other, or the other over ours where it should be large."""
        return self.ours / self.other if self.sense == "at_most" else self.other / self.ours

    @property
    def met(self) -> bool:
        """Whether the bar is reached."""
        return self.ratio <= self.bar if self.sense == "at_most" else self.ratio >= self.bar

    @property
    def facts(self) -> Facts:
        """For a JSON file."""
        numbers = {name: float(f"{value:.4g}") for name, value in
                   (("ours", self.ours), ("other", self.other), ("ratio", self.ratio))}  # fmt: skip
        return self._asdict() | numbers | {"met": self.met}


class Case(NamedTuple):
    """``parts`` run in order in one folder; ``judged`` reads their facts by name.

    ``peer`` says what ours is compared with, ``packages`` whose versions are told.
    """

    question: str
    peer: str
    packages: tuple[str, ...]
    parts: Mapping[str, Part]
    judged: Callable[[Mapping[str, Facts], str], list[Figure]]


def judged_by(load: float) -> str:
    """CPU seconds beside more work than there are cores, where wall time is mostly waiting."""
    return "cpu_s" if load > (os.cpu_count() or 1) * 0.75 else "wall_s"
