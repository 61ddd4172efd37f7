"""What went on inside: cycles of refinement, choices of experts, masks of TabNet, near entities.

B samples, Q state tokens of all paths, D width, E experts, J chosen experts, N tokens of a layer,
R rows, C columns, L decision steps.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nexus_model.encode.table_encoder import part_name
from nexus_model.encode.tabnet import TabNetEncoder, collect_steps, importances
from nexus_model.explain.outcome import Asked
from nexus_model.layers.experts.balance import collect_routings_by_layer
from nexus_model.layers.experts.router import Routing
from nexus_model.model import NexusFormer
from nexus_model.schema import Record
from nexus_model.tokenize.batch import TaskTensors, build_batch
from nexus_model.tokenize.move import device_of, moved

Array = np.ndarray
AT_ONCE = 512


class RefinementTrace(Record):
    """``scores[k][b]`` after ``k`` cycles; ``changes[k][path]`` how far cycle ``k + 1`` moved the
    state of a path, as a share of what it was, mean over samples.
    """

    paths: tuple[str, ...]
    scores: tuple[tuple[float, ...], ...]
    changes: tuple[tuple[float, ...], ...]


def refinement_trace(asked: Asked, tensors: TaskTensors, chosen_B: Array) -> RefinementTrace:
    """What the answer would be after each cycle, and which paths each cycle changed."""
    model = asked.model
    batch = build_batch(tensors, chosen_B, model.config.parent_hops)
    states: list[Tensor] = []
    hook = model.fuse.register_forward_pre_hook(lambda _m, given: states.append(given[0].detach()))
    class_B = None
    try:
        with torch.no_grad():
            if asked.task.classes:
                found = asked.predictions(batch)
                class_B = found.argmax(dim=1) if found.ndim == 2 else None
                states.clear()
            scores = [
                asked.scores(asked.predictions(batch, cycles), class_B)
                for cycles in range(model.config.refinement.cycles + 1)
            ]
    finally:
        hook.remove()
    changes = []
    for before, after in pairwise(states):
        old_BPMD, new_BPMD = (
            one.unflatten(1, (len(model.path_names), -1)) for one in (before, after)
        )
        moved_BP = (new_BPMD - old_BPMD).flatten(2).norm(dim=2)
        share_BP = moved_BP / old_BPMD.flatten(2).norm(dim=2).clamp(min=1e-12)
        changes.append(tuple(float(x) for x in share_BP.mean(0)))
    return RefinementTrace(
        paths=model.path_names,
        scores=tuple(tuple(float(x) for x in one) for one in scores),
        changes=tuple(changes),
    )


class LayerRouting(Record):
    """One layer with experts: share of the choices each got; for layers of the exchange also by
    the path whose state was routed.
    """

    layer: str
    load: tuple[float, ...]
    by_path: dict[str, tuple[float, ...]]


def expert_map(
    model: NexusFormer, tensors: TaskTensors, chosen_B: Array
) -> tuple[LayerRouting, ...]:
    """Which experts compute what; empty for a model without experts."""
    batch = build_batch(tensors, chosen_B, model.config.parent_hops)
    with torch.no_grad(), collect_routings_by_layer(model) as calls:
        model(moved(batch, device_of(model)))
    found = []
    for layer, routings in calls.items():
        load = torch.stack([_chosen(routing).mean(0) for routing in routings]).mean(0)
        by_path = _by_path(model, routings, len(chosen_B)) if layer.startswith("refine") else {}
        found.append(LayerRouting(layer=layer, load=_floats(load), by_path=by_path))
    return tuple(found)


def _chosen(routing: Routing) -> Tensor:
    """``[N, E]``: share of a token's choices that fell on each expert."""
    zeros_NE = torch.zeros_like(routing.probs_NE)
    share = torch.full_like(routing.weight_NJ, 1 / routing.expert_NJ.shape[1])
    return zeros_NE.scatter_add(1, routing.expert_NJ, share.to(zeros_NE.dtype))


def _by_path(
    model: NexusFormer, routings: list[Routing], samples: int
) -> dict[str, tuple[float, ...]]:
    paths = len(model.path_names)
    mean_NE = torch.stack([_chosen(routing) for routing in routings]).mean(0)
    if len(mean_NE) % (samples * paths):
        return {}
    mean_PE = mean_NE.unflatten(0, (samples, paths, -1)).mean((0, 2))
    return {name: _floats(row) for name, row in zip(model.path_names, mean_PE, strict=True)}


def mask_importance(
    model: NexusFormer,
    tensors: TaskTensors,
    chosen_B: Array,
    columns: Mapping[str, tuple[str, ...]],
) -> dict[str, dict[str, float]]:
    """Mean share of each column in the decisions of TabNet tables, over the rows that are read.

    Evidence of where the encoder looked; not a measure of what the answer depends on.
    """
    owners = {
        id(module): name
        for name in columns
        for module in model.database.tables[part_name(name)].modules()
        if isinstance(module, TabNetEncoder)
    }
    if not owners:
        return {}
    batch = build_batch(tensors, chosen_B, model.config.parent_hops)
    with torch.no_grad(), collect_steps(model) as calls:
        model(moved(batch, device_of(model)))
    found = {}
    for owner, steps in calls:
        name, share_RC = owners.get(id(owner)), importances(steps)
        if name is not None and len(share_RC):
            mean_C = share_RC.mean(0).tolist()
            found[name] = dict(zip(columns[name], mean_C, strict=True))
    return found


class Near(NamedTuple):
    """``[B, K]`` samples most like each one asked about, nearest first, and their cosines."""

    sample_BK: Array
    cosine_BK: Array


def nearest_samples(
    model: NexusFormer, tensors: TaskTensors, asked_B: Array, known_B: Array, most: int = 5
) -> Near:
    """The known samples whose fused state points the same way, none of the same entity."""
    own_BD, known_ND = _states(model, tensors, asked_B), _states(model, tensors, known_B)
    cosine_BN = own_BD @ known_ND.T
    same_BN = tensors.times.entity_B[asked_B][:, None] == tensors.times.entity_B[known_B]
    cosine_BN = np.where(same_BN, -np.inf, cosine_BN)
    order_BK = np.argsort(-cosine_BN, axis=1, kind="stable")[:, :most]
    return Near(known_B[order_BK], np.take_along_axis(cosine_BN, order_BK, axis=1))


def _states(model: NexusFormer, tensors: TaskTensors, chosen_B: Array) -> Array:
    """``[B, D]`` of length one."""
    parts = []
    with torch.no_grad():
        for start in range(0, len(chosen_B), AT_ONCE):
            some_B = chosen_B[start : start + AT_ONCE]
            batch = build_batch(tensors, some_B, model.config.parent_hops)
            parts.append(model.embed(moved(batch, device_of(model))).double().cpu().numpy())
    found = np.concatenate(parts) if parts else np.zeros((0, model.config.width))
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)


def _floats(values: Tensor) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
