"""AdamW with weight decay on matrices only (Loshchilov & Hutter 2019)."""

import torch
from torch import nn

NO_DECAY = ("embedding", "missing", "bias", "norm", "start", "question", "cls", "slopes")


def build_optimizer(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Two groups by qualified name: matrices decay; embeddings, norms and vectors do not."""
    decays, stays = [], []
    for name, parameter in model.named_parameters():
        kept = parameter.ndim < 2 or any(word in name for word in NO_DECAY)
        (stays if kept else decays).append(parameter)
    groups = [
        {"params": decays, "weight_decay": weight_decay},
        {"params": stays, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr)
