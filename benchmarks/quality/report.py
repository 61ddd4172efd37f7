"""Results -> ``benchmarks/quality/README.md``: ``python -m benchmarks.quality.report``."""

from collections.abc import Sequence
from pathlib import Path
from statistics import stdev

from benchmarks.quality.published import PUBLISHED
from benchmarks.quality.result import Result, read_result
from benchmarks.quality.scores import (
    AGGREGATES,
    BEST,
    DRAWS,
    ENTITY,
    MODEL,
    ORDER,
    Against,
    Judged,
)  # fmt: skip
from benchmarks.quality.segments import SEGMENTS
from benchmarks.quality.verdicts import verdicts
from nexus_model.evaluate.metrics import Direction

FOLDER = Path(__file__).parent
_TOLD = "; ".join(f"{name}: {told}" for name, told in SEGMENTS.items())
HEAD = f"""# Quality: NexusFormer beside its opponents on real databases

Written by `python -m benchmarks.quality.report` from `results/*.json`; edit neither.
`make bench-quality` makes all of it. Not part of the tests.

**Validation samples decided**: epochs, boosting's settings, the stack's weight, which opponent is
the best, and every setting of the project files. Test samples were scored once per final
configuration and chose nothing; what one early score of a frozen task changed is told in
[the decision page](../../docs/decisions/0004-real-databases.md).

- Predictors: a constant; the entity's last label and its mean label; LightGBM on the entity's own
  columns (`lightgbm_entity`) and on point-in-time aggregates of every path (`lightgbm_aggregates`);
  `nexusformer`, one training; `nexusformer_ensemble`, trainings that differ in their seed averaged;
  `stack`, that average blended with boosting on aggregates. A predictor of several seeds shows the
  mean of their metrics; `_averaged` is boosting with the seeds' predictions averaged, so that
  averages have averages to beat.
- Intervals are 95 % of {DRAWS} draws of whole days (the calendar day of a sample's cutoff; where
  cutoffs are midnights, the cutoff). Differences are paired: both predictors on the same draws, a
  mean over seeds with a mean over seeds, an average with an average. P(better) is the share of
  draws in which a predictor is better than LightGBM on aggregates.
- For test samples boosting and, where the project says `refit`, NexusFormer were fitted on training
  and validation samples. Validation metrics are of fits that had not seen them.
- Segments: samples by the rows of their own past that the model may see (dated children of the
  entity, label history left out; for an entity without any, the path of its parents with the fewest
  rows), as of the moment the regime allows: {_TOLD}.
  A dash: the metric is not defined for them.
- Seconds include building features. Boosting: features, tuning and all seeds. NexusFormer: one
  training or all of them, each judged on validation first where it was, plus index and tensors,
  which are made once more in another place to time them. The stack: both.
- A regime says what evaluation knows. `seed_time`: all up to a sample's own cutoff. `frozen`: what
  was known when its split began. Figures of the two are not comparable.
- Bars "must" and "aim" are met if `nexusformer` or `nexusformer_ensemble`, without boosting inside,
  reaches them on test.
"""
_UNKNOWN = "-"


def read_results(folder: Path) -> dict[tuple[str, str], list[Result]]:
    """Results by project and regime: rel-f1 first, seed time first, tasks as the bars have them."""
    found: dict[tuple[str, str], list[Result]] = {}
    results = [read_result(file) for file in sorted(folder.glob("*.json"))]
    for result in sorted(results, key=_place):
        found.setdefault((result.project, result.regime), []).append(result)
    return found


def _place(result: Result) -> tuple[bool, str, bool, int, str]:
    known = ("position", "dnf", "top3")
    at = known.index(result.question) if result.question in known else len(known)
    is_first = result.project == "rel_f1"
    return (not is_first, result.project, result.regime != "seed_time", at, result.task)


def shown(value: float) -> str:
    """A metric with the digits that its size deserves; a dash if it is not defined.

    >>> shown(0.83127), shown(2.5), shown(1234567.8), shown(float("nan"))
    ('0.8313', '2.500', '1,234,568', '-')
    """
    if value != value:  # noqa: PLR0124 - nan alone differs from itself
        return _UNKNOWN
    size = abs(value)
    return f"{value:.4f}" if size < 1 else f"{value:.3f}" if size < 1000 else f"{value:,.0f}"


