"""The model section of the project file."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nexus_model.predict.fusion_kind import FusionKind
from nexus_model.schema import Record
from nexus_pipeline.settings.names import Parted


class RelationName(StrEnum):
    """Ways for tables to tell each other things."""

    CROSS_CONTEXTUAL = "cross_contextual"
    COMMNET = "commnet"
    SAGE = "sage"
    GATV2 = "gatv2"
    GPS = "gps"


class ArchitectureConfig(Record):
    """The NexusFormer's size and how its tables talk."""

    global_embed_dim: int = Field(64, gt=0, multiple_of=8)
    heads: int = Field(4, gt=0)
    encoder_blocks: int = Field(1, gt=0)
    summary_tokens: int = Field(2, gt=0, description="state tokens per table")
    dropout: float = Field(0.1, ge=0, lt=1)
    table_dropout: float = Field(
        0.0, ge=0, lt=1, description="share of samples trained without a table"
    )
    refinement_iterations: int = Field(2, ge=0, le=16)
    share_refinement_weights: bool = Field(default=True, description="one block for all iterations")
    recycle_sampling: bool = Field(
        default=False, description="train with a random number of iterations"
    )
    convergence_threshold: float | None = Field(
        None, gt=0, description="a sample stops refining when it changes less, relative"
    )
    parent_hops: int = Field(2, ge=0, le=8, description="foreign keys up that a row reads")
    cross_attention: bool = Field(default=True, description="false: tables meet in the fusion only")
    relation: Annotated[tuple[RelationName, ...], Parted] = Field(
        (RelationName.CROSS_CONTEXTUAL,), min_length=1, description="operators of one iteration"
    )
    top_k_contexts: int | None = Field(
        None, gt=0, description="other tables a table attends to, per sample; all if unset"
    )
    pair_dim: int = Field(0, ge=0, description="width of the table-pair track; 0 is none")
    fusion: FusionKind = Field(FusionKind.ATTENTION, description="how tables become one answer")
    cohort_attention: bool = Field(
        default=False,
        description="those asked at one cutoff read each other, and are asked together",
    )
    head_members: int = Field(1, gt=0, description="heads that answer, most weights shared")
    activation: Literal["swiglu", "geglu", "reglu", "gelu", "relu", "silu", "tanh", "sigmoid"] = (
        Field("swiglu", description="of every feed-forward block")
    )
    norm: Literal["layer", "rms", "group"] = Field(
        "layer", description="before every feed-forward block"
    )
    initialiser: Literal[
        "default",
        "kaiming_uniform",
        "kaiming_normal",
        "xavier_uniform",
        "xavier_normal",
        "truncated_normal",
    ] = Field("default", description="of every feed-forward block's first matrix")
    stochastic_depth: float = Field(
        0.0, ge=0, lt=1, description="share of samples that skip a block in training"
    )
    use_moe: bool = Field(default=False, description="experts in every encoder and the refinement")
    num_experts: int = Field(6, ge=2)
    experts_per_token: int = Field(2, ge=1)

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if self.fusion is FusionKind.ADDITIVE and self.head_members > 1:
            raise ValueError("fusion additive has one linear head: head_members must be 1")
        kinds = (self.activation, self.norm, self.initialiser, self.stochastic_depth)
        if self.use_moe and kinds != ("swiglu", "layer", "default", 0.0):
            raise ValueError("use_moe: experts take no activation, norm or stochastic_depth")
        if self.use_moe and self.experts_per_token > self.num_experts:
            raise ValueError(
                f"experts_per_token must be at most num_experts, got {self.experts_per_token}"
            )
        if self.top_k_contexts and RelationName.CROSS_CONTEXTUAL not in self.relation:
            raise ValueError("top_k_contexts needs relation cross_contextual")
        return self
