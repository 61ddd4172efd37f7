"""Errors in bfloat16 against float64, beside those of the plain cast.

Exact is the formula in float64. The plain cast is the formula with weights and inputs in bfloat16
throughout; ours is what training does: the chosen attention backend and product of experts, and
autocast around float32 weights. An error is the norm of the difference over the norm of the exact.
"""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.gpu.device import FUSED, bf16, device, versions, without
from benchmarks.speed.case import Case, Facts, Figure, Part, Size

FORWARD, BACKWARD = 2.0, 3.0
ROWS: dict[Size, int] = {"small": 64, "full": 1024}
WIDTH, HEADS = 64, 2


def attention(size: Size) -> dict[str, Any]:
    """Outputs and gradients of one call with padding."""
    import torch

    from nexus_model.layers.attention.call import AttentionCall
    from nexus_model.layers.attention.keep import Padding
    from nexus_model.layers.attention.reference import ReferenceAttention
    from nexus_model.layers.attention.select import select

    torch.manual_seed(0)
    rows, place = ROWS[size], device()
    qkv = torch.randn(3, 2, HEADS, rows, WIDTH, dtype=torch.float64, device=place)
    there_BL = torch.arange(rows, device=place) < torch.tensor([[rows], [rows // 2]], device=place)
    call = AttentionCall(torch.bfloat16, place.type, WIDTH, has_bias=False, mask="padding")
    chosen = select(call)[0]

    def asked(backend: Any, kind: Any) -> list[Any]:
        leaves = [part.to(kind).requires_grad_() for part in qkv]
        found = backend.attend(*leaves, Padding(there_BL, there_BL))
        return [found, *torch.autograd.grad(found.double().square().sum(), leaves)]

    return {
        "exact": asked(ReferenceAttention(), torch.float64),
        "plain": asked(ReferenceAttention(), torch.bfloat16),
        "ours": asked(chosen, torch.bfloat16),
        "backend": chosen.name,
    }


def of_module(module: Any, *inputs: Any) -> dict[str, Any]:
    """Outputs and gradients of a module three times: in float64, cast plainly, as trained."""
    import torch

    torch.manual_seed(1)
    with torch.no_grad():
        for weight in module.parameters():
            if not weight.any():
                weight.normal_(std=weight.shape[-1] ** -0.5)

    def asked(kind: Any) -> list[Any]:
        own = copy.deepcopy(module).to(device(), kind)
        given = [
            part.to(device(), kind) if part.is_floating_point() else part.to(device())
            for part in inputs
        ]
        found = own(*given)
        return [found, *torch.autograd.grad(found.double().square().sum(), [*own.parameters()])]

    with without(*FUSED, "grouped"):
        exact, plain = asked(torch.float64), asked(torch.bfloat16)
    with bf16():
        return {"exact": exact, "plain": plain, "ours": asked(torch.float32)}


def history(size: Size) -> dict[str, Any]:
    """A history encoder of two blocks."""
    import torch

    from nexus_model.encode.time_series import TimeSeriesConfig, TimeSeriesEncoder
    from nexus_model.layers.positions.rotary import RotaryConfig

    torch.manual_seed(0)
    config = TimeSeriesConfig(heads=HEADS, blocks=2, position=RotaryConfig())
    rows_BLD, age_BL = torch.randn(4, ROWS[size], WIDTH), torch.rand(4, ROWS[size]) * 900
    # Ages that bfloat16 has too, so that no input is another one.
    age_BL = age_BL.sort(dim=1, descending=True).values.bfloat16().float()
    keep_BL = torch.arange(ROWS[size]) < torch.tensor([[1], [5], [ROWS[size] // 2], [ROWS[size]]])
    return of_module(TimeSeriesEncoder(WIDTH, config, 0.0), rows_BLD, age_BL, keep_BL)


def cells(size: Size) -> dict[str, Any]:
    """An FT-Transformer of two blocks over rows of seven cells."""
    import torch

    from nexus_model.encode.ft_transformer import FTTransformerEncoder

    torch.manual_seed(0)
    return of_module(FTTransformerEncoder(WIDTH, HEADS, 2, 0.0), torch.randn(ROWS[size], 7, WIDTH))


def experts(size: Size) -> dict[str, Any]:
    """Eight experts, all of them chosen: which are is then the same in any floats."""
    import torch

    from nexus_model.layers.experts.layer import ExpertsConfig, MixtureOfExperts

    torch.manual_seed(0)
    layer = MixtureOfExperts(WIDTH, 2 * WIDTH, ExpertsConfig(experts=8, chosen=8))
    return of_module(layer, torch.randn(ROWS[size], WIDTH))


def error(found: list[Any], exact: list[Any]) -> float:
    """Norm of the difference over the norm of the exact, of all tensors together."""
    import torch

    apart = torch.stack(
        [(one.double() - other).detach().norm() for one, other in zip(found, exact, strict=True)]
    )
    whole = torch.stack([other.detach().norm() for other in exact])
    return float(apart.norm() / whole.norm())


def part(asked: Callable[[Size], dict[str, Any]]) -> Part:
    """Errors of ours and of the plain cast, forward and of the gradients."""

    def run(folder: Path, size: Size) -> Facts:  # noqa: ARG001 - parts are called alike
        told = asked(size)
        exact, plain, ours = (told.pop(name) for name in ("exact", "plain", "ours"))
        return told | {
            "forward": error(ours[:1], exact[:1]),
            "forward_of_cast": error(plain[:1], exact[:1]),
            "gradients": error(ours[1:], exact[1:]),
            "gradients_of_cast": error(plain[1:], exact[1:]),
            "versions": versions(),
        }

    return run


def judged(parts: Mapping[str, Facts], by: str) -> list[Figure]:  # noqa: ARG001 - no time
    """Twice the cast's error forward, three times that of the gradients."""
    return [
        Figure(
            f"error of {name}, {which}", facts[which], facts[f"{which}_of_cast"],
            "", "at_most", bar,
        )
        for name, facts in parts.items()
        for which, bar in (("forward", FORWARD), ("gradients", BACKWARD))
    ]  # fmt: skip


CASE = Case(
    question="errors in bfloat16 against float64",
    peer="the formula, all of it cast to bfloat16",
    packages=("torch",),
    parts={name.__name__: part(name) for name in (attention, history, cells, experts)},
    judged=judged,
)
