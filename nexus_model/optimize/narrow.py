"""Structured pruning: a model of fewer channels, neurons and experts, cut out of a larger one.

D width, E experts, F hidden width, H heads, W head width. What is cut is gone from the
configuration, so that the smaller model is built, stored and run like any other: the state's
channels (as in Muralidharan et al. 2024, Minitron, section 2.2), the neurons of feed-forward
blocks, the width of every head, whole experts where a model has them. DIFFERS: importance is read
from the weights alone; a short training afterwards is expected.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import lcm
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nexus_model.config import NexusConfig
from nexus_model.encode.table_encoder import part_name
from nexus_model.layers.attention.multihead import MultiHeadAttention
from nexus_model.layers.experts.layer import ExpertsConfig, MixtureOfExperts
from nexus_model.layers.feed_forward import FeedForward
from nexus_model.model import NexusFormer
from nexus_model.schema import ConfigurationError

Make = Callable[[NexusConfig], NexusFormer]
SHARES = tuple(share / 100 for share in range(100, 45, -5))
TOLERANCE = 0.015
_STEP = 8


class _Cut(NamedTuple):
    """A width and the channels of it that stay."""

    width: int
    kept: Tensor


def parameters_of(config: NexusConfig, make: Make) -> int:
    """Number of parameters of a model with this configuration; nothing is allocated."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in make(config).parameters())


def narrow_config(
    config: NexusConfig, tables: Sequence[str], make: Make, amount: float
) -> NexusConfig:
    """The widest configuration with ``amount`` fewer parameters, and the most neurons for it.

    Raises:
        ConfigurationError: no width comes near enough.
    """
    total = parameters_of(config, make)
    found: list[tuple[float, NexusConfig]] = []
    for width in range(config.width - config.width % _step(config), 0, -_step(config)):
        more = []
        for share in SHARES:
            tried = narrowed_config(config, tables, width, share)
            more.append(parameters_of(tried, make) / total - (1 - amount))
            found.append((abs(more[-1]), tried))
            if abs(more[-1]) <= TOLERANCE / 3:
                return tried
        if more[0] < 0:
            break
    off, nearest = min(found, key=lambda pair: pair[0])
    if off > TOLERANCE:
        raise ConfigurationError(
            f"no configuration has {amount:.0%} fewer parameters: the nearest is {off:.1%} off; "
            "ask for another amount"
        )
    return nearest


