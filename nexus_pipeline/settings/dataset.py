"""One table of the project file: how it is read, keyed and encoded."""

import re
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from nexus_model.schema import Record
from nexus_pipeline.settings.names import Names, Parted, plain_name, stem

ENCODER_KEYS = frozenset(
    {
        "transformer_type", "complexity", "embed_dim", "heads", "blocks", "numerical_embedding",
        "use_moe", "num_experts", "gradient_checkpointing", "context_weight", "num_decision_steps",
        "feature_selection", "sequence_model", "pattern", "position",
    }
)  # fmt: skip
TABNET_KEYS = ("num_decision_steps", "feature_selection")
TIME_SERIES_KEYS = ("sequence_model", "pattern", "position")


class OrphanPolicy(StrEnum):
    """What happens to a row whose foreign key names no row of the referenced table."""

    KEEP = "keep"
    DROP = "drop"
    ERROR = "error"


class Complexity(StrEnum):
    """Width, heads and blocks of an encoder at once."""

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


class ForeignKeyConfig(Record):
    """``columns`` of this table name a row of ``references_table``."""

    columns: Names
    references_table: str
    references_columns: Names = Field((), description="its primary key if unset")

    @field_validator("references_table")
    @classmethod
    def _stem(cls, value: str) -> str:
        return stem(value)


class DatasetConfig(Record):
    """One raw table and how it is read, keyed and encoded."""

    name: str = Field(description="table name; a file name such as customers.csv gives its stem")
    path: str | None = Field(None, description="CSV or Parquet; data/raw/<project>/<name> if unset")
    primary_key: Names = Field((), description="columns whose values name one row")
    foreign_keys: tuple[ForeignKeyConfig, ...] = ()
    time_column: str | None = Field(None, description="when a row becomes known")
    transformer_type: str = Field(
        "standard",
        description="encoder of the rows: standard, mlp, ft_transformer, tabnet, timeseries, text, "
        "or a registered one of your own",
    )
    complexity: Complexity | None = Field(
        None, description="width, heads, blocks: 128, 2, 1 or 256, 4, 2 or 512, 8, 3"
    )
    embed_dim: int | None = Field(None, gt=0, multiple_of=8, description="the encoder's own width")
    heads: int | None = Field(None, gt=0, description="attention heads of the encoder")
    blocks: int | None = Field(None, gt=0, description="blocks of the encoder")
    numerical_embedding: Literal["plain", "periodic", "piecewise"] = Field(
        "plain", description="how a number becomes a vector"
    )
    use_moe: bool | None = Field(
        None, description="experts in this encoder; architecture's if unset"
    )
    num_experts: int | None = Field(None, ge=2, description="architecture's if unset")
    gradient_checkpointing: bool = Field(
        default=False, description="less memory in training, more time"
    )
    context_weight: float = Field(
        1.0, ge=0, description="how much other tables attend to this one; 0 is never"
    )
    num_decision_steps: int | None = Field(None, ge=1, le=16, description="of tabnet; 4 if unset")
    feature_selection: bool | None = Field(None, description="masks of tabnet; true if unset")
    sequence_model: Literal["attention", "ssm", "selective", "hybrid"] | None = Field(
        None, description="of timeseries; attention if unset"
    )
    pattern: Annotated[tuple[Literal["attn", "ssm", "selective"], ...], Parted] = Field(
        (), description="of a hybrid timeseries, such as ssm,ssm,attn"
    )
    position: Literal["none", "sinusoidal", "learned", "rotary", "alibi", "bucketed"] | None = (
        Field(None, description="of timeseries attention; alibi in time if unset")
    )
    categorical_columns: Names = Field((), description="said here, not inferred")
    numerical_columns: Names = Field((), description="said here, not inferred")
    text_columns: Names = Field((), description="said here, not inferred")
    sentence_vectors: bool = Field(
        default=True,
        description="false: sub-words read its texts, whatever text_model says",
    )
    timestamp_columns: Names = Field((), description="said here, not inferred")
    ignore_columns: Names = Field((), description="the model does not read them")
    on_orphan: OrphanPolicy = Field(
        OrphanPolicy.KEEP, description="a row whose foreign key names no row of the other table"
    )
    max_rows: int | None = Field(None, gt=0, description="newest rows of this table a sample sees")

    @property
    def table(self) -> str:
        """The table's name: the dataset's name without a file suffix."""
        return (
            self.name.removesuffix(".gz")
            .removesuffix(".zip")
            .removesuffix(".csv")
            .removesuffix(".parquet")
        )

    def encoder_settings(self) -> dict[str, Any]:
        """What decides how the model reads the table, as plain data."""
        return self.model_dump(mode="json", include=set(ENCODER_KEYS))

    @model_validator(mode="after")
    def _the_name_can_be_an_assets(self) -> Self:
        if not re.fullmatch(r"[A-Za-z0-9_]+", self.table):
            raise ValueError(
                f"a table's name has letters, digits and _ alone, got {self.table!r}; write "
                f"name: {plain_name(self.table)} and path: {self.name}"
            )
        return self

    @model_validator(mode="after")
    def _keys_fit_the_encoder(self) -> Self:
        for kind, keys in (("tabnet", TABNET_KEYS), ("timeseries", TIME_SERIES_KEYS)):
            given = [key for key in keys if getattr(self, key) not in {None, ()}]
            if given and self.transformer_type != kind:
                raise ValueError(
                    f"{given[0]} belongs to transformer_type {kind}, got {self.transformer_type}"
                )
        if bool(self.pattern) != (self.sequence_model == "hybrid"):
            raise ValueError("pattern and sequence_model: hybrid belong together")
        if self.num_experts and self.use_moe is False:
            raise ValueError("num_experts needs use_moe: true")
        return self
