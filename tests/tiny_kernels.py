"""Stand-ins for fused kernels, so that what surrounds them is tested without a GPU."""

import torch

from nexus_model.layers.attention import varlen
from nexus_model.layers.attention.reference import ReferenceAttention
from nexus_model.layers.attention.varlen import VarlenAttention


def one_sample_after_another(q_NHW, k_NHW, v_NHW, starts_q, starts_k, longest_q, longest_k):
    """The formula on each packed sample."""
    found = []
    for sample in range(len(starts_q) - 1):
        of_q, of_k = (slice(*at[sample : sample + 2].tolist()) for at in (starts_q, starts_k))
        parts = q_NHW[of_q], k_NHW[of_k], v_NHW[of_k]
        assert len(parts[0]) <= longest_q
        assert len(parts[1]) <= longest_k
        q, k, v = (x.transpose(0, 1)[None] for x in parts)
        keep = torch.ones(1, q.shape[2], k.shape[2], dtype=torch.bool)
        found.append(ReferenceAttention().attend(q, k, v, keep)[0].transpose(0, 1))
    return torch.cat(found)


def pretend_kernel(monkeypatch, kernel=one_sample_after_another):
    """Let torch's packed attention be there for every call without a bias that it could pack."""

    def refusals(self, call):
        packs = call.mask in {"padding", "segments"} and not call.has_bias
        return [] if packs else ["a stand-in for packed calls"]

    monkeypatch.setattr(VarlenAttention, "refusals", refusals)
    monkeypatch.setattr(varlen, "_kernel", kernel)
