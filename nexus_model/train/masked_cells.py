"""Pretraining without labels: cells are hidden, and each row's vector must tell what they were.

B samples, R rows, C columns, L sub-words, Z numbers of a sentence's vector. After Devlin et al.
2019 (BERT), section 3.1, on cells.
DIFFERS: a hidden cell looks like a missing one, which the model must cope with anyway; no cell is
replaced by another's value. Texts are hidden, but not predicted.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from nexus_model.encode.table_encoder import DatabaseEncoder, part_name
from nexus_model.model import NexusFormer
from nexus_model.predict.cell_heads import CellHeads, CellTargets, cell_losses, column_scores
from nexus_model.schema import Record, TrainingError
from nexus_model.tokenize.batch import RelBatch, TableRows, TaskTensors, build_batch
from nexus_model.tokenize.columns import FIRST_ID, MISSING
from nexus_model.tokenize.move import device_of, moved
from nexus_model.tokenize.statistics import TableTokenizer, Tokenizer
from nexus_model.train.schedule import warmup_cosine

Array = np.ndarray
SHARED = "database."


class PretrainingConfig(Record):
    """How rows are learned before any label is seen."""

    hidden_share: float = Field(0.3, gt=0, lt=1, description="of all cells")
    batch_size: int = Field(256, gt=0, description="samples")
    epochs: int = Field(10, gt=0)
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    warmup_steps: int = Field(50, ge=0)
    gradient_clipping: float = Field(1.0, gt=0)
    seed: int = Field(0, ge=0)


class PretrainingReport(Record):
    """Mean loss of a hidden cell by epoch, hidden cells in all, weights that were trained."""

    loss: tuple[float, ...]
    hidden_cells: int
    parameters: int


class HiddenRows(NamedTuple):
    """A table with some cells hidden, and what they were."""

    rows: TableRows
    targets: CellTargets


class CellLearner(nn.Module):
    """A database encoder and cell heads on its rows' vectors; the encoder is the model's own."""

    def __init__(self, database: DatabaseEncoder, tokenizer: Tokenizer, width: int) -> None:
        super().__init__()
        self.database = database
        self.fitted = {table.table: table for table in tokenizer.tables}
        self.heads = nn.ModuleDict(
            {
                part_name(table.table): CellHeads(table, width)
                for table in tokenizer.tables
                if table.numerical or table.temporal or table.categorical
            }
        )

    def forward(self, hidden: Mapping[str, HiddenRows]) -> tuple[Tensor, Tensor]:
        """Sum of the losses of all hidden cells, and their number."""
        rows_RD = self.database({name: table.rows for name, table in hidden.items()})
        losses, counts = zip(
            *(
                cell_losses(self.heads[part_name(name)](rows_RD[name]), table.targets)
                for name, table in hidden.items()
                if part_name(name) in self.heads
            ),
            strict=True,
        )
        return torch.stack(losses).sum(), torch.stack(counts).sum()

    def scores(self, batch: RelBatch, table: str) -> dict[str, float]:
        """How well each column of a table is told from all others: R2, or accuracy."""
        with torch.no_grad():
            fitted = self.fitted[table]
            names = [
                *(column.name for column in fitted.numerical),
                *(column.name for column in fitted.temporal),
                *(column.name for column in fitted.categorical),
            ]
            found: dict[str, float] = {}
            for column in range(len(names)):
                hidden = _hide_column(batch.tables[table], fitted, column)
                rows_RD = self.database({**batch.tables, table: hidden.rows})[table]
                cells = self.heads[part_name(table)](rows_RD)
                found |= dict(column_scores(cells, hidden.targets, names))
            return found


def hide_cells(
    rows: TableRows, fitted: TableTokenizer, share: float, generator: torch.Generator
) -> HiddenRows:
    """Hide a share of the cells of a table's rows; the rows that are given stay as they are."""
    count, device = len(rows.ids_R), rows.ids_R.device

    def drawn(columns: int) -> Tensor:
        return (torch.rand(count, columns, generator=generator) < share).to(device)

    return _hide(
        rows,
        len(fitted.numerical),
        drawn(rows.present_RC.shape[1]),
        drawn(rows.categorical_RC.shape[1]),
        drawn(len(fitted.text)),
    )


def _hide_column(rows: TableRows, fitted: TableTokenizer, column: int) -> HiddenRows:
    values, ids = rows.present_RC.shape[1], rows.categorical_RC.shape[1]
    chosen_RC = torch.zeros(len(rows.ids_R), values + ids, dtype=torch.bool)
    chosen_RC[:, column] = True
    number_RC, id_RC = chosen_RC.to(rows.ids_R.device).split([values, ids], dim=1)
    text_RC = id_RC.new_zeros(len(rows.ids_R), len(fitted.text))
    return _hide(rows, len(fitted.numerical), number_RC, id_RC, text_RC)


