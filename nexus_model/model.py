"""NexusFormer: encode every row once, let the tables talk in cycles, answer.

B samples, K rows, D width, M summary tokens per path, Q state tokens of all paths, F age or clock
features, Y outputs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nexus_model.align.paths import RelationPath
from nexus_model.config import NexusConfig
from nexus_model.encode.choose import build_history_encoder
from nexus_model.encode.table_encoder import DatabaseEncoder
from nexus_model.exchange.cross_attention import Memory
from nexus_model.exchange.gather import AGE_FEATURES, Gathered, age_features, gather
from nexus_model.exchange.refine import Refinement
from nexus_model.exchange.summarize import Summarize
from nexus_model.predict.fuse import AttentionFusion
from nexus_model.predict.heads import Head
from nexus_model.schema import TaskSpec
from nexus_model.tokenize.batch import PathRows, RelBatch
from nexus_model.tokenize.statistics import Tokenizer


class PathEncoder(nn.Module):
    """Rows along one path: dated, read as a history where asked for, summarized."""

    def __init__(self, config: NexusConfig, table: str) -> None:
        super().__init__()
        self.age = nn.Linear(AGE_FEATURES, config.width)
        self.history = build_history_encoder(config.encoder(table), config.width, config.dropout)
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
    """Tokenized tables -> raw outputs ``[B, Y]``; the shape follows from the three arguments."""

    def __init__(
        self,
        config: NexusConfig,
        tokenizer: Tokenizer,
        paths: Sequence[RelationPath],
        task: TaskSpec,
    ) -> None:
        super().__init__()
        self.config, self.path_names = config, tuple(path.name for path in paths)
        self.path_tables = tuple(path.table for path in paths)
        configs = {table.table: config.encoder(table.table) for table in tokenizer.tables}
        self.database = DatabaseEncoder(
            tokenizer.tables, configs, config.width, config.dropout, config.parent_hops
        )
        self.paths = nn.ModuleList(PathEncoder(config, path.table) for path in paths)
        self.refine = Refinement(config.width, config.heads, config.cycles, config.dropout)
        self.fuse = AttentionFusion(config.width, config.heads)
        self.head = Head(config.width, tokenizer.clock_width, task.outputs, config.dropout)

    def forward(self, batch: RelBatch) -> Tensor:
        rows_RD = self.database(batch.tables)
        tokens, gathered = [], []
        for encoder, table, path in zip(self.paths, self.path_tables, batch.paths, strict=True):
            tokens_BMD, found = encoder(rows_RD[table], path)
            tokens.append(tokens_BMD)
            gathered.append(found)
        memory = self._memory(gathered)
        state_BQD = self.refine(torch.cat(tokens, dim=1), memory)
        return self.head(self.fuse(state_BQD), batch.clock_BF.to(state_BQD.dtype))

    def _memory(self, gathered: Sequence[Gathered]) -> Memory:
        lengths = torch.tensor([found.keep_BK.shape[1] for found in gathered])
        path = torch.arange(len(gathered))
        device = gathered[0].rows_BKD.device
        return Memory(
            torch.cat([found.rows_BKD for found in gathered], dim=1),
            torch.cat([found.keep_BK for found in gathered], dim=1),
            path.repeat_interleave(lengths).to(device),
            path.repeat_interleave(self.config.summary_tokens).to(device),
        )