def narrowed_config(
    config: NexusConfig, names: Sequence[str], width: int, share: float
) -> NexusConfig:
    """``config`` at another width, tables of their own width in proportion, with fewer neurons."""
    tables = dict(config.tables)
    for name in names:
        table = config.table(name)
        own = table.width
        if own is not None:
            own = max(_STEP, own * width // config.width // _STEP * _STEP)
        neurons = table.feed_forward.model_copy(
            update={"hidden_share": table.feed_forward.hidden_share * share}
        )
        fewer = {"width": own, "feed_forward": neurons, "experts": _fewer(table.experts, share)}
        tables[name] = table.model_copy(update=fewer)
    neurons = config.feed_forward.model_copy(
        update={"hidden_share": config.feed_forward.hidden_share * share}
    )
    changed = {
        "width": width,
        "tables": tables,
        "feed_forward": neurons,
        "experts": _fewer(config.experts, share),
    }
    return config.model_copy(update=changed)


def _fewer(experts: ExpertsConfig | None, share: float) -> ExpertsConfig | None:
    """A share of the experts, but as many as compute one token."""
    if experts is None:
        return None
    left = max(experts.chosen, 2, round(experts.experts * share))
    return experts.model_copy(update={"experts": left})


def _step(config: NexusConfig) -> int:
    return lcm(_STEP, config.heads)


def cut(model: NexusFormer, smaller: NexusFormer) -> NexusFormer:
    """``smaller`` with the most important weights of ``model`` in it; ``model`` stays as it is.

    Raises:
        ConfigurationError: a parameter of one has no counterpart in the other.
    """
    old, new = model.state_dict(), smaller.state_dict()
    if old.keys() != new.keys():
        lost = sorted(old.keys() ^ new.keys())[:3]
        raise ConfigurationError(f"models differ in more than their widths: {lost}")
    cuts = {part_name(n): c for n, c in _cuts(model, smaller).items()}
    found = {name: _taken(tensor, new[name].shape, _of(name, cuts)) for name, tensor in old.items()}
    found |= _inner_parts(model, smaller, cuts)
    smaller.load_state_dict(found)
    return smaller.eval()


def _cuts(model: NexusFormer, smaller: NexusFormer) -> dict[str, _Cut]:
    """Channels that stay: of the state (under the empty name) and of tables of their own width."""
    found = {"": _most_important(model.state_dict(), model.config.width, smaller.config.width)}
    for name in model.database.names:
        own, less = model.config.table(name).width, smaller.config.table(name).width
        if own is not None and less is not None:
            encoder = model.database.tables[part_name(name)]
            found[name] = _most_important(encoder.state_dict(), own, less)
    return found


def _most_important(state: Mapping[str, Tensor], width: int, kept: int) -> _Cut:
    score_D = torch.zeros(width)
    for matrix in state.values():
        if matrix.is_floating_point() and matrix.ndim == 2:
            share = matrix.square() / matrix.square().sum().clamp_min(1e-12)
            for axis, size in enumerate(matrix.shape):
                if size % width == 0:
                    score_D += share.sum(1 - axis).view(-1, width).sum(0)
    return _Cut(width, score_D.topk(kept).indices.sort().values)


def _of(name: str, cuts: Mapping[str, _Cut]) -> list[_Cut]:
    """Cuts that may apply to a parameter, the likeliest first."""
    parts = name.split(".")
    of_table = len(parts) > 2 and parts[:2] == ["database", "tables"]
    own = cuts.get(parts[2]) if of_table else None
    return [cuts[""]] if own is None else [own, cuts[""]]


def _taken(tensor: Tensor, shape: torch.Size, cuts: list[_Cut]) -> Tensor:
    for axis, size in enumerate(shape):
        if tensor.shape[axis] != size:
            tensor = tensor.index_select(axis, _places(tensor.shape[axis], size, cuts))
    return tensor.clone()


def _places(before: int, after: int, cuts: list[_Cut]) -> Tensor:
    """Which of ``before`` places stay: blocks of channels and what follows them, else evenly."""
    for width, kept in cuts:
        for blocks in range(before // width, 0, -1):
            rest = before - blocks * width
            if blocks * len(kept) + rest == after:
                starts = torch.arange(blocks)[:, None] * width
                last = torch.arange(blocks * width, before)
                return torch.cat([(starts + kept).flatten(), last])
    return torch.arange(after) * before // after


def _inner_parts(
    model: NexusFormer, smaller: NexusFormer, cuts: Mapping[str, _Cut]
) -> dict[str, Tensor]:
    """Neurons and heads lose their least important parts, whatever happens to the channels."""
    found: dict[str, Tensor] = {}
    others = dict(smaller.named_modules())
    for name, module in model.named_modules():
        other, own = others.get(name), _of(name, cuts)
        parts: Iterator[tuple[str, Tensor, Tensor]] = iter(())
        if isinstance(module, FeedForward) and isinstance(other, FeedForward):
            parts = _neurons(module, other)
        elif isinstance(module, MultiHeadAttention) and isinstance(other, MultiHeadAttention):
            parts = _heads(module, other)
        for part, tensor, kept in parts:
            axis = 1 if part in ("down.weight", "out.weight") else 0
            narrow = other.get_parameter(part).shape if other is not None else tensor.shape
            found[f"{name}.{part}"] = _taken(tensor.index_select(axis, kept), narrow, own)
        if isinstance(module, MixtureOfExperts) and isinstance(other, MixtureOfExperts):
            for part, tensor in _experts(module, other):
                found[f"{name}.{part}"] = _taken(tensor, other.get_parameter(part).shape, own)
    return found


def _experts(module: MixtureOfExperts, other: MixtureOfExperts) -> Iterator[tuple[str, Tensor]]:
    """Experts whose weights are largest stay, and of each the neurons that read and tell most."""
    up_EDF, down_EFD = module.up_EDF.detach(), module.down_EFD.detach()
    gate_EDF, value_EDF = up_EDF.chunk(2, dim=-1)
    read_EF = gate_EDF.square().sum(1) + value_EDF.square().sum(1)
    score_EF = read_EF * down_EFD.square().sum(-1)
    kept_E = score_EF.sum(-1).topk(len(other.up_EDF)).indices.sort().values
    few = other.down_EFD.shape[1]
    kept_EF = score_EF[kept_E].topk(few, dim=1).indices.sort(dim=1).values
    across_EDF = kept_EF[:, None].expand(-1, up_EDF.shape[1], -1)
    sides = [side[kept_E].gather(2, across_EDF) for side in (gate_EDF, value_EDF)]
    yield "router.weight_ED", module.router.weight_ED.detach()[kept_E]
    yield "up_EDF", torch.cat(sides, dim=-1)
    yield "down_EFD", down_EFD[kept_E].gather(1, kept_EF[..., None].expand(-1, -1, up_EDF.shape[1]))


def _neurons(module: FeedForward, other: FeedForward) -> Iterator[tuple[str, Tensor, Tensor]]:
    up, down = module.up.weight.detach(), module.down.weight.detach()
    sides, inner = len(up) // down.shape[1], down.shape[1]
    read_F = up.square().sum(1).view(sides, inner).sum(0)
    kept_F = (read_F * down.square().sum(0)).topk(other.down.in_features).indices.sort().values
    rows = (torch.arange(sides)[:, None] * inner + kept_F).flatten()
    yield "up.weight", up, rows
    yield "up.bias", module.up.bias.detach(), rows
    yield "down.weight", down, kept_F


def _heads(
    module: MultiHeadAttention, other: MultiHeadAttention
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Each head loses as many dimensions: of queries with their keys, of values with ``out``."""
    few, each = module.key_heads, module.heads // module.key_heads
    wide, kept = module.width // module.heads, other.width // other.heads
    query, key = (p.weight.detach().square().sum(1) for p in (module.query, module.key))
    value, out = module.value.weight.detach().square().sum(1), module.out.weight.detach()
    asked_HW = query.view(few, each, wide).sum(1) * key.view(few, wide)
    told_HW = value.view(few, wide) * out.square().sum(0).view(few, each, wide).sum(1)
    for score_HW, narrow, broad in ((asked_HW, "key", "query"), (told_HW, "value", "out")):
        kept_HW = score_HW.topk(kept, dim=1).indices.sort(dim=1).values
        few_rows = (torch.arange(few)[:, None] * wide + kept_HW).flatten()
        every_HW = kept_HW.repeat_interleave(each, dim=0)
        rows = (torch.arange(module.heads)[:, None] * wide + every_HW).flatten()
        for part, places in ((narrow, few_rows), (broad, rows)):
            linear = module.get_submodule(part)
            assert isinstance(linear, nn.Linear)
            yield f"{part}.weight", linear.weight.detach(), places
            if part != "out" and linear.bias is not None:
                yield f"{part}.bias", linear.bias.detach(), places
