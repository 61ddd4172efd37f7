"""AdamW with weight decay on matrices only (Loshchilov & Hutter 2019)."""

import torch
from torch import nn

NO_DECAY = ("bias", "missing", "start", "question", "cls", "slopes")


def build_optimizer(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Two groups: matrices decay; embeddings, norms and vectors do not.

    What a table is called never decides.
    """
    decays: list[nn.Parameter] = []
    stays: list[nn.Parameter] = []
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            vectors = isinstance(module, nn.Embedding) or name.startswith(NO_DECAY)
            (stays if vectors or parameter.ndim < 2 else decays).append(parameter)
    groups = [
        {"params": decays, "weight_decay": weight_decay},
        {"params": stays, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr)
