"""TabNet: step by step, a row looks at a few of its columns and decides something from them.

R rows, C columns, D width, F hidden width (half for the decision, half for the next mask), L
decision steps. Arik and Pfister 2019 (TabNet), sections 3.2 to 3.5.
DIFFERS: a mask value multiplies all D values of its column's cell; the paper masks scalars.
DIFFERS: ``norm="layer"`` by default, so that a row's vector does not depend on the rows it is
trained with; ``"ghost_batch"`` is the paper's. Ghost batches have at least ``virtual_batch`` rows
where there are as many, none has one row; a single row in training is normed as at inference.
DIFFERS: scores of columns start ten times smaller, so that no column is left out before it was
tried; with scores of size one, some trainings kept to columns that say nothing.
DIFFERS: with ``norm="layer"`` the cells enter as they are; the paper norms its raw numbers.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Literal, NamedTuple, assert_never

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from nexus_model.layers.dropout import Dropout
from nexus_model.layers.shape import check_shape
from nexus_model.layers.sparse_maps import entmax15, sparsemax
from nexus_model.layers.tap import Tap, listening
from nexus_model.schema import Record

SHARED_LAYERS, OWN_LAYERS = 2, 2
MOMENTUM = 0.02
FIRST_SCORES = 0.1


class TabNetConfig(Record):
    """Attention over columns that leaves most of them out, in several steps."""

    kind: Literal["tabnet"] = "tabnet"
    num_decision_steps: int = Field(4, ge=1, le=16)
    relaxation: float = Field(1.3, ge=1, description="1: a column is used in one step only")
    mask: Literal["sparsemax", "entmax15"] = "sparsemax"
    feature_selection: bool = Field(default=True, description="false: all steps read all columns")
    sparsity: float = Field(1e-3, ge=0, description="weight of the sparsity loss")
    norm: Literal["layer", "ghost_batch"] = "layer"
    virtual_batch: int = Field(128, ge=2, description="rows normed together, if ghost_batch")


class Steps(NamedTuple):
    """What each step looked at and what it decided."""

    mask_LRC: Tensor
    decision_LRD: Tensor


def importances(steps: Steps) -> Tensor:
    """Share of each column in a row's decisions, ``[R, C]`` (section 3.5).

    Rows sum to 1; a row that decided nothing, or that has no columns, gets zeros.

    >>> steps = Steps(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), torch.tensor([[[3.0]], [[1.0]]]))
    >>> importances(steps).tolist()
    [[0.75, 0.25]]
    """
    total_RC = torch.einsum("lrc,lrd->rc", steps.mask_LRC, steps.decision_LRD)
    tiny = torch.finfo(total_RC.dtype).tiny
    return total_RC / total_RC.sum(-1, keepdim=True).clamp(min=tiny)


def sparsity_loss(mask_LRC: Tensor) -> Tensor:
    """Mean entropy of the masks in nats (section 3.4): 0 if each mask picks one column.

    >>> sparsity_loss(torch.eye(3)[None]).item()
    0.0
    """
    steps, rows, _ = mask_LRC.shape
    entropy_LRC = -mask_LRC * (mask_LRC + 1e-15).log()
    return entropy_LRC.sum() / max(1, steps * rows)


class GhostBatchNorm(nn.Module):
    """Batch norm over ghost batches in training, over running statistics at inference."""

    def __init__(self, features: int, virtual_batch: int) -> None:
        super().__init__()
        self.virtual_batch = virtual_batch
        self.norm = nn.BatchNorm1d(features, momentum=MOMENTUM)

    def forward(self, rows_RF: Tensor) -> Tensor:
        if self.training and len(rows_RF) > 1:
            ghosts = rows_RF.tensor_split(max(1, len(rows_RF) // self.virtual_batch))
            return torch.cat([self.norm(ghost_RF) for ghost_RF in ghosts])
        norm = self.norm
        mean_F, variance_F = norm.running_mean, norm.running_var
        return F.batch_norm(rows_RF, mean_F, variance_F, norm.weight, norm.bias, eps=norm.eps)


def build_norm(config: TabNetConfig, features: int) -> nn.Module:
    """The norm the configuration names, over so many features."""
    match config.norm:
        case "layer":
            return nn.LayerNorm(features)
        case "ghost_batch":
            return GhostBatchNorm(features, config.virtual_batch)
        case _ as unreachable:
            assert_never(unreachable)


class FeatureTransformer(nn.Module):
    """Gated layers, the first of them shared by all steps, with residuals scaled by 1/sqrt(2)."""

    def __init__(self, hidden: int, config: TabNetConfig) -> None:
        super().__init__()
        layers = SHARED_LAYERS + OWN_LAYERS
        own = (nn.Linear(hidden, 2 * hidden, bias=False) for _ in range(OWN_LAYERS))
        self.own = nn.ModuleList(own)
        self.norms = nn.ModuleList(build_norm(config, 2 * hidden) for _ in range(layers))

    def forward(self, masked_RF: Tensor, shared: nn.ModuleList) -> Tensor:
        layers = zip(chain(shared, self.own), self.norms, strict=True)
        first, norm = next(layers)
        rows_RF = F.glu(norm(first(masked_RF)))
        for linear, norm in layers:
            rows_RF = (rows_RF + F.glu(norm(linear(rows_RF)))) * math.sqrt(0.5)
        return rows_RF


class AttentiveTransformer(nn.Module):
    """Which columns the next step looks at: scores, scaled by what is left of each column."""

    def __init__(self, columns: int, width: int, config: TabNetConfig) -> None:
        super().__init__()
        self.mask = config.mask
        self.score = nn.Linear(width, columns, bias=False)
        self.norm = build_norm(config, columns)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Scores start small: masks begin near even and gradient reaches every column."""
        scale = self.norm.norm if isinstance(self.norm, GhostBatchNorm) else self.norm
        nn.init.constant_(scale.get_parameter("weight"), FIRST_SCORES)

    def forward(self, prior_RC: Tensor, attended_RD: Tensor) -> Tensor:
        score_RC = self.norm(self.score(attended_RD)) * prior_RC
        match self.mask:
            case "sparsemax":
                return sparsemax(score_RC)
            case "entmax15":
                return entmax15(score_RC)
            case _ as unreachable:
                assert_never(unreachable)


