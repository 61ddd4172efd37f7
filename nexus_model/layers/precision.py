"""In which floats a product is computed, whatever the floats of what goes in."""

import torch
from torch import Tensor


def computed_dtype(x: Tensor) -> torch.dtype:
    """Autocast's type where it is on, which leaves float64 alone; else that of the tensor.

    >>> with torch.autocast("cpu", torch.bfloat16):
    ...     computed_dtype(torch.zeros(1))
    torch.bfloat16
    """
    kind = x.device.type
    cast = torch.is_autocast_enabled(kind) and x.dtype is not torch.float64
    return torch.get_autocast_dtype(kind) if cast else x.dtype
