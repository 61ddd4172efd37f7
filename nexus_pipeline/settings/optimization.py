"""The optimization section of the project file."""

from enum import StrEnum
from typing import Annotated, Self, assert_never

from pydantic import Field, model_validator

from nexus_model.optimize.methods import (
    Criterion,
    Distil,
    Finetune,
    Int4,
    Int8,
    Method,
    Methods,
    Structured,
    Unstructured,
)
from nexus_model.schema import Record
from nexus_pipeline.settings.names import Parted


class StageName(StrEnum):
    """Steps that make a model smaller."""

    PRUNE = "prune"
    CUT = "cut"
    FINETUNE = "finetune"
    DISTIL = "distil"
    QUANTIZE = "quantize"
    QUANTIZE_INT4 = "quantize_int4"


class OptimizationConfig(Record):
    """How a trained model is made smaller, and what that may cost on validation samples."""

    stages: Annotated[tuple[StageName, ...], Parted] = Field(
        (StageName.PRUNE, StageName.FINETUNE, StageName.QUANTIZE),
        description="`prune` sets weights to zero, `cut` removes channels and neurons, `finetune` "
        "trains on, `distil` teaches a small model, `quantize` stores INT8, `quantize_int4` INT4; "
        "in this order, up to the last that passes",
    )
    largest_loss: float = Field(
        0.005,
        ge=0,
        description="of the metric after any stage, against the trained model; a share of it for "
        "errors",
    )
    target_size_mb: float | None = Field(
        None, gt=0, description="instead of the stages, the first known form whose file fits"
    )
    amount: float = Field(0.3, gt=0, lt=1, description="of prune and cut: the share that goes")
    criterion: Criterion = Field(Criterion.WANDA, description="of prune: which weights go")
    epochs: int = Field(2, gt=0, description="of finetune")
    student_share: float = Field(
        0.1, gt=0, lt=1, description="of distil: parameters at most, of the model's"
    )
    student_epochs: int = Field(20, gt=0, description="of distil")

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not self.stages:
            raise ValueError("stages must not be empty: leave the section out instead")
        return self

    def methods(self) -> Methods:
        """The stages as methods."""
        return tuple(self._method(stage) for stage in self.stages)

    def _method(self, stage: StageName) -> Method:
        allowed = self.largest_loss
        match stage:
            case StageName.PRUNE:
                return Unstructured(
                    amount=self.amount, criterion=self.criterion, largest_loss=allowed
                )
            case StageName.CUT:
                return Structured(amount=self.amount, largest_loss=allowed)
            case StageName.FINETUNE:
                return Finetune(epochs=self.epochs, largest_loss=allowed)
            case StageName.DISTIL:
                return Distil(
                    share=self.student_share, epochs=self.student_epochs, largest_loss=allowed
                )
            case StageName.QUANTIZE:
                return Int8(largest_loss=allowed)
            case StageName.QUANTIZE_INT4:
                return Int4(largest_loss=allowed)
            case _ as unreachable:
                assert_never(unreachable)
