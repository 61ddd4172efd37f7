"""What the model card says that no measurement can, as the project file says it."""

from pydantic import Field

from nexus_model.schema import Record


class CardConfig(Record):
    """Words of the people who answer for the model; nexusflow card refuses empty mandatory ones."""

    intended_use: str = Field("", description="who decides what with it; mandatory")
    limits: str = Field("", description="where it must not be trusted; mandatory")
    ethics: str = Field("", description="who may be harmed, and what was done; mandatory")
    not_for: str = Field("", description="uses that are ruled out")
    owner: str = Field("", description="who answers for it")
