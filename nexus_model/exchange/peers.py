"""Top-k peers: each table of each sample reads the few other tables its router scores highest.

B samples, P paths, J chosen peers, M state tokens of a path, L offers of one path (padded),
Q = P * M state tokens, N offers of all paths, X = B * P readers, D width, H heads, W head width.
Only the chosen peers' offers are gathered, so the cost follows J and not P.
DIFFERS from plain top-k routing: the gate is 1 in the forward pass and carries the router's
gradient straight through, so choosing all peers is exactly full attention.
"""

import math

import torch
from torch import Tensor, nn

from nexus_model.exchange.cross_attention import CrossContextualAttention, Offered, Reading
from nexus_model.exchange.memory import Memory, path_means
from nexus_model.layers.tap import Tap


class PeerReader(nn.Module):
    """Scores peers from the paths' mean states and reads the best ``top_k`` of each path."""

    def __init__(self, top_k: int, width: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.ask = nn.Linear(width, width, bias=False)
        self.answer = nn.Linear(width, width, bias=False)
        self.tap_peers = Tap()

    def scores(self, state_BQD: Tensor, memory: Memory) -> Tensor:
        """Float32 logits ``[B, P, P]`` of path ``i`` reading path ``j``; -inf where it may not."""
        mean_BPD = path_means(state_BQD, memory)
        asked_BPD, told_BPD = self.ask(mean_BPD).float(), self.answer(mean_BPD).float()
        scores_BPP = asked_BPD @ told_BPD.transpose(1, 2) / math.sqrt(mean_BPD.shape[-1])
        if memory.context_PP is not None:
            scores_BPP = scores_BPP + memory.context_PP
        own_PP = torch.eye(memory.paths, dtype=torch.bool, device=state_BQD.device)
        return scores_BPP.masked_fill(own_PP | ~memory.keep_BP[:, None], -torch.inf)

    def forward(
        self,
        state_BQD: Tensor,
        offered: Offered,
        memory: Memory,
        bias_BHQN: Tensor | None,
        attention: CrossContextualAttention,
        tap_reading: Tap,
    ) -> Tensor:
        scores_BPP = self.tap_peers(self.scores(state_BQD, memory))
        batch, paths = scores_BPP.shape[:2]
        tokens = state_BQD.shape[1] // paths
        best_BPJ = scores_BPP.topk(min(self.top_k, paths - 1), dim=-1).indices
        usable_BPJ = scores_BPP.gather(2, best_BPJ) > -torch.inf
        slots_BPL, there_BPL = _slots(memory)
        sample_B11 = torch.arange(batch, device=best_BPJ.device)[:, None, None]
        at_BPN = slots_BPL[sample_B11, best_BPJ].flatten(2)
        keep_BPN = (there_BPL[sample_B11, best_BPJ] & usable_BPJ[..., None]).flatten(2)
        at_XN, keep_XN = at_BPN.flatten(0, 1), keep_BPN.flatten(0, 1)
        gate_XN1 = self._gates(scores_BPP, best_BPJ, slots_BPL.shape[2])
        k_XHNW, v_XHNW = (_gathered(part, at_XN, paths) for part in offered)
        v_XHNW = v_XHNW * gate_XN1[:, None].to(v_XHNW.dtype)
        keep_XMN = keep_XN[:, None].expand(-1, tokens, -1)
        bias = None if bias_BHQN is None else _bias_of(bias_BHQN, at_BPN, tokens)
        readers_XM = (
            torch.arange(paths, device=at_XN.device).repeat(batch)[:, None].expand(-1, tokens)
        )
        reading = tap_reading(Reading(keep_XMN, bias, readers_XM, _paths_of(memory, at_BPN)))
        state_XMD = state_BQD.unflatten(1, (paths, tokens)).flatten(0, 1)
        read_XMD = attention.read(state_XMD, (k_XHNW, v_XHNW), reading.keep_BQN, reading.bias_BHQN)
        return read_XMD.unflatten(0, (batch, paths)).flatten(1, 2)

    def _gates(self, scores_BPP: Tensor, best_BPJ: Tensor, longest: int) -> Tensor:
        """``[X, N, 1]``: one in value, the chosen peer's probability in gradient."""
        # A path without any peer is given equal scores, so that no NaN has a gradient.
        alone_BP1 = (scores_BPP == -torch.inf).all(-1, keepdim=True)
        share_BPP = scores_BPP.masked_fill(alone_BP1, 0.0).softmax(-1)
        share_BPJ = share_BPP.gather(2, best_BPJ)
        gate_BPJ = 1 + share_BPJ - share_BPJ.detach()
        return gate_BPJ.repeat_interleave(longest, dim=2).flatten(0, 1)[..., None]


def _slots(memory: Memory) -> tuple[Tensor, Tensor]:
    """Where in N what each path offers stands, ``[B, P, L]`` padded with 0; and what is there."""
    of_BN = memory.path_BN.masked_fill(~memory.keep_BN, memory.paths)
    order_BN = of_BN.argsort(dim=1, stable=True)
    path_P = torch.arange(memory.paths, device=of_BN.device)
    count_BP = (of_BN[:, None] == path_P[:, None]).sum(-1)
    most = max(1, int(count_BP.max())) if count_BP.numel() else 1
    step_L = torch.arange(most, device=of_BN.device)
    there_BPL = step_L < count_BP[..., None]
    start_BP = count_BP.cumsum(1) - count_BP
    at_BPL = (start_BP[..., None] + step_L).masked_fill(~there_BPL, 0)
    slots_BPL = order_BN.gather(1, at_BPL.flatten(1)).view_as(at_BPL)
    return slots_BPL.masked_fill(~there_BPL, 0), there_BPL


def _paths_of(memory: Memory, at_BPN: Tensor) -> Tensor:
    """``[X, N]``: the path of each offer that a reader is given."""
    return memory.path_BN.gather(1, at_BPN.flatten(1)).view_as(at_BPN).flatten(0, 1)


def _gathered(offered_BHNW: Tensor, at_XN: Tensor, paths: int) -> Tensor:
    sample_X = torch.arange(len(offered_BHNW), device=at_XN.device).repeat_interleave(paths)
    return offered_BHNW.transpose(1, 2)[sample_X[:, None], at_XN].transpose(1, 2)


def _bias_of(bias_BHQN: Tensor, at_BPN: Tensor, tokens: int) -> Tensor:
    paths = at_BPN.shape[1]
    bias_BHPMN = bias_BHQN.unflatten(2, (paths, tokens))
    batch, heads = max(len(bias_BHPMN), len(at_BPN)), bias_BHPMN.shape[1]
    at = at_BPN[:, None, :, None].expand(-1, heads, -1, tokens, -1)
    found = bias_BHPMN.expand(batch, -1, -1, -1, -1).gather(4, at)
    return found.transpose(1, 2).flatten(0, 1)
