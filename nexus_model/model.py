"""NexusFormer: encode every row once, let the tables talk in cycles, answer.

B samples, K rows, D width, M summary tokens per path, Q state tokens of all paths, P paths, F age
or clock features, Y outputs.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from nexus_model.align.paths import RelationPath
from nexus_model.config import NexusConfig
from nexus_model.encode.choose import build_history_encoder
from nexus_model.encode.table_encoder import DatabaseEncoder
from nexus_model.exchange.cohort import CohortAttention
from nexus_model.exchange.gather import AGE_FEATURES, Gathered, age_features, gather
from nexus_model.exchange.memory import Memory, packed
from nexus_model.exchange.refine import Refinement
from nexus_model.exchange.summarize import Summarize
from nexus_model.layers.choose_feed_forward import feed_forward_of
from nexus_model.predict.additive import build_additive_head
from nexus_model.predict.fuse import build_fusion
from nexus_model.predict.fusion_kind import FusionKind
from nexus_model.predict.heads import build_head
from nexus_model.schema import TaskSpec
from nexus_model.tokenize.batch import PathRows, RelBatch
from nexus_model.tokenize.statistics import Tokenizer

ALSO_HEADS = "also_heads."


class PathEncoder(nn.Module):
    """Rows along one path: dated, read as a history where asked for, summarized."""

    def __init__(self, config: NexusConfig, table: str) -> None:
        super().__init__()
        self.age = nn.Linear(AGE_FEATURES, config.width)
        self.history = build_history_encoder(config.table(table), config.width, config.dropout)
        self.norm = nn.LayerNorm(config.width)
        self.summarize = Summarize(config.width, config.summary_tokens)

    def forward(self, rows_RD: Tensor, path: PathRows) -> tuple[Tensor, Gathered]:
        gathered = gather(rows_RD, path)
        rows_BKD = gathered.rows_BKD + self.age(age_features(gathered))
        if self.history is not None:
            rows_BKD = self.history(rows_BKD, gathered.age_BK, gathered.keep_BK)
        tokens_BMD = self.summarize(gathered, rows_BKD)
        return tokens_BMD, gathered._replace(rows_BKD=self.norm(rows_BKD))


class NexusFormer(nn.Module):
    """Tokenized tables -> raw outputs ``[B, Y]``; the shape follows from the arguments.

    ``also`` are further tasks about the same samples, answered by heads of their own from the same
    fused state; they are there to be learned from, and ``forward`` does not ask them.
    """

    def __init__(
        self,
        config: NexusConfig,
        tokenizer: Tokenizer,
        paths: Sequence[RelationPath],
        task: TaskSpec,
        also: Sequence[TaskSpec] = (),
    ) -> None:
        super().__init__()
        self.config, self.path_names = config, tuple(path.name for path in paths)
        self.path_tables = tuple(path.table for path in paths)
        configs = {table.table: config.table(table.table) for table in tokenizer.tables}
        self.database = DatabaseEncoder(
            tokenizer.tables, configs, config.width, config.dropout, config.parent_hops
        )
        self.paths = nn.ModuleList(PathEncoder(config, path.table) for path in paths)
        think = partial(
            feed_forward_of(config.experts, config.feed_forward),
            config.width,
            2 * config.width,
            config.dropout,
        )
        self.refine = Refinement(config.refinement, config.width, config.heads, len(paths), think)
        tokens = len(paths) * config.summary_tokens
        self.fuse = build_fusion(config.fusion, config.width, config.heads, tokens)
        self.cohort = (
            CohortAttention(config.width, tokenizer.clock_width, config.heads, config.dropout)
            if config.cohort
            else None
        )
        self.head = _head(config, tokenizer.clock_width, task)
        # After everything else, so that what else there is draws the same weights without them.
        self.also_names = tuple(asked.name for asked in also)
        self.also_heads = nn.ModuleList(
            _head(config, tokenizer.clock_width, asked) for asked in also
        )
        self.register_buffer("context_PP", self._context(), persistent=False)

    def _context(self) -> Tensor | None:
        """Log of the factor on reading each path's table; None if all are one."""
        weights = [self.config.table(table).context_weight for table in self.path_tables]
        if all(weight == 1 for weight in weights):
            return None
        return torch.tensor(weights).log().expand(len(weights), -1).clone()

    def forward(self, batch: RelBatch, cycles: int | None = None) -> Tensor:
        """Raw outputs; ``cycles`` overrides the configured number of refinements."""
        fused_BD = self.embed(batch, cycles)
        return self.head(fused_BD, batch.clock_BF.to(fused_BD.dtype))

    def answers(self, batch: RelBatch, cycles: int | None = None) -> tuple[Tensor, ...]:
        """Raw outputs of the task, then those of every further one, from one reading of a batch."""
        fused_BD = self.embed(batch, cycles)
        clock_BF = batch.clock_BF.to(fused_BD.dtype)
        return tuple(head(fused_BD, clock_BF) for head in (self.head, *self.also_heads))

    def embed(self, batch: RelBatch, cycles: int | None = None) -> Tensor:
        """``[B, D]``: one vector per sample, all tables fused, and its cohort's where asked for."""
        rows_RD, keep_BP = self.database(batch.tables), self._present(batch)
        tokens, gathered = [], []
        for encoder, table, path in zip(self.paths, self.path_tables, batch.paths, strict=True):
            tokens_BMD, found = encoder(rows_RD[table], path)
            tokens.append(tokens_BMD)
            gathered.append(found)
        memory = self._memory(gathered, keep_BP)
        state_BQD = self.refine(torch.cat(tokens, dim=1), memory, cycles)
        fused_BD = self.fuse(state_BQD, memory.keep_BQ)
        if self.cohort is None:
            return fused_BD
        return self.cohort(fused_BD, batch.clock_BF.to(fused_BD.dtype), batch.cohort_B)

    def _present(self, batch: RelBatch) -> Tensor:
        """Bool ``[B, P]``: paths whose table is there; in training some are left out.

        The first path, the entity's own row, always stays.
        """
        keep_BP = batch.present_P.expand(batch.samples, -1)
        if not (self.training and self.config.table_dropout):
            return keep_BP
        drawn_BP = torch.rand(keep_BP.shape, device=keep_BP.device)
        stays_BP = drawn_BP >= self.config.table_dropout
        stays_BP[:, :1] = True
        return keep_BP & stays_BP

    def _memory(self, gathered: Sequence[Gathered], keep_BP: Tensor) -> Memory:
        device = keep_BP.device
        lengths = torch.tensor([found.keep_BK.shape[1] for found in gathered], device=device)
        path = torch.arange(len(gathered), device=device)
        path_K = path.repeat_interleave(lengths)
        rows_BKD, keep_BK, path_BK = packed(
            torch.cat([found.rows_BKD for found in gathered], dim=1),
            torch.cat([found.keep_BK for found in gathered], dim=1) & keep_BP[:, path_K],
            path_K,
        )
        path_Q = path.repeat_interleave(self.config.summary_tokens)
        return Memory(
            rows_BKD=rows_BKD,
            keep_BK=keep_BK,
            path_BK=path_BK,
            path_Q=path_Q,
            keep_BQ=keep_BP[:, path_Q],
            paths=len(gathered),
            context_PP=self.context_PP,
        )


def own_weights(model: NexusFormer) -> dict[str, Tensor]:
    """The weights that answer the task, by name; heads of further tasks are left out."""
    return {
        name: tensor
        for name, tensor in model.state_dict().items()
        if not name.startswith(ALSO_HEADS)
    }


def _head(config: NexusConfig, clock: int, task: TaskSpec) -> nn.Module:
    if config.fusion is FusionKind.ADDITIVE:
        return build_additive_head(config.width, clock, task, config.dropout)
    return build_head(config.width, clock, task, config.dropout, config.head_members)
