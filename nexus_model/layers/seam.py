"""One computation, several ways: the first that does not refuse a call, and why the others did."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeVar


class Refusal(NamedTuple):
    """Why a backend would not take a call."""

    backend: str
    reasons: list[str]


class Refusing(Protocol):
    """What can say that it does not take a call."""

    name: str

    def refusals(self, call: Any) -> list[str]:
        """Reasons not to take the call; empty if it can."""
        ...


Way = TypeVar("Way", bound=Refusing)


def first_willing(ways: Sequence[Way], call: object) -> tuple[Way | None, list[Refusal]]:
    """The first that takes the call, None if nobody does, and what those before it said."""
    refused: list[Refusal] = []
    for way in ways:
        reasons = way.refusals(call)
        if not reasons:
            return way, refused
        refused.append(Refusal(way.name, reasons))
    return None, refused
