"""What the tokenizer learned, as data: one record per column, JSON in and out."""

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, Tag, model_validator

from nexus_model.schema import Record
from nexus_model.tokenize.subwords import Subwords


class NumericalScaling(StrEnum):
    """How a number becomes a model input."""

    STANDARD = "standard"
    QUANTILE = "quantile"


class NumericalColumn(Record):
    """Mean and standard deviation of the fitted rows; ``knots`` are quantiles when asked for.

    ``edges`` bound bins of the fitted rows, in scaled units; fewer than two if the column has no
    spread.
    """

    name: str
    mean: float
    std: float = Field(gt=0)
    knots: tuple[float, ...] = ()
    edges: tuple[float, ...] = ()


class CategoricalColumn(Record):
    """Vocabulary of the fitted rows; id 0 is missing, 1 unknown, then the values in order."""

    name: str
    vocabulary: tuple[str, ...]

    @property
    def size(self) -> int:
        """Number of ids."""
        return len(self.vocabulary) + 2


class TemporalColumn(Record):
    """Years between a timestamp and its row's time (or 2000 if the table has none), scaled."""

    name: str
    mean: float
    std: float = Field(gt=0)


class TextColumn(Record):
    """Sub-words learned from the column's fitted rows: ``length`` ids per cell; id 0 is padding."""

    name: str
    length: int = Field(32, gt=0)
    subwords: Subwords

    @property
    def vocabulary(self) -> int:
        """Number of ids, padding included."""
        return self.subwords.size


class SentenceColumn(Record):
    """Vectors of ``width`` numbers, given by the sentence model whose files have this SHA-256."""

    name: str
    width: int = Field(gt=0)
    model_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


def _how_read(column: Any) -> str:
    if isinstance(column, dict):
        return "sentences" if "model_sha256" in column else "subwords"
    return "sentences" if isinstance(column, SentenceColumn) else "subwords"


# How a text column is read; files that knew sub-words alone stay as they are.
TextReading = Annotated[
    Annotated[TextColumn, Tag("subwords")] | Annotated[SentenceColumn, Tag("sentences")],
    Discriminator(_how_read),
]


class TableTokenizer(Record):
    """Everything needed to turn a table's rows into tensors."""

    table: str
    timed: bool
    numerical: tuple[NumericalColumn, ...] = ()
    categorical: tuple[CategoricalColumn, ...] = ()
    temporal: tuple[TemporalColumn, ...] = ()
    text: tuple[TextReading, ...] = ()
    parents: tuple[str, ...] = Field((), description="referenced table of each foreign key")

    @model_validator(mode="after")
    def _texts_are_read_alike(self) -> Self:
        models = {(column.model_sha256, column.width) for column in self.sentence_columns}
        if len(models) > 1 or (models and self.subword_columns):
            raise ValueError(f"all texts of table {self.table} must be read in one way")
        return self

    @property
    def subword_columns(self) -> tuple[TextColumn, ...]:
        """Texts that are sub-words: all of the table's, or none."""
        return tuple(column for column in self.text if isinstance(column, TextColumn))

    @property
    def sentence_columns(self) -> tuple[SentenceColumn, ...]:
        """Texts that are vectors of a sentence model: all of the table's, or none."""
        return tuple(column for column in self.text if isinstance(column, SentenceColumn))


class LabelScale(Record):
    """Centre and spread of the training labels; (0, 1) unless the task is a regression."""

    center: float = 0.0
    spread: float = Field(1.0, gt=0)


class Tokenizer(Record):
    """Tokenizers of all tables, the scale of the label and of the entity's own ages."""

    tables: tuple[TableTokenizer, ...]
    label: LabelScale = LabelScale()
    entity_table: str
    entity_ages: tuple[TemporalColumn, ...] = ()
    dated: bool = Field(description="samples have cutoffs")
    stale: bool = Field(default=False, description="some samples' data is older than their cutoff")

    def __getitem__(self, table: str) -> TableTokenizer:
        return next(fitted for fitted in self.tables if fitted.table == table)

    @property
    def clock_width(self) -> int:
        """Features of a sample's own clock: season of the cutoff, staleness, ages of the entity."""
        return 2 + 2 * self.stale + 2 * len(self.entity_ages) if self.dated else 0
