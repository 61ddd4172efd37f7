"""The first backend that does not refuse, and why the others did."""

from collections.abc import Sequence

from nexus_model.layers.attention.call import AttentionBackend, AttentionCall
from nexus_model.layers.attention.flash import FlashAttention
from nexus_model.layers.attention.reference import ReferenceAttention
from nexus_model.layers.attention.sdpa import SdpaAttention
from nexus_model.layers.attention.varlen import VarlenAttention
from nexus_model.layers.seam import Refusal, first_willing

BACKENDS: tuple[AttentionBackend, ...] = (
    FlashAttention(),
    VarlenAttention(),
    SdpaAttention(),
    ReferenceAttention(),
)


def select(
    call: AttentionCall, backends: Sequence[AttentionBackend] = BACKENDS
) -> tuple[AttentionBackend, list[Refusal]]:
    """Choose a backend.

    Raises:
        ValueError: every backend refused; the message lists their reasons.
    """
    backend, refused = first_willing(backends, call)
    if backend is not None:
        return backend, refused
    told = "; ".join(f"{refusal.backend}: {', '.join(refusal.reasons)}" for refusal in refused)
    raise ValueError(f"no attention backend takes {call}: {told}")


def is_packed(backend: AttentionBackend) -> bool:
    """Whether it reads many histories one after another, none of them padded."""
    return isinstance(backend, FlashAttention | VarlenAttention)


def explain_selection(call: AttentionCall) -> tuple[str, list[Refusal]]:
    """The name of the backend a call gets, and why those before it did not take it.

    >>> import torch
    >>> explain_selection(AttentionCall(torch.float32, "cpu", 16, has_bias=True))[0]
    'sdpa'
    """
    backend, refused = select(call)
    return backend.name, refused
