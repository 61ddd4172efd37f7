"""The ensemble section of the project file."""

from typing import Self

from pydantic import Field, model_validator

from nexus_model.schema import Record


class EnsembleConfig(Record):
    """Trainings of one model that differ in their seed, averaged; and boosting beside them."""

    seeds: int = Field(5, gt=0, description="trainings whose predictions are averaged")
    judged_seeds: int = Field(
        2,
        gt=0,
        description="of them, trainings that are judged on validation samples first: they "
        "choose the epochs of all and the weights of the stack",
    )

    @model_validator(mode="after")
    def _judges_are_members(self) -> Self:
        if self.judged_seeds > self.seeds:
            raise ValueError(
                f"judged_seeds ({self.judged_seeds}) must not be more than seeds ({self.seeds})"
            )
        return self
