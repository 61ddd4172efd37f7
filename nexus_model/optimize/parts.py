"""Matrices that are stored in parts: ``<name><suffix>`` for each part, of which one is the mark."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from torch import Tensor

from nexus_model.schema import ArtifactError

Parts = dict[str, Tensor]


def side_by_side(each: Iterable[tuple[str, Parts]], mark: str) -> Parts:
    """The tensors of all matrices, given by name, under names that stay apart.

    Raises:
        ValueError: two names would collide.
    """
    packed: Parts = {}
    for name, parts in each:
        if name.endswith(mark) or parts.keys() & packed.keys():
            raise ValueError(f"names must stay apart when packed, {name!r} does not")
        packed |= parts
    return packed


def put_together(
    packed: Mapping[str, Tensor],
    suffixes: Sequence[str],
    restore: Callable[[str, Mapping[str, Tensor]], Tensor],
) -> Parts:
    """Matrices in parts whole again under their own names; what is not in parts stays as it is.

    The first suffix is the mark; ``restore`` makes a matrix from its name and all tensors.

    Raises:
        ArtifactError: a matrix is given both whole and in parts, or ``restore`` refuses.
    """
    mark = suffixes[0]
    own = [name.removesuffix(mark) for name in packed if name.endswith(mark)]
    parts = {name + suffix for name in own for suffix in suffixes}
    state: Parts = {}
    for name, tensor in packed.items():
        if name.endswith(mark):
            original = name.removesuffix(mark)
            if original in packed:
                raise ArtifactError(f"{original}: given both whole and in parts ({mark})")
            state[original] = restore(original, packed)
        elif name not in parts:
            state[name] = tensor
    return state