class TabNetEncoder(nn.Module):
    """``cells_RCD -> rows_RD``; ``tap_mask`` passes on the Steps of each call.

    >>> TabNetEncoder(3, 8, TabNetConfig(), dropout=0.0)(torch.zeros(5, 3, 8)).shape
    torch.Size([5, 8])
    """

    def __init__(self, columns: int, width: int, config: TabNetConfig, dropout: float) -> None:
        super().__init__()
        self.columns, self.width = columns, width
        self.steps, self.relaxation = config.num_decision_steps, config.relaxation
        self.sparsity = config.sparsity if config.feature_selection else 0.0
        cells, hidden = columns * width, 2 * width
        plain = config.norm == "layer" or columns == 0
        self.enter = None if plain else build_norm(config, cells)
        with warnings.catch_warnings():
            # A table of keys alone has no cells: its rows are the norms' biases.
            warnings.filterwarnings("ignore", message="Initializing zero-element tensors")
            sizes = [cells] + [hidden] * (SHARED_LAYERS - 1)
            shared = (nn.Linear(size, 2 * hidden, bias=False) for size in sizes)
            self.shared = nn.ModuleList(shared)
        masks = self.steps if config.feature_selection and columns > 0 else 0
        self.first = FeatureTransformer(hidden, config) if masks else None
        attend = (AttentiveTransformer(columns, width, config) for _ in range(masks))
        self.attend = nn.ModuleList(attend)
        transform = (FeatureTransformer(hidden, config) for _ in range(self.steps))
        self.transform = nn.ModuleList(transform)
        self.tap_mask = Tap()
        self.dropout = Dropout(dropout)
        self.project = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, cells_RCD: Tensor) -> Tensor:
        steps = self.tap_mask(self.decide(cells_RCD))
        return self.norm(self.project(self.dropout(steps.decision_LRD.sum(0))))

    def importances(self, cells_RCD: Tensor) -> Tensor:
        """Share of each column in the rows' decisions, ``[R, C]``."""
        return importances(self.decide(cells_RCD))

    def decide(self, cells_RCD: Tensor) -> Steps:
        """All steps, one after another: mask the columns, transform, decide, look elsewhere."""
        check_shape(cells_RCD, "R C D", C=self.columns, D=self.width)
        cells_RCD = self._enter(cells_RCD)
        mask_RC = prior_RC = cells_RCD.new_ones(cells_RCD.shape[:2])
        # Without selection nothing reads what is to be attended to.
        attended_RD = cells_RCD.new_zeros(len(cells_RCD), 0)
        if self.first is not None:
            attended_RD = self.first(cells_RCD.flatten(1), self.shared)[:, self.width :]
        masks, decisions = [], []
        for step, transform in enumerate(self.transform):
            if len(self.attend) > 0:
                mask_RC = self.attend[step](prior_RC, attended_RD)
                prior_RC = prior_RC * (self.relaxation - mask_RC)
            masked_RCD = mask_RC[..., None] * cells_RCD
            decision_RD, attended_RD = transform(masked_RCD.flatten(1), self.shared).chunk(2, -1)
            masks.append(mask_RC)
            decisions.append(decision_RD.relu())
        return Steps(torch.stack(masks), torch.stack(decisions))

    def _enter(self, cells_RCD: Tensor) -> Tensor:
        cells_RCD = cells_RCD.to(self.project.weight.dtype)
        if self.enter is None:
            return cells_RCD
        return self.enter(cells_RCD.flatten(1)).view_as(cells_RCD)


@contextmanager
def collect_steps(model: nn.Module) -> Iterator[list[tuple[TabNetEncoder, Steps]]]:
    """What the TabNet encoders of ``model`` look at and decide meanwhile, call by call.

    >>> encoder = TabNetEncoder(3, 8, TabNetConfig(num_decision_steps=2), dropout=0.0)
    >>> with collect_steps(encoder) as calls:
    ...     _ = encoder(torch.zeros(5, 3, 8))
    >>> [steps.mask_LRC.shape for _, steps in calls]
    [torch.Size([2, 5, 3])]
    """
    found: list[tuple[TabNetEncoder, Steps]] = []
    owners = dict(model.named_modules())

    def listen(layer: str, steps: Steps) -> None:
        owner = owners[layer]
        if isinstance(owner, TabNetEncoder):
            found.append((owner, steps))

    with listening(model, "tap_mask", listen):
        yield found


def sparsity_penalty(calls: list[tuple[TabNetEncoder, Steps]]) -> Tensor:
    """Sum of the sparsity losses of the calls, each by the weight of its encoder; 0 for none."""
    losses = [owner.sparsity * sparsity_loss(steps.mask_LRC) for owner, steps in calls]
    return torch.stack(losses).sum() if losses else torch.zeros(())
