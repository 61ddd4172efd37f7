"""The one vocabulary of column meanings, spoken by every stage."""

from enum import StrEnum


class SemanticType(StrEnum):
    """What a column means to the model, whatever its storage type."""

    NUMERICAL = "numerical"
    CATEGORICAL = "categorical"
    TIMESTAMP = "timestamp"
    TEXT = "text"
