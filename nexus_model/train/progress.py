"""What a training says of its epochs, as plain data; reports read it, and need no torch."""

from pydantic import ConfigDict, Field

from nexus_model.schema import Record
from nexus_model.train.config import TrainingConfig


class EpochReport(Record):
    """One epoch: mean training loss, validation score, and whether it is the best so far."""

    # A score may be NaN, as that of a single class; JSON must give it back.
    model_config = ConfigDict(ser_json_inf_nan="constants")

    epoch: int
    loss: float = Field(description="of the task alone, without what is added to it")
    score: float
    best: bool
    gradient_norm: float = Field(description="the largest, before clipping")
    auxiliary: float = Field(
        0.0, description="mean of what experts, encoders and further tasks add to the loss"
    )
    lr: float = Field(0.0, description="of the last step")
    expert_load: dict[str, tuple[float, ...]] = Field(
        default_factory=dict, description="share of choices per expert in training, by layer"
    )
    load_variation: dict[str, float] = Field(
        default_factory=dict, description="deviation over mean of a layer's load"
    )
    cycles: float | None = Field(None, description="mean refinement cycles used in validation")
    refinement_change: tuple[float, ...] = Field(
        (), description="mean relative change of the state in validation, cycle by cycle"
    )


class Progress(Record):
    """What is told between epochs."""

    model_config = ConfigDict(ser_json_inf_nan="constants")

    next_epoch: int = 0
    step: int = 0
    best_score: float | None = None
    best_epoch: int | None = None
    curve: tuple[EpochReport, ...] = ()

    def stopped(self, config: TrainingConfig) -> str | None:
        """Why training is over, or None."""
        if self.next_epoch >= config.epochs:
            return "all epochs done"
        if self.best_epoch is not None and self.next_epoch - self.best_epoch > config.patience:
            return f"no better score for {config.patience} epochs"
        least = config.convergence_threshold
        if least is not None and self._last_change() < least:
            return f"converged: the last epoch changed the loss by less than {least:g}, relative"
        return None

    def _last_change(self) -> float:
        """Change of the training loss in the last epoch, relative to the one before."""
        if len(self.curve) < 2:
            return float("inf")
        before, now = self.curve[-2].loss, self.curve[-1].loss
        return abs(before - now) / max(abs(before), 1e-300)
