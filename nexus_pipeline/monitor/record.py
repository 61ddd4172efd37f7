"""What monitoring finds of one day, as data: the page, the metrics and the summary are made of it.

Numbers are as measured; ``moved`` is the decision.
"""

from enum import StrEnum
from typing import Final, Literal

from pydantic import Field

from nexus_model.evaluate.bootstrap import Interval, Number
from nexus_model.schema import Record

Part = Literal["input", "prediction", "label"]
INPUT: Final = "input"
PREDICTION: Final = "prediction"
LABEL: Final = "label"


class Measure(StrEnum):
    """What was tested; ``size`` of a finding is in its units."""

    NUMBERS = "ks"
    CATEGORIES = "cramers_v"
    MISSING = "missing"
    CLASSIFIER = "classifier_auroc"
    VOLUME = "volume"
    NOVELTY = "novelty"


class Distribution(Record):
    """Rows by bin on either side; the last bin is that of missing values."""

    names: tuple[str, ...]
    reference: tuple[int, ...]
    current: tuple[int, ...]


class Finding(Record):
    """One test. It has moved if a size is over its bound and the corrected p-value under alpha.

    ``column`` is empty for what is about a whole table; ``unseen`` is the share of rows whose
    category the reference lacks; ``by`` are columns a classifier used most.
    """

    part: Part
    table: str
    column: str
    measure: Measure
    size: Number
    bound: float
    psi: Number | None = None
    psi_bound: float | None = None
    p: float
    corrected: float = 1.0
    moved: bool = False
    reference_rows: int
    current_rows: int
    unseen: float | None = None
    low: Number | None = None
    high: Number | None = None
    by: tuple[str, ...] = ()
    distribution: Distribution | None = None

    @property
    def name(self) -> str:
        """``table.column``, or the table alone."""
        return f"{self.table}.{self.column}" if self.column else self.table

    @property
    def is_far(self) -> bool:
        """Whether a size is over its bound, whatever the p-value."""
        own = abs(self.size)
        if self.measure is Measure.VOLUME:
            return own > self.bound or own < 1 / self.bound
        over_psi = self.psi is not None and self.psi_bound is not None and self.psi > self.psi_bound
        return own > self.bound or over_psi


class LiveMetric(Record):
    """How good the predictions of a day were, now that its labels are there."""

    day: str
    champion: str
    found: Interval


class Novelty(Record):
    """Entities by how far they are from the nearest that training knew."""

    entities: int
    known: int = Field(description="training entities compared with")
    share: float = Field(description="farther out than 99 % of training's own")
    examples: tuple[tuple[str, float], ...] = Field(description="the farthest, and their quantiles")


class DriftReport(Record):
    """One day of one task."""

    version: int = 1
    project: str
    task: str
    day: str
    champion: str
    data_version: str
    reference: str = Field(description="what is compared with, in words")
    window: str = Field(description="what is compared, in words")
    alpha: float
    findings: tuple[Finding, ...]
    live: tuple[LiveMetric, ...] = ()
    expected: Interval | None = Field(None, description="of the champion on test samples")
    live_bound: float = 0.1
    live_fell: bool = False
    novelty: Novelty | None = None
    notes: tuple[str, ...] = ()

    @property
    def moved(self) -> tuple[Finding, ...]:
        """What moved, in the order it is told: single columns first, then by size over bound."""
        found = [finding for finding in self.findings if finding.moved]
        return tuple(sorted(found, key=lambda one: (not one.column, -_excess(one), one.name)))

    @property
    def moved_columns(self) -> tuple[str, ...]:
        """Names of the columns that moved, each once; predictions and labels are columns too."""
        return tuple(dict.fromkeys(one.name for one in self.moved if one.column))

    @property
    def alarm(self) -> bool:
        """Whether anything moved, or the live metric fell."""
        return bool(self.moved) or self.live_fell


def _excess(one: Finding) -> float:
    sizes = [abs(one.size) / one.bound]
    if one.psi is not None and one.psi_bound:
        sizes.append(one.psi / one.psi_bound)
    return max(sizes)


def told(report: DriftReport) -> str:
    """One sentence that names what moved."""
    when = f" by {report.day}" if report.day else ""
    columns = [f"{one}" for one in report.moved_columns]
    whole = list(dict.fromkeys(_whole(one) for one in report.moved if not one.column))
    if report.live_fell:
        whole.append("the live metric fell")
    if not columns and not whole:
        return f"Nothing moved{when}: {len(report.findings)} tests, none over its bound for sure."
    said = f"{', '.join(columns)} moved{when}" if columns else f"No single column moved{when}"
    return f"{said}; {', '.join(whole)}." if whole else f"{said}."


def _whole(one: Finding) -> str:
    match one.measure:
        case Measure.VOLUME:
            return f"{one.table} has {one.size:.2g} times as many rows a day"
        case Measure.NOVELTY:
            return f"{one.size:.0%} of entities are unlike any known"
        case _:
            return f"rows of {one.table} can be told from former ones"
