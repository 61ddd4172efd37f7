"""Who read whom: cross-contextual attention between tables, averaged over samples.

B samples, H heads, Q state tokens, K rows and state tokens offered, P paths, W head width.
Attention is where the model looked, not what the answer depended on.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nexus_model.exchange.cross_attention import Memory, other_tables
from nexus_model.layers.attention.reference import attention_weights
from nexus_model.model import NexusFormer
from nexus_model.schema import Record
from nexus_model.tokenize.batch import TaskTensors, build_batch


class AttentionFlow(Record):
    """``weights[i][j]``: share of path ``i``'s reading that went to path ``j``; rows sum to one.

    ``cycles`` holds one matrix per refinement cycle.
    """

    paths: tuple[str, ...]
    cycles: tuple[tuple[tuple[float, ...], ...], ...]


def attention_flow(model: NexusFormer, tensors: TaskTensors, chosen_B: np.ndarray) -> AttentionFlow:
    """Flow over one batch of samples; the model is left as it was."""
    cross, seen = model.refine.cross, _Seen()
    hooks = [
        cross.register_forward_pre_hook(seen.memory_of),
        cross.attend.tap_q.register_forward_hook(seen.queries_of),
        cross.attend.tap_k.register_forward_hook(seen.keys_of),
    ]
    was_training = model.training
    try:
        model.eval()
        with torch.no_grad():
            model(build_batch(tensors, chosen_B, model.config.parent_hops))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    matrices = [
        _between_paths(memory, q, k, len(model.path_names))
        for memory, q, k in zip(seen.memories, seen.queries, seen.keys, strict=True)
    ]
    cycles = tuple(tuple(tuple(float(x) for x in row) for row in m) for m in matrices)
    return AttentionFlow(paths=model.path_names, cycles=cycles)


class _Seen:
    """What the taps let through, one entry per cycle."""

    def __init__(self) -> None:
        self.memories: list[Memory] = []
        self.queries: list[Tensor] = []
        self.keys: list[Tensor] = []

    def memory_of(self, _module: Any, inputs: tuple[Any, ...]) -> None:
        self.memories.append(inputs[2])

    def queries_of(self, _module: Any, _inputs: Any, output: Tensor) -> None:
        self.queries.append(output)

    def keys_of(self, _module: Any, _inputs: Any, output: Tensor) -> None:
        self.keys.append(output)


def _between_paths(memory: Memory, q_BHQW: Tensor, k_BHKW: Tensor, paths: int) -> Tensor:
    weights_BHQK = attention_weights(q_BHQW, k_BHKW, other_tables(memory))
    of_K = torch.cat([memory.path_K, memory.path_Q])
    mean_QK = weights_BHQK.mean(dim=(0, 1))
    from_PK = torch.zeros(paths, mean_QK.shape[1]).index_add(0, memory.path_Q, mean_QK)
    flow_PP = torch.zeros(paths, paths).index_add(1, of_K, from_PK)
    return flow_PP / flow_PP.sum(1, keepdim=True).clamp(min=1e-12)
