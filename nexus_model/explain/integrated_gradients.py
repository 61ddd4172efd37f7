"""What each cell adds to one prediction: integrated gradients on the cells of all rows.

B samples, N rows of a table of all samples, C columns, D width. Sundararajan, Taly and Yan 2017,
equation 1: ``(x - x0) * integral of gradient`` along the straight line from a baseline ``x0``, here
in the vectors of cells, so that categories, missing values and texts have gradients too. The
baseline of a cell is the mean vector of its column over the rows read: a row that is there and says
nothing in particular. What the *presence* of rows says is therefore not in it.
DIFFERS: Gauss-Legendre nodes, doubled until parts and whole agree; captum has Riemann sums and
takes tensors, not tables of rows.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nexus_model.encode.table_encoder import part_name
from nexus_model.explain.exchanged import OwnRows, exchanged, own_rows
from nexus_model.explain.outcome import Asked
from nexus_model.tokenize.batch import RelBatch, TaskTensors
from nexus_model.tokenize.statistics import TableTokenizer

Array = np.ndarray
FIRST_NODES, MOST_NODES = 16, 512
ENOUGH = 0.01


class CellShares(NamedTuple):
    """Additions to the score by cell of one table; row ids are numbers of the aligned table.

    ``sample_N`` and ``row_id_N`` say whose row and which row it is; ``share_NC`` by column.
    """

    columns: tuple[str, ...]
    sample_N: Array
    row_id_N: Array
    share_NC: Array


class Attribution(NamedTuple):
    """``score_B`` is ``baseline_B`` plus all shares, up to ``error_B`` of the larger way made."""

    score_B: Array
    baseline_B: Array
    error_B: Array
    nodes: int
    tables: dict[str, CellShares]

    def by_table(self, sample: int) -> dict[str, float]:
        """Sum of the shares of each table for one sample."""
        return {
            name: float(table.share_NC[table.sample_N == sample].sum())
            for name, table in self.tables.items()
        }

    def by_column(self, sample: int) -> dict[tuple[str, str], float]:
        """Sum over a sample's rows, by table and column."""
        return {
            (name, column): float(value)
            for name, table in self.tables.items()
            for column, value in zip(
                table.columns, table.share_NC[table.sample_N == sample].sum(axis=0), strict=True
            )
        }

    def by_row(self, sample: int, table: str) -> dict[int, float]:
        """Sum over the columns, by row id of the aligned table."""
        found = self.tables[table]
        own_N = found.sample_N == sample
        sums_N = found.share_NC[own_N].sum(axis=1)
        return dict(zip(found.row_id_N[own_N].tolist(), sums_N.tolist(), strict=True))


def column_names(table: TableTokenizer) -> tuple[str, ...]:
    """Columns in the order of a row's cells: numbers, times, categories, texts."""
    groups = (table.numerical, table.temporal, table.categorical, table.text)
    return tuple(column.name for group in groups for column in group)


def integrated_gradients(
    asked: Asked,
    tensors: TaskTensors,
    chosen_B: Array,
    columns: Mapping[str, tuple[str, ...]],
    *,
    enough: float = ENOUGH,
    most_nodes: int = MOST_NODES,
) -> Attribution:
    """Shares of every cell each chosen sample reads; no row is shared between samples.

    ``columns`` names the cells of each table. Nodes are doubled until no sample's error is above
    ``enough`` or ``most_nodes`` are used; the error is the way not accounted for over the way from
    baseline to score, or over a hundredth of the score's spread where that way is shorter.
    """
    own = own_rows(tensors, chosen_B, asked.model.config.parent_hops)
    batch = exchanged(own, np.arange(len(chosen_B)))
    cells, class_B = _cells_of(asked, batch)
    baselines = {name: cell.mean(dim=0, keepdim=True) for name, cell in cells.items()}
    score_B, _ = _asked_at(asked, batch, cells, class_B)
    baseline_B, _ = _asked_at(asked, batch, _between(cells, baselines, 0.0), class_B)
    way_B = score_B - baseline_B
    floor = 0.01 * max(float(np.std(score_B)), float(np.abs(way_B).max(initial=0)), 1e-12)
    nodes = FIRST_NODES
    while True:
        shares = _integrated(asked, batch, cells, baselines, class_B, nodes)
        total_B = sum((_by_sample(own, name, part) for name, part in shares.items()), 0 * way_B)
        error_B = np.abs(total_B - way_B) / np.maximum(np.abs(way_B), floor)
        if nodes >= most_nodes or error_B.max(initial=0) <= enough:
            break
        nodes *= 2
    tables = {
        name: CellShares(
            columns[name],
            _sample_of(own, name),
            batch.tables[name].ids_R.numpy(),
            part.sum(dim=-1).cpu().numpy(),
        )
        for name, part in shares.items()
    }
    return Attribution(score_B, baseline_B, error_B, nodes, tables)


