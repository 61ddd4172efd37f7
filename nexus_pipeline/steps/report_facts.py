"""What a report knows besides scores: the data, rankings, slices, explanations, distributions."""

from pydantic import Field

from nexus_model.evaluate.bootstrap import Interval, Number
from nexus_model.explain.importance import Importance
from nexus_model.explain.interaction import PairInteraction
from nexus_model.schema import Record


class DataTable(Record):
    """One table: rows accepted and kept apart, and the time they span."""

    table: str
    rows: int
    quarantined: int | None = Field(description="none: the table is made, not read")
    columns: int
    first: str | None = None
    last: str | None = None


class DataLink(Record):
    """A foreign key from one table to another."""

    child: str
    parent: str
    columns: str


class DataCard(Record):
    """The database the model learned from; ``entity`` is the table asked about."""

    entity: str
    tables: tuple[DataTable, ...]
    links: tuple[DataLink, ...]


class Line(Record):
    """A curve: who, and its points."""

    name: str
    points: tuple[tuple[float, float], ...]


class Ranking(Record):
    """How well test samples are put in order: ROC, precision by recall, lift by share taken."""

    roc: tuple[Line, ...]
    precision: tuple[Line, ...]
    lift: tuple[Line, ...]
    base_rate: float


class Confusion(Record):
    """``counts[i][j]``: test samples of class ``i`` that are told to be of class ``j``."""

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class Spread(Record):
    """Test residuals, label less prediction, counted in bins."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    mean: float


class Slice(Record):
    """The primary metric on the test samples that have one value of one thing."""

    name: str
    value: str
    found: Interval
    label_mean: Number


class FlowPass(Record):
    """Shares of attention between tables in one cycle."""

    weights: tuple[tuple[float, ...], ...]


class ExplainedRow(Record):
    """One real row: its key, what is said of it, what happened, and why in words."""

    key: str
    which: str
    prediction: float
    label: Number
    reasons: tuple[str, ...]
    score_after_each_cycle: tuple[float, ...]


class Explanations(Record):
    """What tables and columns are worth to the model, on validation samples."""

    importance: Importance | None = None
    pairs: tuple[PairInteraction, ...] = ()
    pairs_asked: bool = False
    tables: tuple[str, ...] = ()
    passes: tuple[FlowPass, ...] = ()
    rows: tuple[ExplainedRow, ...] = ()


class Distribution(Record):
    """Quantiles of a thing over training samples: what later data is compared with."""

    name: str
    quantiles: tuple[float, float, float, float, float] = Field(
        description="5, 25, 50, 75 and 95 of a hundred are below"
    )
