"""The gate section of the project file."""

from pydantic import Field

from nexus_model.schema import Record


class GateConfig(Record):
    """What a new version must show on validation samples to become champion.

    It must always be better than what is known of an entity without any model, and not worse than
    the champion.
    """

    margin: float = Field(
        0.0, ge=0, description="how much better than the champion, in the task's metric"
    )
    minimum: float | None = Field(
        None, description="the least score, or where less is better the largest; none if unset"
    )
    slice_loss: float | None = Field(
        None,
        ge=0,
        description="how much worse than the champion in any slice of at least 100 samples; "
        "slices are not looked at if unset",
    )
    calibration_error: float | None = Field(
        None,
        gt=0,
        le=1,
        description="the largest expected calibration error of probabilities, or coverage error of "
        "quantiles; not looked at if unset",
    )
