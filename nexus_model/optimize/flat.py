"""The network as a function of a flat list of tensors, which is what an exporter can follow.

B samples, K rows of a sample (padded), R unique rows of a table, C columns, D width, F clock or
age features, P paths, Q state tokens of all paths, M state tokens of one, N tokens of experts, E
experts, J chosen ones, L sub-words, Z numbers of a sentence's vector. Rows are padded outside, so
that no size depends on a value.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nexus_model.exchange.gather import Gathered, age_features
from nexus_model.exchange.memory import Memory
from nexus_model.layers.experts.layer import MixtureOfExperts
from nexus_model.model import NexusFormer
from nexus_model.tokenize.batch import PathRows, RelBatch, TableRows

_FIELDS = (
    "numerical_RC", "present_RC", "categorical_RC", "temporal_RCF", "text_RCL", "vectors_RCZ",
    "parents_RP",
)  # fmt: skip
_PARTS = ("row_BK", "keep_BK", "age_BK")
SAMPLES = "samples"


class Port(NamedTuple):
    """An input: its name, and what its first sizes count; sizes after them are fixed."""

    name: str
    sizes: tuple[str, ...]


class Layout(NamedTuple):
    """What the network is given, in order; kinds of columns that a table has none of are left out.

    ``empty`` are the shapes of what is left out, after the rows.
    """

    tables: tuple[str, ...]
    fields: tuple[tuple[str, ...], ...]
    empty: tuple[dict[str, tuple[int, ...]], ...]
    path_tables: tuple[str, ...]
    ports: tuple[Port, ...]


def layout_of(model: NexusFormer, batch: RelBatch) -> Layout:
    """The inputs of batches such as this one."""
    fields, empty, ports = [], [], []
    for number, rows in enumerate(batch.tables.values()):
        after = {field: tuple(getattr(rows, field).shape[1:]) for field in _FIELDS}
        given = tuple(field for field in _FIELDS if 0 not in after[field])
        fields.append(given)
        empty.append({field: after[field] for field in _FIELDS if field not in given})
        counted = (f"rows{number}",)
        ports += [Port(f"table{number}_{field}", counted) for field in (*given, "ids_R")]
    for number in range(len(batch.paths)):
        ports += [Port(f"path{number}_{part}", (SAMPLES, f"seen{number}")) for part in _PARTS]
    ports += [Port("clock_BF", (SAMPLES,)), Port("present_P", ()), Port("cohort_B", (SAMPLES,))]
    names = tuple(batch.tables)
    return Layout(names, tuple(fields), tuple(empty), model.path_tables, tuple(ports))


def flatten(batch: RelBatch, layout: Layout) -> list[Tensor]:
    """A batch as the inputs the layout names, in its order."""
    found = []
    for name, fields in zip(layout.tables, layout.fields, strict=True):
        rows = batch.tables[name]
        found += [getattr(rows, field) for field in (*fields, "ids_R")]
    for table, path in zip(layout.path_tables, batch.paths, strict=True):
        found += _padded(path, len(batch.tables[table].ids_R))
    return [*found, batch.clock_BF, batch.present_P, batch.cohort_B]


def _padded(path: PathRows, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Row, whether it is there, and age of each sample's rows; padding is the row after the last.

    DIFFERS from ``gather``: at least two rows long, as exporters take a size of one for fixed.
    """
    length_B = path.offsets_B.diff()
    step_K = torch.arange(max([2, *length_B.tolist()]))
    keep_BK = step_K < length_B[:, None]
    at_BK = (path.offsets_B[:-1, None] + step_K).masked_fill(~keep_BK, len(path.rows_N))
    row_N1 = torch.cat([path.rows_N, path.rows_N.new_full((1,), rows)])
    age_N1 = torch.cat([path.age_N, path.age_N.new_zeros(1)])
    return row_N1[at_BK], keep_BK, age_N1[at_BK]


