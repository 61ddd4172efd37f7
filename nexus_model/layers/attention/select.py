"""The first backend that does not refuse, and why the others did."""

from collections.abc import Sequence

from nexus_model.layers.attention.call import AttentionBackend, AttentionCall, Refusal
from nexus_model.layers.attention.reference import ReferenceAttention
from nexus_model.layers.attention.sdpa import SdpaAttention

BACKENDS: tuple[AttentionBackend, ...] = (SdpaAttention(), ReferenceAttention())


def select(
    call: AttentionCall, backends: Sequence[AttentionBackend] = BACKENDS
) -> tuple[AttentionBackend, list[Refusal]]:
    """Choose a backend.

    Raises:
        ValueError: every backend refused; the message lists their reasons.
    """
    refused: list[Refusal] = []
    for backend in backends:
        reasons = backend.refusals(call)
        if not reasons:
            return backend, refused
        refused.append(Refusal(backend.name, reasons))
    told = "; ".join(f"{refusal.backend}: {', '.join(refusal.reasons)}" for refusal in refused)
    raise ValueError(f"no attention backend takes {call}: {told}")
