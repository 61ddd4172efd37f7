"""Shapes checked at the door: a public forward states what it takes in one line."""

from torch import Tensor


def check_shape(x: Tensor, spec: str, /, **sizes: int) -> dict[str, int]:
    """Assert that ``x`` has the dimensions of ``spec`` and return the sizes bound to its letters.

    >>> import torch
    >>> check_shape(torch.zeros(2, 5, 8), "B R D", D=8)
    {'D': 8, 'B': 2, 'R': 5}

    Raises:
        ValueError: the number of dimensions or a given size differs.
    """
    names, bound = spec.split(), dict(sizes)
    if x.ndim != len(names) or any(
        bound.setdefault(name, size) != size for name, size in zip(names, x.shape, strict=True)
    ):
        raise ValueError(f"expected ({', '.join(names)}) with {sizes}, got {tuple(x.shape)}")
    return bound
