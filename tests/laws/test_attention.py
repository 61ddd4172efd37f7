"""Attention backends: each against the formula in float64, and the formula against torch's own."""

import pytest
import torch

from nexus_model.layers.attention.call import AttentionCall
from nexus_model.layers.attention.multihead import MultiHeadAttention
from nexus_model.layers.attention.reference import ReferenceAttention, attention_weights
from nexus_model.layers.attention.select import BACKENDS, select

LENGTHS = (1, 3, 63, 64, 65)
BATCH, HEADS, WIDTH = 2, 3, 5
every_backend = pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
every_length = pytest.mark.parametrize("keys", LENGTHS)
with_and_without_bias = pytest.mark.parametrize("biased", [False, True], ids=["plain", "biased"])


def question(keys, *, biased=False, queries=7, seed=0):
    """q, k, v, keep and bias; the first query keeps nothing."""
    made = torch.Generator().manual_seed(seed)

    def some(*shape):
        return torch.randn(BATCH, *shape, generator=made, dtype=torch.float64)

    q, k, v = some(HEADS, queries, WIDTH), some(HEADS, keys, WIDTH), some(HEADS, keys, WIDTH)
    keep = torch.rand(BATCH, queries, keys, generator=made) < 0.6
    keep[:, 0] = False
    keep[:, 1, 0] = True
    return q, k, v, keep, some(HEADS, queries, keys) if biased else None


def as_taken(backend, tensors):
    """The question in the widest floats the backend takes."""
    call = AttentionCall(torch.float64, "cpu", WIDTH, has_bias=False)
    kind = torch.float32 if backend.refusals(call) else torch.float64
    return [x if x is None or x.dtype is torch.bool else x.to(kind) for x in tensors]


@every_backend
@every_length
@with_and_without_bias
def test_a_backend_agrees_with_the_formula(backend, keys, biased):
    asked = question(keys, biased=biased)
    exact = ReferenceAttention().attend(*asked)
    found = backend.attend(*as_taken(backend, asked))
    # float32 has 24 bits: sums of 65 terms of size one stay within 1e-5.
    tolerance = 1e-12 if found.dtype is torch.float64 else 1e-5
    torch.testing.assert_close(found.double(), exact, atol=tolerance, rtol=0)


@every_backend
@every_length
def test_a_key_that_is_not_kept_is_not_read(backend, keys):
    q, k, v, keep, _ = as_taken(backend, question(keys))
    keep[..., -1] = False
    k2, v2 = k.clone(), v.clone()
    k2[..., -1, :], v2[..., -1, :] = 50.0, -1e4
    assert torch.equal(backend.attend(q, k, v, keep), backend.attend(q, k2, v2, keep))


@every_backend
@with_and_without_bias
def test_a_query_that_keeps_nothing_reads_exactly_zero(backend, biased):
    asked = as_taken(backend, question(3, biased=biased))
    assert not backend.attend(*asked)[:, :, 0].any()


@every_backend
@with_and_without_bias
def test_gradients_are_finite_where_nothing_is_kept(backend, biased):
    asked = as_taken(backend, question(3, biased=biased))
    leaves = [x.requires_grad_() for x in asked if x is not None and x.is_floating_point()]
    backend.attend(*asked).sum().backward()
    assert all(torch.isfinite(leaf.grad).all() for leaf in leaves)


@every_backend
def test_a_query_that_keeps_nothing_has_no_gradient(backend):
    q, k, v, keep, _ = as_taken(backend, question(5))
    q.requires_grad_()
    backend.attend(q, k, v, keep).square().sum().backward()
    assert not q.grad[:, :, 0].any()
    assert q.grad[:, :, 1:].any()


@every_backend
def test_no_key_at_all_reads_zero(backend):
    q, k, v, keep, _ = as_taken(backend, question(1))
    found = backend.attend(q, k[:, :, :0], v[:, :, :0], keep[..., :0])
    assert torch.equal(found, torch.zeros_like(q))


@every_backend
@with_and_without_bias
def test_a_backend_leaves_its_inputs_alone(backend, biased):
    asked = as_taken(backend, question(7, biased=biased))
    before = [None if x is None else x.clone() for x in asked]
    backend.attend(*asked)
    assert all(x is None or torch.equal(x, y) for x, y in zip(asked, before, strict=True))


