"""Summary tokens of one path: read-outs that keep cardinality, beside learned tokens.

B samples, K rows, D width, M summary tokens, W windows. A softmax forgets how many rows it read;
counts and windowed means do not.
"""

import torch
from torch import Tensor, nn

from nexus_model.exchange.gather import Gathered

LAST_ROWS = (1, 3, 10)
LAST_DAYS = (90.0, 365.0)
WINDOWS = len(LAST_ROWS) + len(LAST_DAYS) + 1


def windows(gathered: Gathered) -> Tensor:
    """Bool ``[B, W, K]``: the last 1, 3, 10 rows; the last 90, 365 days; everything."""
    step_K = torch.arange(gathered.keep_BK.shape[1], device=gathered.keep_BK.device)
    rank_BK = gathered.length_B[:, None] - 1 - step_K
    masks = [rank_BK < rows for rows in LAST_ROWS]
    masks += [gathered.age_BK <= days for days in LAST_DAYS]
    masks.append(torch.ones_like(gathered.keep_BK))
    return torch.stack(masks, dim=1) & gathered.keep_BK[:, None]


class Summarize(nn.Module):
    """Windowed means and log-counts of a path's rows -> its first ``M`` state tokens."""

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(WINDOWS * (width + 1), tokens * width)
        self.start_MD = nn.Parameter(torch.empty(tokens, width))
        nn.init.normal_(self.start_MD, std=width**-0.5)

    def forward(self, gathered: Gathered, rows_BKD: Tensor) -> Tensor:
        mask_BWK = windows(gathered).to(rows_BKD.dtype)
        count_BW = mask_BWK.sum(-1)
        mean_BWD = mask_BWK @ self.norm(rows_BKD) / count_BW.clamp(min=1)[..., None]
        read_BF = torch.cat([mean_BWD.flatten(1), count_BW.log1p()], dim=1)
        return self.project(read_BF).unflatten(1, (self.tokens, -1)) + self.start_MD
