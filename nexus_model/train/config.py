"""How weights are found, as plain data; the project file reads it too, and needs no torch."""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from nexus_model.schema import Record


class OptimizerName(StrEnum):
    """Rules that turn gradients into steps."""

    ADAMW = "adamw"
    SGD = "sgd"
    LION = "lion"
    MUON = "muon"
    SCHEDULE_FREE = "schedule_free"


class ScheduleName(StrEnum):
    """Curves of the learning rate."""

    WARMUP_COSINE = "warmup_cosine"
    WARMUP_STABLE_DECAY = "warmup_stable_decay"
    ONE_CYCLE = "one_cycle"
    CONSTANT = "constant"
    PLATEAU = "plateau"


class Strategy(StrEnum):
    """What several processes hold: each the whole model, or each a part of it."""

    DDP = "ddp"
    FSDP = "fsdp"


class Precision(StrEnum):
    """Of the arithmetic; weights are float32 either way."""

    FULL = "32"
    BF16 = "bf16"


class Batches(StrEnum):
    """Who shares a batch, of samples in random order."""

    SHUFFLED = "shuffled"
    SIMILAR = "similar"


# Largest learning rates that suit each rule; Muon's steps are scaled to be those of AdamW.
USUAL_LR = {
    OptimizerName.ADAMW: 1e-3,
    OptimizerName.SGD: 3e-2,
    OptimizerName.LION: 2e-4,
    OptimizerName.MUON: 1e-3,
    OptimizerName.SCHEDULE_FREE: 3e-3,
}


class TrainingConfig(Record):
    """How the weights are found.

    >>> TrainingConfig(optimizer="lion").peak_lr
    0.0002
    """

    batch_size: int = Field(256, gt=0, description="samples")
    batches: Batches = Field(
        Batches.SHUFFLED,
        description="similar: samples with about as many rows share a batch, for less padding",
    )
    accumulate: int = Field(1, gt=0, description="batches whose gradients make one step")
    epochs: int = Field(20, gt=0)
    patience: int = Field(4, gt=0, description="epochs without a better score")
    convergence_threshold: float | None = Field(
        None, ge=0, description="stop when an epoch changes the loss less, relative; off if unset"
    )
    gradient_clipping: float = Field(1.0, gt=0, description="largest gradient norm")
    optimizer: OptimizerName = OptimizerName.ADAMW
    lr: float | None = Field(None, gt=0, description="largest rate; the optimiser's own if unset")
    word_rate: float = Field(
        8.0, gt=0, description="factor on the rate of sub-words' vectors, which few texts move"
    )
    weight_decay: float = Field(1e-2, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    schedule: ScheduleName | None = Field(
        None, description="constant for schedule_free, else warmup_cosine, if unset"
    )
    warmup_steps: int = Field(100, ge=0)
    decay_share: float = Field(0.2, gt=0, le=1, description="of warmup_stable_decay: last part")
    plateau_factor: float = Field(0.5, gt=0, lt=1, description="of plateau: on the rate")
    plateau_patience: int = Field(2, gt=0, description="of plateau: epochs without a better score")
    ema_decay: float | None = Field(
        None, gt=0, lt=1, description="validate and keep a moving average of the weights"
    )
    precision: Precision = Precision.FULL
    compile: bool = Field(
        default=False, description="trace encoders, exchange and head into one kernel graph each"
    )
    balance_weight: float = Field(1e-2, ge=0, description="of the experts' balance loss")
    z_weight: float = Field(1e-3, ge=0, description="of the experts' z loss")
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _averages_once(self) -> Self:
        if self.optimizer is OptimizerName.SCHEDULE_FREE and self.ema_decay is not None:
            raise ValueError("schedule_free averages the weights itself: leave ema_decay unset")
        return self

    @property
    def peak_lr(self) -> float:
        """The largest learning rate."""
        return USUAL_LR[self.optimizer] if self.lr is None else self.lr

    @property
    def curve(self) -> ScheduleName:
        """The schedule that is followed."""
        if self.schedule is not None:
            return self.schedule
        if self.optimizer is OptimizerName.SCHEDULE_FREE:
            return ScheduleName.CONSTANT
        return ScheduleName.WARMUP_COSINE

    @property
    def step_samples(self) -> int:
        """Samples of one step."""
        return self.batch_size * self.accumulate