@every_backend
def test_the_order_of_the_keys_is_not_read(backend):
    q, k, v, keep, _ = as_taken(backend, question(65))
    mixed = torch.randperm(65)
    found = backend.attend(q, k[:, :, mixed], v[:, :, mixed], keep[..., mixed])
    torch.testing.assert_close(found, backend.attend(q, k, v, keep))


def test_weights_sum_to_one_or_to_zero_where_nothing_is_kept():
    q, k, _, keep, bias = question(13, biased=True)
    total = attention_weights(q, k, keep, bias).sum(-1)
    torch.testing.assert_close(total, keep.any(-1)[:, None].expand_as(total).double())


def test_the_gradient_of_the_formula_is_that_of_its_differences():
    q, k, v, keep, bias = question(3, biased=True, queries=2)
    leaves = [x.requires_grad_() for x in (q, k, v, bias)]
    assert torch.autograd.gradcheck(
        lambda q, k, v, bias: ReferenceAttention().attend(q, k, v, keep, bias), leaves
    )


class Never:
    """A backend that takes nothing."""

    name = "never"

    def refusals(self, call):
        return [f"no {call.device}", "no time"]


def test_select_takes_the_first_that_does_not_refuse_and_says_why_others_did():
    call = AttentionCall(torch.float64, "cpu", 8, has_bias=False)
    backend, refused = select(call, [Never(), *BACKENDS])
    assert backend.name == "reference"
    assert [(r.backend, r.reasons) for r in refused] == [
        ("never", ["no cpu", "no time"]), ("sdpa", ["float64 goes to the reference"])
    ]  # fmt: skip


def test_select_raises_with_every_reason_when_all_refuse():
    call = AttentionCall(torch.float32, "cpu", 8, has_bias=True)
    with pytest.raises(ValueError, match=r"no attention backend takes .* never: no cpu, no time"):
        select(call, [Never()])


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_some_backend_takes_every_float(kind):
    assert select(AttentionCall(kind, "cpu", 8, has_bias=True))[0] in BACKENDS


def with_torchs_weights(width=12, heads=3):
    """Our multi-head attention and torch's, with the same weights."""
    theirs = torch.nn.MultiheadAttention(width, heads, batch_first=True, dtype=torch.float64)
    ours = MultiHeadAttention(width, heads).double()
    torch.nn.init.normal_(theirs.in_proj_bias)
    # A bias of the keys shifts all scores of a query alike, so ours has none.
    theirs.in_proj_bias.data[width : 2 * width] = 0
    with torch.no_grad():
        weights = theirs.in_proj_weight.split(width)
        biases = theirs.in_proj_bias.split(width)
        for at, part in enumerate((ours.query, ours.key, ours.value)):
            part.weight.copy_(weights[at])
            if part.bias is not None:
                part.bias.copy_(biases[at])
        ours.out.load_state_dict(theirs.out_proj.state_dict())
    return ours, theirs


def test_multi_head_attention_is_that_of_torch():
    ours, theirs = with_torchs_weights()
    queries, offered = torch.randn(2, 5, 12).double(), torch.randn(2, 7, 12).double()
    keep = torch.rand(2, 5, 7) < 0.5
    keep[..., 0] = True
    expected, _ = theirs(queries, offered, offered, attn_mask=~keep.repeat_interleave(3, dim=0))
    torch.testing.assert_close(ours(queries, offered, keep), expected, atol=1e-12, rtol=0)


def test_multi_head_attention_adds_not_even_its_bias_where_nothing_is_kept():
    ours, _ = with_torchs_weights()
    torch.nn.init.normal_(ours.out.bias)
    x = torch.randn(2, 5, 12).double()
    keep = torch.ones(2, 5, 5, dtype=torch.bool)
    keep[0, 3] = False
    found = ours(x, x, keep)
    assert not found[0, 3].any()
    assert found[0, 2].all()


def test_projecting_once_and_reading_twice_is_reading_twice():
    ours, _ = with_torchs_weights()
    x, keep = torch.randn(2, 5, 12).double(), torch.ones(2, 5, 5, dtype=torch.bool)
    offered = ours.keys_and_values(x)
    for queries in (x, x + 1):
        assert torch.equal(ours.read(queries, offered, keep), ours(queries, x, keep))


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="width must be a multiple of heads, got 8 and 3"):
        MultiHeadAttention(8, 3)
