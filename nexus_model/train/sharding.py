"""Tensors in parts: the whole of one, and the part of a whole that a rank holds.

Only ``fsdp`` has tensors in parts; torch's module for them takes a second to import, so it is left
alone until one is met.
"""

from torch import Tensor


def is_in_parts(tensor: Tensor) -> bool:
    """Whether each rank holds a part of it only."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """All of it; if it is in parts, every rank has to ask for it."""
    if not is_in_parts(tensor):
        return tensor
    full: Tensor = tensor.full_tensor()
    return full


def in_parts_as(like: Tensor, tensor: Tensor) -> Tensor:
    """This rank's part of a whole tensor, where ``like`` is in parts; else the tensor."""
    if not is_in_parts(like) or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    there = tensor.to(like.device)
    parted: Tensor = distribute_tensor(there, like.device_mesh, like.placements, src_data_rank=None)
    return parted