def signed(value: float) -> str:
    """A difference with its sign.

    >>> signed(0.25), signed(-2.5)
    ('+0.2500', '-2.500')
    """
    return f"{'+' * (value > 0)}{shown(value)}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown.

    >>> print(table(["a", "b"], [["1", "2"]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [head, *rows]
    told = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([told[0], "|" + "---|" * len(head), *told[1:]])


def section(results: Sequence[Result]) -> str:
    """Everything about one project and regime."""
    first = results[0]
    parts = [f"## {first.project}, {first.regime}", asked(results), scores(results)]
    parts += ["### Bars", bars(results)]
    if first.project == "rel_f1":
        parts += ["### Published by others, not measured here", published(first.regime)]
    parts += ["### Differences on test", differences(results)]
    parts += ["### Test by history", segments(results)]
    parts += ["### Seconds, wall / CPU", costs(results), provenance(results)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def asked(results: Sequence[Result]) -> str:
    """What each task asks, of how many samples."""
    lines = []
    for result in results:
        better = "higher" if result.direction is Direction.MAX else "lower"
        counts = " / ".join(
            f"{result.counts[split].samples:,} ({result.counts[split].clusters:,} days)"
            for split in ("train", "validation", "test")
        )
        lines.append(
            f"- `{result.question}`: {result.metric}, {better} is better; training / validation / "
            f"test samples {counts}; the stack is {result.weight:.0%} NexusFormer"
        )
    return "\n".join(lines)


def names_of(results: Sequence[Result]) -> list[str]:
    """Predictors that any of the tasks has, in order."""
    found = {name for result in results for name in result.names}
    return [*sorted(found - set(ORDER)), *(name for name in ORDER if name in found)]


def scores(results: Sequence[Result]) -> str:
    """The main table: per predictor and task validation, test with interval, P(better)."""
    head = ["predictor"]
    for result in results:
        head += [f"{result.question}: validation", "test", "interval", "P(better)"]
    rows = []
    for name in names_of(results):
        row = [f"`{name}`"]
        for result in results:
            row += _score(result[name]) if name in result.names else [_UNKNOWN] * 4
        rows.append(row)
    return table(head, rows)


def _score(found: Judged) -> list[str]:
    against = found.against.get(AGGREGATES)
    return [
        shown(found.validation.estimate),
        with_deviation(found.test_seeds),
        f"{shown(found.test.low)} to {shown(found.test.high)}",
        _UNKNOWN if against is None else f"{against.difference.probability_better:.3f}",
    ]


def with_deviation(seeds: Sequence[float]) -> str:
    """The mean over seeds, and their deviation where there are several.

    >>> with_deviation([0.25]), with_deviation([0.25, 0.35])
    ('0.2500', '0.3000 ± 0.0707')
    """
    told = shown(sum(seeds) / len(seeds))
    return told if len(seeds) == 1 else f"{told} ± {shown(stdev(seeds))}"


def bars(results: Sequence[Result]) -> str:
    """Which bars were met."""
    words = {True: "**met**", False: "**not met**", None: "open"}
    rows = [[found.asked, words[found.met], found.told] for found in verdicts(results)]
    return table(["bar", "verdict", "figures"], rows)


def published(regime: str) -> str:
    """What others say they reach on the same test samples, in this regime."""
    rows = []
    for found in PUBLISHED[regime]:
        figures = (found.position, found.dnf, found.top3)
        told = [_UNKNOWN if value is None else shown(value) for value in figures]
        rows.append([found.system, found.source, *told])
    head = ["system", "whose figure", "position, MAE", "dnf, AUROC", "top3, AUROC"]
    note = (
        "Quoted from RelBench's leaderboard (prediction files re-scored by its maintainers), from "
        "papers and vendors themselves, and from RelArena's common harness. Most sources do not "
        "name the regime: it was told from their code.\n"
    )
    return f"{note}\n{table(head, rows)}"


def differences(results: Sequence[Result]) -> str:
    """Each of ours, and boosting, against three opponents."""
    roles = {ENTITY: "less `lightgbm_entity`", AGGREGATES: "less `lightgbm_aggregates`",
             BEST: "less the best opponent"}  # fmt: skip
    rows = []
    for result in results:
        for name in names_of([result]):
            if name.startswith((MODEL, "stack", AGGREGATES)):
                found = [_difference(result[name].against.get(role), role) for role in roles]
                rows.append([result.question, f"`{name}`", *found])
    return table(["task", "predictor", *roles.values()], rows)


def _difference(against: Against | None, role: str) -> str:
    if against is None:
        return _UNKNOWN
    found = against.difference
    told = (
        f"{signed(found.estimate)} ({signed(found.low)} to {signed(found.high)}), "
        f"P {found.probability_better:.3f}"
    )
    return f"{told}; `{against.opponent}`" if role == BEST else told


def segments(results: Sequence[Result]) -> str:
    """Test metric by how much history a sample has."""
    head = ["predictor"]
    for result in results:
        counts = next(iter(result.predictors)).segments
        head += [f"{result.question}: {name} ({counts[name].samples:,})" for name in SEGMENTS]
    rows = []
    for name in names_of(results):
        row = [f"`{name}`"]
        for result in results:
            known = result[name].segments if name in result.names else {}
            row += [shown(known[k].value) if k in known else _UNKNOWN for k in SEGMENTS]
        rows.append(row)
    paths = "; ".join(f"{result.question}: {', '.join(result.history)}" for result in results)
    return table(head, rows) + f"\n\nRows were counted along {paths}."


def costs(results: Sequence[Result]) -> str:
    """What each predictor took, features included."""
    rows = []
    for name in names_of(results):
        spent = [result[name].cost if name in result.names else None for result in results]
        told = [_UNKNOWN if c is None else f"{c.seconds:.1f} / {c.cpu_seconds:.1f}" for c in spent]
        rows.append([f"`{name}`", *told])
    return table(["predictor", *(result.question for result in results)], rows)


def provenance(results: Sequence[Result]) -> str:
    """Trainings, seeds, commands, commits, machines."""
    lines = []
    for result in results:
        seeds = ", ".join(shown(value) for value in result[MODEL].test_seeds)
        epochs = ", ".join(str(training.epochs) for training in result.trainings)
        clean = "" if result.clean else ", with changes that the commit lacks"
        prepared = result.preparation
        lines.append(
            f"- `{result.question}`: test by seed {seeds}; epochs {epochs}; index and tensors "
            f"{prepared.seconds:.1f} / {prepared.cpu_seconds:.1f} s; `{result.command}`, commit "
            f"{result.commit[:12]}{clean}; {result.machine.cpu}, {result.machine.cores} cores"
        )
    return "\n".join(lines)


def write_report(folder: Path) -> str:
    """The whole page."""
    found = read_results(folder)
    if not found:
        return HEAD + "\nNothing was run yet.\n"
    return HEAD + "\n" + "\n".join(section(results) for results in found.values())


if __name__ == "__main__":
    text = write_report(FOLDER / "results").rstrip() + "\n"
    (FOLDER / "README.md").write_text(text, encoding="utf-8")
