"""The training section of the project file."""

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field

from nexus_model.schema import Record
from nexus_model.train.config import Batches, OptimizerName, Precision, ScheduleName, Strategy


def _auto_is_unset(value: Any) -> Any:
    return None if value == "auto" else value


BatchSize = Annotated[int | None, BeforeValidator(_auto_is_unset)]


class OptimizerConfig(Record):
    """How gradients become steps, and how large the steps are over time."""

    name: OptimizerName = OptimizerName.ADAMW
    lr: float | None = Field(None, gt=0, description="largest rate; the optimiser's own if unset")
    word_rate: float = Field(
        8.0, gt=0, description="factor on the rate of sub-words' vectors, which few texts move"
    )
    weight_decay: float = Field(1e-2, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    schedule: ScheduleName | None = Field(
        None, description="constant for schedule_free, else warmup_cosine, if unset"
    )
    warmup_steps: int = Field(100, ge=0, description="if unset, at most a tenth of all steps")
    decay_share: float = Field(
        0.2, gt=0, le=1, description="of warmup_stable_decay: the last part of all steps"
    )
    plateau_factor: float = Field(0.5, gt=0, lt=1, description="of plateau: on the rate")
    plateau_patience: int = Field(2, gt=0, description="of plateau: epochs without a better score")


class TrainingConfig(Record):
    """How the weights are found."""

    batch_size: BatchSize = Field(
        256,
        gt=0,
        description="samples, fewer down to 16 if unset and an epoch would have fewer than 24 "
        "steps; auto: the most that memory_budget_mb holds",
    )
    batches: Batches = Field(
        Batches.SHUFFLED,
        description="similar: samples with about as many rows share a batch, for less padding",
    )
    memory_budget_mb: float = Field(4096, gt=0, description="of batch_size: auto")
    accumulate: int = Field(1, gt=0, description="batches whose gradients make one step")
    epochs: int = Field(20, gt=0)
    patience: int = Field(4, gt=0, description="epochs without a better validation metric")
    convergence_threshold: float | None = Field(
        None, ge=0, description="stop when an epoch changes the loss less, relative; off if unset"
    )
    gradient_clipping: float = Field(1.0, gt=0, description="largest gradient norm")
    precision: Annotated[Precision, BeforeValidator(str)] = Precision.FULL
    compile: bool = Field(
        default=False, description="trace encoders, exchange and head into one kernel graph each; "
        "for GPUs: the first steps take minutes, and on a CPU small models get slower",
    )  # fmt: skip
    ema_decay: float | None = Field(
        None, gt=0, lt=1, description="validate and keep a moving average of the weights"
    )
    balance_weight: float = Field(1e-2, ge=0, description="of the experts' balance loss")
    z_weight: float = Field(1e-3, ge=0, description="of the experts' z loss")
    optimizer: OptimizerConfig = OptimizerConfig()
    refit: bool = Field(
        default=False,
        description="once the epochs are chosen, train again on all samples before the test; "
        "validation figures stay those of the weights that had not seen them",
    )
    devices: int = Field(
        1, ge=1, description="processes that share each batch: CUDA devices, or without any CPU "
        "processes; the weights are those of one but for rounding and what dropout draws",
    )  # fmt: skip
    strategy: Strategy = Field(
        Strategy.DDP, description="of several devices: each holds the whole model, or (fsdp) a "
        "part of its weights, gradients and moments, for a model too large for one",
    )  # fmt: skip
    seed: int = Field(0, ge=0)

    @property
    def on_one_device(self) -> Self:
        """The same training by one process: what decides the weights, however they are found."""
        one = {"devices": 1, "strategy": Strategy.DDP, "compile": False}
        return self.model_copy(update=one)
