"""Ways to make a model smaller, as data: a closed union, and how much each may cost.

``largest_loss`` is what the task's metric may lose against the model before the first step: as it
is for metrics where more is better, as a share of the metric for errors.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter

from nexus_model.schema import Record


class Criterion(StrEnum):
    """What decides which weights go; the last is what the others must beat."""

    MAGNITUDE = "magnitude"
    MOVEMENT = "movement"
    WANDA = "wanda"
    RANDOM = "random"

    @property
    def needs_samples(self) -> bool:
        """Whether it looks at what the model computes."""
        return self in (Criterion.MOVEMENT, Criterion.WANDA)


class _Step(Record):
    largest_loss: float = Field(0.005, ge=0, description="of the metric, or the step is not taken")


class Int8(_Step):
    """Matrices as INT8, a scale per row."""

    kind: Literal["int8"] = "int8"


class Int4(_Step):
    """Matrices as INT4, a scale per 32 columns of a row."""

    kind: Literal["int4"] = "int4"


class Unstructured(_Step):
    """Weights that count least become zero and are stored as bits."""

    kind: Literal["unstructured"] = "unstructured"
    amount: float = Field(0.3, gt=0, lt=1, description="share of the weights that become zero")
    criterion: Criterion = Criterion.MAGNITUDE


class Structured(_Step):
    """Channels, neurons and experts that count least are cut out."""

    kind: Literal["structured"] = "structured"
    amount: float = Field(0.3, gt=0, lt=1, description="share of the parameters that are cut")


class Finetune(_Step):
    """Trained on, if that helps on validation samples; weights that were pruned stay zero."""

    kind: Literal["finetune"] = "finetune"
    epochs: int = Field(2, gt=0)
    lr: float = Field(3e-4, gt=0)


class Distil(_Step):
    """A small model learns from the labels and from what the model answers."""

    kind: Literal["distil"] = "distil"
    share: float = Field(0.1, gt=0, lt=1, description="parameters at most, of the model's")
    epochs: int = Field(20, gt=0)
    lr: float = Field(3e-3, gt=0)
    teacher: float = Field(0.8, ge=0, le=1, description="weight of the model's answers")


_SHORT = {"prune": "unstructured", "quantize": "int8", "quantization": "int8"}


def _spelled_out(value: Any) -> Any:
    return {"kind": _SHORT.get(value, value)} if isinstance(value, str) else value


Method = Annotated[
    Annotated[
        Int8 | Int4 | Unstructured | Structured | Finetune | Distil, Field(discriminator="kind")
    ],
    BeforeValidator(_spelled_out),
]
Methods = tuple[Method, ...]

# From the least loss expected to the most; each is begun anew from the model as it was trained.
LADDER: tuple[Methods, ...] = (
    (Int8(),),
    (Int4(),),
    (Unstructured(amount=0.5), Finetune(), Int4()),
    (Distil(), Int8()),
    (Distil(), Int4()),
)


def method_of(said: Any) -> Method:
    """A method from its name or its keys.

    >>> method_of("prune").amount, method_of({"kind": "unstructured", "amount": 0.5}).amount
    (0.3, 0.5)
    """
    found: Method = TypeAdapter(Method).validate_python(said)
    return found
