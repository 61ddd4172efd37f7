"""Who read whom: cross-contextual attention between tables, averaged over samples or in full.

B readers (samples, or samples and paths), H heads, Q state tokens, N rows and state tokens offered,
P paths, W head width. Attention is where the model looked, not what the answer depended on.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nexus_model.exchange.cross_attention import Reading
from nexus_model.exchange.relation.cross_contextual import CrossContextual
from nexus_model.layers.attention.reference import attention_weights
from nexus_model.model import NexusFormer
from nexus_model.schema import Record
from nexus_model.tokenize.batch import RelBatch, TaskTensors, build_batch
from nexus_model.tokenize.move import device_of, moved


class AttentionFlow(Record):
    """``weights[i][j]``: share of path ``i``'s reading that went to path ``j``; rows sum to one.

    ``cycles`` holds one matrix per refinement cycle; none if no relation is cross-contextual.
    """

    paths: tuple[str, ...]
    cycles: tuple[tuple[tuple[float, ...], ...], ...]


class AttentionPattern(NamedTuple):
    """One cycle's attention of one sample, with a name for every reader and everything read.

    ``weights_HQN`` by head; a row sums to one, or to zero where nothing could be read. Readers are
    (path, state token); what is read is (path, row id of the aligned table), or (path, "state 0").
    """

    weights_HQN: np.ndarray
    readers: tuple[tuple[str, int], ...]
    read: tuple[tuple[str, int | str], ...]


def attention_flow(model: NexusFormer, tensors: TaskTensors, chosen_B: np.ndarray) -> AttentionFlow:
    """Flow over one batch of samples; the model is left as it was."""
    batch = build_batch(tensors, chosen_B, model.config.parent_hops)
    matrices = [
        _between_paths(reading, weights_BHQN, len(model.path_names))
        for reading, weights_BHQN in _looked(model, batch)
    ]
    cycles = tuple(tuple(tuple(float(x) for x in row) for row in m) for m in matrices)
    return AttentionFlow(paths=model.path_names, cycles=cycles)


def attention_patterns(
    model: NexusFormer, tensors: TaskTensors, sample: int
) -> list[AttentionPattern]:
    """Everything one sample read in each cycle, addressed by path and row id.

    A model that reads its ``top_k`` peers only gives one pattern per cycle and reading path.
    """
    batch = build_batch(tensors, np.array([sample]), model.config.parent_hops)
    tokens = model.config.summary_tokens
    names = _offered_names(model, batch, tokens)
    found = []
    for reading, weights_BHQN in _looked(model, batch):
        whole = reading.keep_BQN.shape[2] == len(names) and len(reading.keep_BQN) == 1
        for part in range(len(reading.keep_BQN)):
            path_Q = reading.reader_BQ[part].tolist()
            readers = tuple(
                (model.path_names[path], place % tokens) for place, path in enumerate(path_Q)
            )
            kept_N = reading.keep_BQN[part].any(0) if not whole else torch.ones(len(names)).bool()
            paths_N = reading.offered_BN[part][kept_N].tolist()
            read = (
                names
                if whole
                else tuple((model.path_names[p], f"offer {n}") for n, p in enumerate(paths_N))
            )
            weights_HQN = weights_BHQN[part][:, :, kept_N].double().cpu().numpy()
            found.append(AttentionPattern(weights_HQN, readers, read))
    return found


def _offered_names(
    model: NexusFormer, batch: RelBatch, tokens: int
) -> tuple[tuple[str, int | str], ...]:
    rows: list[tuple[str, int | str]] = []
    for name, table, path in zip(model.path_names, model.path_tables, batch.paths, strict=True):
        ids = batch.tables[table].ids_R[path.rows_N].tolist()
        # A path without rows still has the place of one, which nobody may read.
        rows += [(name, row) for row in ids] or [(name, "no row")]
    states: list[tuple[str, int | str]] = [
        (name, f"state {token}") for name in model.path_names for token in range(tokens)
    ]
    return (*rows, *states)


def _looked(model: NexusFormer, batch: RelBatch) -> list[tuple[Reading, Tensor]]:
    """What was offered and ``[B, H, Q, N]`` how much of it was read, cycle by cycle."""
    seen, hooks = _Seen(), []
    for module in model.refine.modules():
        if isinstance(module, CrossContextual):
            hooks += seen.watch(module)
    was_training = model.training
    try:
        model.eval()
        with torch.no_grad():
            model(moved(batch, device_of(model)))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return [
        (reading, attention_weights(q, k, reading.keep_BQN, reading.bias_BHQN))
        for reading, q, k in zip(seen.readings, seen.queries, seen.keys, strict=True)
    ]


class _Seen:
    """What the taps let through, one entry per cycle."""

    def __init__(self) -> None:
        self.readings: list[Reading] = []
        self.queries: list[Tensor] = []
        self.keys: list[Tensor] = []

    def watch(self, module: CrossContextual) -> list[Any]:
        """Hooks on an operator's taps."""
        attend = module.attention.attend
        pairs: list[tuple[nn.Module, list[Any]]] = [
            (module.tap_reading, self.readings),
            (attend.tap_q, self.queries),
            (attend.tap_k, self.keys),
        ]
        return [
            tap.register_forward_hook(lambda _m, _i, output, seen=seen: seen.append(output))
            for tap, seen in pairs
        ]


def _between_paths(reading: Reading, weights_BHQN: Tensor, paths: int) -> Tensor:
    mean_BQN = weights_BHQN.mean(1).cpu()
    of_BQN = (reading.reader_BQ[:, :, None] * paths + reading.offered_BN[:, None]).cpu()
    flat = torch.zeros(paths * paths, dtype=mean_BQN.dtype)
    flow_PP = flat.index_add(0, of_BQN.flatten(), mean_BQN.flatten()).unflatten(0, (paths, paths))
    return flow_PP / flow_PP.sum(1, keepdim=True).clamp(min=1e-12)
