"""Verdicts: which bars results reach, and by how much they miss the others."""

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.quality.published import BARS
from benchmarks.quality.result import Result
from benchmarks.quality.scores import BEST, ENSEMBLE, ENTITY, MODEL, STACK, Against
from nexus_model.evaluate.metrics import Direction

SURE = 0.95
ENOUGH_TASKS = 2
MOST_SECONDS = 15 * 60
_BARRED = "rel_f1"


class Verdict(NamedTuple):
    """What was asked, whether it was reached (None: cannot be told yet), and the figures."""

    asked: str
    met: bool | None
    told: str


def verdicts(results: Sequence[Result]) -> list[Verdict]:
    """Of one project and regime."""
    if results[0].project == _BARRED:
        found = [verdict for result in results for verdict in _against_bars(result)]
        found.append(_stack_wins(results))
    else:
        found = [verdict for result in results for verdict in _against_opponents(result)]
    return [*found, _training_time(results)]


def _against_bars(result: Result) -> list[Verdict]:
    bar = BARS.get((result.question, result.regime))
    if bar is None:
        return []
    is_max = result.direction is Direction.MAX
    sign = 1 if is_max else -1
    own = {name: result[name].test.estimate for name in (MODEL, ENSEMBLE)}
    best = max(own, key=lambda name: sign * own[name])
    told = ", ".join(f"{name} {value:.4f}" for name, value in own.items())
    found = []
    for word, limit, met in (
        ("must", bar.must, sign * (own[best] - bar.must) >= 0),
        ("aim", bar.aim, sign * (own[best] - bar.aim) > 0),
    ):
        symbol = {"must": ("≤", "≥"), "aim": ("<", ">")}[word][is_max]
        asked = f"{result.question}, {word}: NexusFormer {symbol} {limit:g}"
        found.append(Verdict(asked, met, told + _missed(met, abs(own[best] - limit))))
    return found


def _missed(met: bool, by: float) -> str:  # noqa: FBT001 - one word of a sentence
    return "" if met else f"; missed by {by:.4f}"


def _stack_wins(results: Sequence[Result]) -> Verdict:
    # Whom validation calls the best opponent may not be the strongest: all of them count.
    sure = {
        result.question: min(
            against.difference.probability_better for against in result[STACK].against.values()
        )
        for result in results
    }
    won = sum(probability >= SURE for probability in sure.values())
    # Few tasks may settle it already; the rest cannot take a win away.
    open_tasks = 3 - len(results)
    met = True if won >= ENOUGH_TASKS else None if won + open_tasks >= ENOUGH_TASKS else False
    told = ", ".join(f"{name} {probability:.3f}" for name, probability in sure.items())
    asked = f"stack better than every opponent with probability ≥ {SURE:g} on two of three tasks"
    return Verdict(asked, met, f"{told}: {won} of {len(results)}")


def is_clearly_better(against: Against, direction: Direction) -> bool:
    """The interval of the difference lies on the better side of 0."""
    difference = against.difference
    return difference.low > 0 if direction is Direction.MAX else difference.high < 0


def is_level(against: Against, direction: Direction) -> bool:
    """The interval of the difference does not lie on the worse side of 0."""
    difference = against.difference
    return difference.high >= 0 if direction is Direction.MAX else difference.low <= 0


def _against_opponents(result: Result) -> list[Verdict]:
    """NexusFormer or the stack: one predictor must do both."""
    held, told = [], []
    for name in (MODEL, ENSEMBLE, STACK):
        best, entity = (result[name].against[role] for role in (BEST, ENTITY))
        level = is_level(best, result.direction)
        better = is_clearly_better(entity, result.direction)
        held.append(level and better)
        told.append(
            f"{name}: {'level with' if level else 'worse than'} {best.opponent}, "
            f"{'better than' if better else 'not clearly better than'} {entity.opponent}"
        )
    asked = (
        f"{result.question}: level with the best opponent within noise, and better than LightGBM "
        "on the entity's own columns with an interval that excludes 0"
    )
    return [Verdict(asked, any(held), "; ".join(told))]


def _training_time(results: Sequence[Result]) -> Verdict:
    longest = {
        result.question: max(training.seconds for training in result.trainings)
        for result in results
        if result.trainings
    }
    told = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in longest.items())
    asked = f"one training in under {MOST_SECONDS // 60} minutes"
    met = all(seconds < MOST_SECONDS for seconds in longest.values()) if longest else None
    return Verdict(asked, met, f"longest training: {told}" if told else "no training")