@contextmanager
def _instead(asked: Asked, cells: Mapping[str, Tensor]) -> Iterator[None]:
    """Rows are encoded from these cells, whatever the batch says."""
    encoders = asked.model.database.tables
    with ExitStack() as hooks:
        for name, cells_NCD in cells.items():

            def hook(_m: nn.Module, _i: object, _o: Tensor, put: Tensor = cells_NCD) -> Tensor:
                return put

            part = encoders[part_name(name)].get_submodule("cells")
            hooks.callback(part.register_forward_hook(hook).remove)
        yield


def _cells_of(asked: Asked, batch: RelBatch) -> tuple[dict[str, Tensor], Tensor | None]:
    """Cells as embedded, and the likeliest class, so that one score is followed all the way."""
    seen: dict[str, Tensor] = {}
    with ExitStack() as hooks, torch.no_grad():
        for name in batch.tables:

            def hook(_m: nn.Module, _i: object, cells: Tensor, at: str = name) -> None:
                seen[at] = cells.detach()

            part = asked.model.database.tables[part_name(name)].get_submodule("cells")
            hooks.callback(part.register_forward_hook(hook).remove)
        found = asked.predictions(batch)
    there = {name: cells for name, cells in seen.items() if cells.shape[0] and cells.shape[1]}
    return there, found.argmax(dim=1) if asked.task.classes and found.ndim == 2 else None


def _between(
    cells: Mapping[str, Tensor], baselines: Mapping[str, Tensor], share: float
) -> dict[str, Tensor]:
    return {
        name: (baselines[name] + share * (own - baselines[name])).detach().requires_grad_()
        for name, own in cells.items()
    }


def _asked_at(
    asked: Asked, batch: RelBatch, cells: Mapping[str, Tensor], class_B: Tensor | None
) -> tuple[Array, Tensor]:
    with torch.enable_grad(), _instead(asked, cells):
        score_B = asked.scores(asked.predictions(batch), class_B)
    return score_B.detach().cpu().double().numpy(), score_B


def _integrated(
    asked: Asked,
    batch: RelBatch,
    cells: Mapping[str, Tensor],
    baselines: Mapping[str, Tensor],
    class_B: Tensor | None,
    nodes: int,
) -> dict[str, Tensor]:
    """``(x - x0)`` times the mean gradient over the nodes, by table."""
    total = {name: torch.zeros_like(own) for name, own in cells.items()}
    places, weights = np.polynomial.legendre.leggauss(nodes)
    for place, weight in zip((places + 1) / 2, weights / 2, strict=True):
        point = _between(cells, baselines, float(place))
        _, score_B = _asked_at(asked, batch, point, class_B)
        found = torch.autograd.grad(score_B.sum(), list(point.values()), allow_unused=True)
        for name, gradient in zip(point, found, strict=True):
            if gradient is not None:
                total[name] += float(weight) * gradient
    return {name: (own - baselines[name]) * total[name] for name, own in cells.items()}


def _sample_of(own: OwnRows, table: str) -> Array:
    offsets_B = own.tables[table].offsets_B
    return np.repeat(np.arange(len(offsets_B) - 1), np.diff(offsets_B))


def _by_sample(own: OwnRows, table: str, part_NCD: Tensor) -> Array:
    sums_N = part_NCD.double().sum(dim=(1, 2)).cpu().numpy()
    return np.bincount(_sample_of(own, table), weights=sums_N, minlength=own.samples)
