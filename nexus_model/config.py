"""NexusConfig: the size of a NexusFormer and the encoder of each table."""

from pydantic import Field

from nexus_model.encode.choose import EncoderConfig, StandardConfig
from nexus_model.schema import Record


class NexusConfig(Record):
    """Everything but the data that decides the shape of the weights."""

    version: int = 1
    width: int = Field(64, gt=0, multiple_of=8)
    heads: int = Field(4, gt=0)
    cycles: int = Field(2, ge=0, description="refinement cycles")
    summary_tokens: int = Field(2, gt=0, description="state tokens per path")
    parent_hops: int = Field(2, ge=0, description="foreign keys up that a row reads")
    dropout: float = Field(0.1, ge=0, lt=1)
    encoders: dict[str, EncoderConfig] = Field(
        default_factory=dict, description="by table; standard if unset"
    )

    def encoder(self, table: str) -> EncoderConfig:
        """The encoder of a table."""
        return self.encoders.get(table, StandardConfig())
