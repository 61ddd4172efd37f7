"""What an evaluation found: plain values, from which ``metrics.json`` and the page are made."""

from typing import Self

from pydantic import Field, model_validator

from nexus_model.evaluate.bootstrap import Interval, Number, PairedDifference
from nexus_model.evaluate.calibration import Platt, ReliabilityBin, ResidualTable, Temperature
from nexus_model.evaluate.metrics import Direction
from nexus_model.evaluate.quantiles import LevelShifts
from nexus_model.optimize.report import SizeReport
from nexus_model.schema import Record, TaskSpec
from nexus_pipeline.steps.report_facts import (
    Confusion,
    DataCard,
    Distribution,
    Explanations,
    Ranking,
    Slice,
    Spread,
)

MODEL = "nexusformer"


class Cost(Record):
    """What a prediction cost to make, and what is worth knowing about it."""

    seconds: float | None = None
    cpu_seconds: float | None = None
    note: str = ""


class ModelResult(Record):
    """One model's metrics with intervals, the primary one first."""

    name: str
    cost: Cost = Cost()
    validation: tuple[Interval, ...]
    test: tuple[Interval, ...]


class Comparison(Record):
    """NexusFormer less this baseline, in the primary metric, on the same draws of test rows."""

    baseline: str
    difference: PairedDifference


class SplitFacts(Record):
    """What a split consists of."""

    split: str
    rows: int
    clusters: int
    first: str | None = Field(description="first cutoff; none for a static task")
    last: str | None
    label_mean: Number


class Calibration(Record):
    """Said against happened on test, before and after a correction fitted on validation."""

    bins: tuple[ReliabilityBin, ...]
    corrected_bins: tuple[ReliabilityBin, ...]
    correction: Platt | Temperature
    ece: Number
    corrected_ece: Number


class Residuals(Record):
    """Quantiles of validation residuals, how often they cover test labels, and some test rows."""

    table: ResidualTable
    promised: float
    coverage: Number
    points: tuple[tuple[float, float], ...] = Field(description="(predicted, actual) of test rows")


class LevelShare(Record):
    """Share of test labels at or below a level's quantile, also with the correction."""

    level: float
    below: Number
    corrected_below: Number


class Coverage(Record):
    """What quantiles promise and hold on test, before and after a shift fitted on validation.

    Widths, in the label's units, are those of the outermost pair; none where there is one level.
    """

    levels: tuple[LevelShare, ...]
    correction: LevelShifts
    promised: float
    held: Number
    corrected_held: Number
    width: float | None
    corrected_width: float | None


class CurvePoint(Record):
    """One epoch of training."""

    epoch: int
    loss: float
    score: float
    best: bool = False
    gradient_norm: float | None = None


class Attention(Record):
    """``weights[i][j]``: share of table ``i``'s reading that went to table ``j``."""

    tables: tuple[str, ...]
    weights: tuple[tuple[float, ...], ...]

    @model_validator(mode="after")
    def _is_a_matrix_of_shares(self) -> Self:
        if {len(self.weights), *map(len, self.weights)} != {len(self.tables)}:
            raise ValueError(f"weights must be {len(self.tables)} by {len(self.tables)}")
        if any(min(row) < 0 or sum(row) > 1 + 1e-6 for row in self.weights):
            raise ValueError("each row's weights must be at least 0 and sum to at most 1")
        return self


class Background(Record):
    """What is shown beside the comparison, where it is known."""

    project: str = ""
    curve: tuple[CurvePoint, ...] = ()
    attention: Attention | None = None
    sizes: SizeReport | None = None
    provenance: dict[str, str] = Field(default_factory=dict)
    data: DataCard | None = None
    explanations: Explanations | None = None
    distributions: tuple[Distribution, ...] = ()
    reproduce: str = Field("", description="the command that makes this again")


class EvaluationReport(Record):
    """Every number of an evaluation."""

    version: int = 1
    task: TaskSpec
    metric: str
    direction: Direction
    models: tuple[ModelResult, ...]
    best_baseline: str | None = Field(description="by validation")
    comparisons: tuple[Comparison, ...]
    splits: tuple[SplitFacts, ...]
    calibration: Calibration | None
    residuals: Residuals | None
    coverage: Coverage | None = Field(None, description="of a quantile task")
    background: Background
    ranking: Ranking | None = None
    confusion: Confusion | None = None
    spread: Spread | None = None
    slices: tuple[Slice, ...] = ()

    def __getitem__(self, name: str) -> ModelResult:
        return next(model for model in self.models if model.name == name)

    @property
    def verdict(self) -> PairedDifference | None:
        """NexusFormer against the best baseline."""
        found = (c.difference for c in self.comparisons if c.baseline == self.best_baseline)
        return next(found, None)
