"""What is compared: one recipe per model, its network and how it is trained.

B samples, R rows (a sample is a row), C columns, D width, E members, Y outputs.
"""

from typing import Literal, assert_never

import torch
from pydantic import Field
from torch import Tensor, nn

from nexus_model.encode.cells import CellEmbedding
from nexus_model.encode.choose import (
    FTTransformerConfig,
    MLPConfig,
    StandardConfig,
    TableConfig,
)
from nexus_model.encode.numbers import PeriodicNumbers, PiecewiseNumbers
from nexus_model.encode.table_encoder import TableEncoder
from nexus_model.encode.tabnet import TabNetConfig
from nexus_model.layers.batch_ensemble import MemberLinear, MemberScale
from nexus_model.predict.heads import build_head
from nexus_model.schema import Record, TaskSpec
from nexus_model.tokenize.batch import TableRows
from nexus_model.tokenize.statistics import NumericalScaling, TableTokenizer


class Recipe(Record):
    """A model of one table and how it is trained."""

    net: Literal["encoder_and_head", "ensemble_mlp"] = "encoder_and_head"
    table: TableConfig = TableConfig()
    width: int = Field(64, gt=0)
    members: int = Field(1, gt=0, description="heads, or of ensemble_mlp whole networks")
    hidden: int = Field(256, gt=0, description="of ensemble_mlp")
    blocks: int = Field(2, gt=0, description="of ensemble_mlp")
    dropout: float = Field(0.1, ge=0, lt=1)
    scaling: NumericalScaling = NumericalScaling.QUANTILE
    bins: int | None = Field(None, gt=0, description="of piecewise; as in the library if unset")
    batch: int = Field(256, gt=0)
    lr: float = Field(1e-3, gt=0)
    schedule: Literal["steps", "cosine"] = "steps"
    lr_factor: float = Field(1.0, gt=0, le=1, description="of steps: on the rate, every lr_steps")
    lr_steps: int = Field(2000, gt=0)
    weight_decay: float = Field(1e-5, ge=0)
    clipping: float = Field(1.0, gt=0, description="largest gradient norm")
    patience: int = Field(16, gt=0, description="epochs without a better validation")
    epochs: int = Field(200, gt=0)


class EncoderAndHead(nn.Module):
    """A table encoder of the library and the library's head on it."""

    def __init__(self, table: TableTokenizer, recipe: Recipe, task: TaskSpec) -> None:
        super().__init__()
        self.encoder = TableEncoder(table, recipe.table, recipe.width, recipe.dropout)
        self.head = build_head(recipe.width, 0, task, recipe.dropout, recipe.members)

    def forward(self, rows: TableRows) -> Tensor:
        rows_RD = self.encoder(rows)
        return self.head(rows_RD, rows_RD.new_zeros(len(rows_RD), 0))


class EnsembleMLP(nn.Module):
    """TabM-mini on the library's cells: each member scales the cells, then all share one MLP.

    Gorishniy et al. 2025 (TabM), section 3.3. Of the library: cell embeddings, member layers; the
    plain MLP between them is of this benchmark alone.
    """

    def __init__(self, table: TableTokenizer, recipe: Recipe, task: TaskSpec) -> None:
        super().__init__()
        self.cells = CellEmbedding(table, recipe.table, recipe.width, recipe.dropout)
        inputs = self.cells.columns * recipe.width
        self.views = MemberScale(recipe.members, inputs)
        sizes = [inputs] + [recipe.hidden] * recipe.blocks
        layers: list[nn.Module] = []
        for size in sizes[:-1]:
            layers += [nn.Linear(size, recipe.hidden), nn.ReLU(), nn.Dropout(recipe.dropout)]
        self.shared = nn.Sequential(*layers)
        self.head = MemberLinear(recipe.members, recipe.hidden, task.outputs)

    def forward(self, rows: TableRows) -> Tensor:
        views_BEF = self.views(self.cells(rows).flatten(1))
        return self.head(self.shared(views_BEF)).flatten(1)


def build_net(table: TableTokenizer, recipe: Recipe, task: TaskSpec) -> nn.Module:
    """The network of a recipe: rows -> raw outputs ``[B, Y]``."""
    match recipe.net:
        case "encoder_and_head":
            return EncoderAndHead(table, recipe, task)
        case "ensemble_mlp":
            return EnsembleMLP(table, recipe, task)
        case _ as unreachable:
            assert_never(unreachable)


def recipes(table: str) -> dict[str, Recipe]:
    """All models by name; TabNet's sizes are the paper's tuned ones of each table."""
    tabnet = {
        "california": TabNetConfig(
            num_decision_steps=7, relaxation=1.85, sparsity=1.16e-4, norm="ghost_batch",
            virtual_batch=256,
        ),
        "adult": TabNetConfig(
            num_decision_steps=5, relaxation=1.61, sparsity=1e-4, norm="ghost_batch",
            virtual_batch=256,
        ),
    }  # fmt: skip
    return {
        "mlp": Recipe(table=TableConfig(encoder=MLPConfig(blocks=2)), width=128),
        "mlp_piecewise": Recipe(
            table=TableConfig(encoder=MLPConfig(blocks=2), numbers=PiecewiseNumbers()), width=128
        ),
        "mlp_piecewise_members": Recipe(
            table=TableConfig(encoder=MLPConfig(blocks=2), numbers=PiecewiseNumbers()),
            width={"california": 128, "adult": 64}[table],
            members=8,
            bins=64,
            dropout=0.3,
            lr=2e-3,
            schedule="cosine",
            epochs={"california": 30, "adult": 10}[table],
        ),
        "ensemble_mlp": Recipe(
            net="ensemble_mlp",
            table=TableConfig(numbers=PiecewiseNumbers()),
            width=16,
            members=8,
            blocks=3,
            bins={"california": 64, "adult": 96}[table],
            dropout=0.15,
            batch={"california": 128, "adult": 256}[table],
            lr={"california": 3e-3, "adult": 2e-3}[table],
            schedule="cosine",
            epochs={"california": 36, "adult": 10}[table],
        ),
        "standard": Recipe(
            table=TableConfig(encoder=StandardConfig(), numbers=PeriodicNumbers()), width=64
        ),
        "tabnet": Recipe(
            table=TableConfig(encoder=tabnet[table]),
            width={"california": 8, "adult": 32}[table],
            dropout=0.0,
            batch=2048,
            lr=8.9e-3,
            lr_factor=0.468,
            patience=40,
            epochs=400,
        ),
        "ft_transformer": Recipe(
            table=TableConfig(encoder=FTTransformerConfig(blocks=3, heads=8)),
            width=192,
            lr=1e-4,
            clipping=1e9,
        ),
    }


def parameters(net: nn.Module) -> int:
    """Number of weights that are learned."""
    return sum(weight.numel() for weight in net.parameters() if weight.requires_grad)


def seeded(seed: int) -> torch.Generator:
    """Seeds torch's own draws too, which initialise weights and drop units."""
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)
