"""NexusConfig: the size of a NexusFormer, how each table is read and how tables talk."""

from typing import Self

from pydantic import Field, model_validator

from nexus_model.encode.choose import TableConfig
from nexus_model.exchange.refine import RefinementConfig
from nexus_model.layers.experts.layer import ExpertsConfig
from nexus_model.layers.feed_forward import FeedForwardConfig
from nexus_model.predict.fusion_kind import FusionKind
from nexus_model.schema import Record


class NexusConfig(Record):
    """Everything but the data that decides the shape of the weights."""

    version: int = 2
    width: int = Field(64, gt=0, multiple_of=8)
    heads: int = Field(4, gt=0)
    summary_tokens: int = Field(2, gt=0, description="state tokens per path")
    parent_hops: int = Field(2, ge=0, description="foreign keys up that a row reads")
    dropout: float = Field(0.1, ge=0, lt=1)
    tables: dict[str, TableConfig] = Field(
        default_factory=dict, description="by table; the standard encoder if unset"
    )
    refinement: RefinementConfig = RefinementConfig()
    experts: ExpertsConfig | None = Field(None, description="in the refinement's feed-forward")
    feed_forward: FeedForwardConfig = Field(
        FeedForwardConfig(), description="of the refinement, where it has no experts"
    )
    fusion: FusionKind = FusionKind.ATTENTION
    cohort: bool = Field(default=False, description="samples asked together read each other")
    head_members: int = Field(1, gt=0, description="heads that answer, most weights shared")
    table_dropout: float = Field(
        0.0, ge=0, lt=1, description="share of samples for which a path's table is left out"
    )

    @model_validator(mode="after")
    def _additive_answers_have_one_head(self) -> Self:
        if self.fusion is FusionKind.ADDITIVE and self.head_members > 1:
            raise ValueError("additive fusion has one linear head: head_members must be 1")
        return self

    def table(self, name: str) -> TableConfig:
        """How a table is read."""
        return self.tables.get(name, TableConfig())
