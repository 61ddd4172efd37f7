"""Facts, changes and outcomes as words."""

import datetime as dt
from typing import assert_never

from nexus_model.explain.facts import Fact
from nexus_model.schema import TaskKind, TaskSpec

COMPARED = {
    "rows": ("more than", "fewer than"),
    "recent": ("more than", "fewer than"),
    "newest": ("longer ago than for", "more recent than for"),
    "mean": ("higher than for", "lower than for"),
    "change": ("rose more than for", "fell more than for"),
    "share": ("a larger share than for", "a smaller share than for"),
    "own": ("higher than for", "lower than for"),
    "own_moment": ("later than for", "earlier than for"),
}


def told_outcome(task: TaskSpec) -> str:
    """What is predicted, as a thing that can be higher or lower."""
    match task.kind:
        case TaskKind.BINARY:
            positive = f" being {task.classes[1]}" if len(task.classes) == 2 else ""
            return f"the probability of {task.name}{positive}"
        case TaskKind.MULTICLASS:
            return "the probability of the predicted class"
        case TaskKind.REGRESSION | TaskKind.QUANTILE:
            return f"the prediction of {task.name}"
        case _ as unreachable:
            assert_never(unreachable)


def told_size(task: TaskSpec, change: float) -> str:
    """How much a change is: points of a probability, or a number.

    >>> told_size(TaskSpec(name="t", kind=TaskKind.BINARY, entity_table="e"), -0.123)
    '12 points'
    """
    if task.kind.is_number:
        return told_number(abs(change))
    points = abs(change) * 100
    return f"{points:.0f} point{'' if round(points) == 1 else 's'}"


def describe(fact: Fact, value: float, rows: int) -> str:
    """A fact in a few words; ``rows`` is how many rows it is about.

    >>> describe(Fact(table="tickets", kind="recent", days=30), 4, 9)
    '4 tickets in the last 30 days'
    """
    table, column, number = fact.table, fact.column, told_number(abs(value))
    match fact.kind:
        case "rows":
            told = counted(int(value), table) if value else f"no {table} at all"
        case "recent":
            count = counted(int(value), table) if value else f"no {table}"
            told = f"{count} in the last {fact.days} days"
        case "newest":
            told = f"the newest of {counted(rows, table)} is {value:.0f} days old"
        case "mean":
            told = f"{column} of {table} is {told_number(value)}{_over(rows)}"
        case "change":
            word = "rose" if value > 0 else "fell"
            told = f"{column} of {table} {word} by {number} from the older half to the newer"
        case "share":
            told = f"{column} is {fact.value} in {value * rows:.0f} of {rows} {table}"
        case "own":
            told = f"{column} is {told_number(value)}"
        case "own_value":
            told = f"{column} is {fact.value}"
        case "own_moment":
            told = f"{column} is {dt.date(1970, 1, 1) + dt.timedelta(days=round(value))}"
        case _ as unreachable:
            assert_never(unreachable)
    return told


def counted(rows: int, table: str) -> str:
    """A number of rows; tables are named for many.

    >>> counted(1, "tickets"), counted(2, "tickets")
    ('1 of tickets', '2 tickets')
    """
    return f"1 of {table}" if rows == 1 else f"{rows:,} {table}"


def _over(rows: int) -> str:
    return f" on average over {rows} rows" if rows > 1 else ""


def told_number(value: float) -> str:
    """Four digits.

    >>> told_number(1234.5678), told_number(0.00012345), told_number(71.0)
    ('1,235', '0.0001234', '71')
    """
    shown = f"{value:.4g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else shown