class FlatNetwork(nn.Module):
    """``NexusFormer`` in evaluation, with the same submodules, asked by position."""

    def __init__(self, model: NexusFormer, layout: Layout) -> None:
        super().__init__()
        self.model, self.layout = model.eval(), layout

    def forward(self, *inputs: Tensor) -> Tensor:
        model, left = self.model, list(inputs)
        rows_RD = model.database(self._tables(left))
        tokens, gathered = [], []
        for encoder, table in zip(model.paths, self.layout.path_tables, strict=True):
            found = _gathered(rows_RD[table], *(left.pop(0) for _ in _PARTS))
            rows_BKD = found.rows_BKD + encoder.age(age_features(found))
            if encoder.history is not None:
                rows_BKD = encoder.history(rows_BKD, found.age_BK, found.keep_BK)
            tokens.append(encoder.summarize(found, rows_BKD))
            gathered.append(found._replace(rows_BKD=encoder.norm(rows_BKD)))
        clock_BF, present_P, cohort_B = left
        memory = self._memory(gathered, present_P.expand(clock_BF.shape[0], -1))
        fused_BD = model.fuse(model.refine(torch.cat(tokens, dim=1), memory), memory.keep_BQ)
        if model.cohort is not None:
            fused_BD = model.cohort(fused_BD, clock_BF, cohort_B)
        return model.head(fused_BD, clock_BF)

    def _tables(self, left: list[Tensor]) -> dict[str, TableRows]:
        tables = {}
        layout = self.layout
        for name, given, lacking in zip(layout.tables, layout.fields, layout.empty, strict=True):
            found = {field: left.pop(0) for field in (*given, "ids_R")}
            rows = found["ids_R"].shape[0]
            lacks = {field: torch.zeros(rows, *after) for field, after in lacking.items()}
            tables[name] = TableRows(**(found | lacks))
        return tables

    def _memory(self, gathered: Sequence[Gathered], keep_BP: Tensor) -> Memory:
        config = self.model.config
        parts = [torch.full_like(g.length_B[:1], p).expand(g.keep_BK.shape[1]) for p, g in
                 enumerate(gathered)]  # fmt: skip
        path_Q = torch.arange(len(gathered)).repeat_interleave(config.summary_tokens)
        there = [g.keep_BK & keep_BP[:, p, None] for p, g in enumerate(gathered)]
        return Memory(
            rows_BKD=torch.cat([found.rows_BKD for found in gathered], dim=1),
            keep_BK=torch.cat(there, dim=1),
            path_BK=torch.cat(parts).expand(keep_BP.shape[0], -1),
            path_Q=path_Q,
            keep_BQ=keep_BP[:, path_Q],
            paths=len(gathered),
            context_PP=self.model.context_PP,
        )


def _gathered(rows_RD: Tensor, row_BK: Tensor, keep_BK: Tensor, age_BK: Tensor) -> Gathered:
    padded_RD = torch.cat([rows_RD, rows_RD.new_zeros(1, rows_RD.shape[1])])
    return Gathered(padded_RD[row_BK], keep_BK, age_BK, keep_BK.sum(1))


class EveryExpert(nn.Module):
    """A mixture in which each token visits all experts and few of them count: no sorting.

    The same function as the mixture given, at ``experts / chosen`` times its work.
    """

    def __init__(self, mixture: MixtureOfExperts) -> None:
        super().__init__()
        self.norm, self.router = mixture.norm, mixture.router
        self.up_EDF, self.down_EFD = mixture.up_EDF, mixture.down_EFD

    def forward(self, x: Tensor) -> Tensor:
        tokens_ND = self.norm(x).flatten(0, -2)
        routing = self.router(tokens_ND)
        weight_NE = torch.zeros_like(routing.probs_NE)
        weight_NE = weight_NE.scatter(1, routing.expert_NJ, routing.weight_NJ)
        gate_ENF, up_ENF = (tokens_ND @ self.up_EDF).chunk(2, dim=-1)
        read_END = (F.silu(gate_ENF) * up_ENF) @ self.down_EFD
        return x + (read_END * weight_NE.T[..., None]).sum(0).view_as(x)


def without_sorting(model: NexusFormer) -> NexusFormer:
    """The model with every sparse mixture replaced in place by one that exporters can follow."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, MixtureOfExperts) and child.form == "sparse":
                setattr(module, name, EveryExpert(child))
    return model
