"""Record: the frozen, strict base of every plain-data value that is stored as JSON."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """An immutable value that refuses unknown fields and round-trips through JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")