def _hide(
    rows: TableRows, numbers: int, number_RC: Tensor, id_RC: Tensor, text_RC: Tensor
) -> HiddenRows:
    number_RC = number_RC & rows.present_RC
    id_RC = id_RC & (rows.categorical_RC >= FIRST_ID)
    words_RC, sentences_RC = text_RC.split([rows.text_RCL.shape[1], rows.vectors_RCZ.shape[1]], 1)
    values_RC = torch.cat([rows.numerical_RC, rows.temporal_RCF[..., 0]], dim=1)
    hidden = rows._replace(
        numerical_RC=rows.numerical_RC.masked_fill(number_RC[:, :numbers], 0.0),
        temporal_RCF=rows.temporal_RCF.masked_fill(number_RC[:, numbers:, None], 0.0),
        present_RC=rows.present_RC & ~number_RC,
        categorical_RC=rows.categorical_RC.masked_fill(id_RC, MISSING),
        text_RCL=rows.text_RCL.masked_fill(words_RC[..., None], 0),
        vectors_RCZ=rows.vectors_RCZ.masked_fill(sentences_RC[..., None], 0.0),
    )
    return HiddenRows(hidden, CellTargets(values_RC, number_RC, rows.categorical_RC, id_RC))


def pretrain(
    model: NexusFormer,
    tokenizer: Tokenizer,
    tensors: TaskTensors,
    chosen_B: Array,
    config: PretrainingConfig,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,  # noqa: ARG005
) -> tuple[CellLearner, PretrainingReport]:
    """Train the model's database encoder on what the chosen samples see; labels are not read.

    Every random number follows from the seed and the epoch. The learner shares the model's
    weights; its heads serve ``CellLearner.scores`` and may be thrown away.

    Raises:
        TrainingError: there are no samples, no cells to hide, or a loss is not finite.
    """
    if not len(chosen_B):
        raise TrainingError("pretraining needs samples, got none")
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        learner = CellLearner(model.database, tokenizer, model.config.width)
    learner.to(device_of(model))
    optimizer = torch.optim.AdamW(
        learner.parameters(), lr=config.lr, weight_decay=config.weight_decay
    )
    losses, cells = [], 0
    for epoch in range(config.epochs):
        with torch.random.fork_rng():
            torch.manual_seed(config.seed * 100_003 + epoch)
            learner.train()
            total, count = _epoch(
                learner, optimizer, tensors, (chosen_B, model.config.parent_hops), config, epoch
            )
        if not np.isfinite(total) or not count:
            raise TrainingError(f"pretraining: loss {total} of {count} hidden cells, epoch {epoch}")
        losses.append(total / count)
        cells += count
        on_epoch(epoch, losses[-1])
    learner.eval()
    parameters = sum(weight.numel() for weight in model.database.parameters())
    report = PretrainingReport(loss=tuple(losses), hidden_cells=cells, parameters=parameters)
    return learner, report


def _epoch(
    learner: CellLearner,
    optimizer: torch.optim.Optimizer,
    tensors: TaskTensors,
    seen: tuple[Array, int],
    config: PretrainingConfig,
    epoch: int,
) -> tuple[float, int]:
    chosen_B, hops = seen
    order_B = np.random.default_rng([config.seed, epoch]).permutation(chosen_B)
    generator = torch.Generator().manual_seed(config.seed * 100_003 + epoch)
    starts = range(0, len(order_B), config.batch_size)
    total, count = 0.0, 0
    for number, start in enumerate(starts):
        batch = build_batch(tensors, order_B[start : start + config.batch_size], hops)
        batch = moved(batch, device_of(learner))
        hidden = {
            name: hide_cells(rows, learner.fitted[name], config.hidden_share, generator)
            for name, rows in batch.tables.items()
        }
        step = epoch * len(starts) + number
        factor = warmup_cosine(step, config.warmup_steps, len(starts) * config.epochs)
        for group in optimizer.param_groups:
            group["lr"] = config.lr * factor
        loss, cells = learner(hidden)
        optimizer.zero_grad(set_to_none=True)
        (loss / cells.clamp(min=1)).backward()
        nn.utils.clip_grad_norm_(learner.parameters(), config.gradient_clipping)
        optimizer.step()
        total, count = total + float(loss.detach()), count + int(cells)
    return total, count


def database_weights(model: NexusFormer) -> dict[str, Tensor]:
    """Copies of the weights that pretraining trains, by their names in the model."""
    return {
        name: tensor.detach().clone()
        for name, tensor in model.state_dict().items()
        if name.startswith(SHARED)
    }


def load_pretrained(model: NexusFormer, weights: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Copy the weights the model has under the same name and shape; their names, in order.

    What belongs to columns or tables that differ is left as it is.
    """
    own = model.state_dict()
    matched = tuple(
        name
        for name, tensor in weights.items()
        if name.startswith(SHARED) and name in own and own[name].shape == tensor.shape
    )
    with torch.no_grad():
        for name in matched:
            own[name].copy_(weights[name])
    return matched
