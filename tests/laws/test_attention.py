"""Attention backends: each against the formula in float64; choosing among them."""

import pytest
import torch
from tiny_kernels import one_sample_after_another

from nexus_model.layers.attention import flash, varlen
from nexus_model.layers.attention.call import AttentionCall
from nexus_model.layers.attention.flash import FlashAttention
from nexus_model.layers.attention.keep import Padding
from nexus_model.layers.attention.multihead import MultiHeadAttention
from nexus_model.layers.attention.packing import attend_packed
from nexus_model.layers.attention.reference import ReferenceAttention, attention_weights
from nexus_model.layers.attention.sdpa import SdpaAttention
from nexus_model.layers.attention.select import BACKENDS, explain_selection, select
from nexus_model.layers.attention.varlen import VarlenAttention

LENGTHS = (1, 3, 63, 64, 65, 1000)
BATCH, HEADS, WIDTH = 2, 3, 5
CALL = AttentionCall(torch.float32, "cpu", 8, has_bias=False)
HERE = [backend for backend in BACKENDS if not backend.refusals(CALL)]
PACKED = [FlashAttention(), VarlenAttention()]
every_backend = pytest.mark.parametrize("backend", HERE, ids=lambda backend: backend.name)
every_packed = pytest.mark.parametrize("backend", PACKED, ids=lambda backend: backend.name)
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
@with_and_without_bias
def test_without_a_mask_every_key_is_kept(backend, keys, biased):
    q, k, v, keep, bias = as_taken(backend, question(keys, biased=biased))
    every = backend.attend(q, k, v, torch.ones_like(keep), bias)
    torch.testing.assert_close(backend.attend(q, k, v, None, bias), every, atol=1e-5, rtol=0)


@every_packed
def test_a_packed_kernel_refuses_a_call_without_a_mask(backend):
    call = AttentionCall(torch.bfloat16, "cuda", 8, has_bias=False, mask="none")
    assert "takes no mask but padding" in backend.refusals(call)
    with pytest.raises(ValueError, match="must not be asked"):
        backend.attend(*question(3)[:3], None)


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
    backend, refused = select(call, [Never(), SdpaAttention(), ReferenceAttention()])
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


def test_a_selection_is_explained_by_name_and_reason():
    name, refused = explain_selection(CALL)
    assert name == "sdpa"
    assert [refusal.backend for refusal in refused] == ["flash_attn", "torch_varlen"]
    assert all("no kernel on cpu" in refusal.reasons for refusal in refused)


def test_the_reference_is_the_last_to_be_asked():
    assert [backend.name for backend in BACKENDS][-2:] == ["sdpa", "reference"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"device": "cpu"}, "no kernel on cpu"),
        ({"dtype": torch.float32}, "no kernel for torch.float32"),
        ({"has_bias": True}, "takes no bias"),
        ({"mask": "any"}, "takes no mask but padding"),
        ({"head_width": 12}, "head width 12 is no multiple of 8"),
        ({"head_width": 264}, "head width 264 is above 256"),
    ],
)
@every_packed
def test_a_packed_kernel_says_what_it_cannot_do(backend, change, reason):
    call = AttentionCall(torch.bfloat16, "cuda", 64, has_bias=False, mask="padding")
    assert backend.refusals(call._replace(**change)) == [*backend.refusals(call), reason]


@pytest.mark.parametrize("error", [ImportError, OSError, AttributeError])
def test_a_kernel_that_cannot_be_imported_is_a_reason_not_an_error(monkeypatch, error):
    def broken(name):
        raise error(name)

    monkeypatch.setattr(flash.importlib, "import_module", broken)
    assert FlashAttention().refusals(CALL)[0].endswith(error.__name__)
    if error is not AttributeError:
        assert not varlen.is_present()


@every_packed
def test_a_packed_kernel_asked_for_what_it_refuses_says_so(backend):
    with pytest.raises(ValueError, match="must not be asked what it refuses"):
        backend.attend(*question(3, biased=True))


@every_length
@pytest.mark.parametrize("key_heads", [1, 3])
def test_packing_and_unpacking_around_a_kernel_is_the_formula(keys, key_heads):
    q, k, v, _, _ = question(keys)
    some = torch.rand(BATCH, 7) < 0.7, torch.rand(BATCH, keys) < 0.7
    keep, leaves = Padding(*some), (q, k[:, :key_heads], v[:, :key_heads])
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    found = attend_packed(one_sample_after_another, *leaves, keep)
    expected = ReferenceAttention().attend(*leaves, keep)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    if found.requires_grad:
        grads = [torch.autograd.grad(x.pow(3).sum(), leaves) for x in (found, expected)]
        torch.testing.assert_close(*grads, atol=1e-12, rtol=0)


def test_packing_nothing_asks_no_kernel():
    q, k, v, keep, _ = question(3)
    found = attend_packed(None, q, k, v, Padding(torch.zeros(BATCH, 7) > 0, keep[:, 0]))
    assert torch.equal(found, torch.zeros_like(q))


@every_backend
@with_and_without_bias
def test_heads_that_share_keys_read_as_if_each_had_its_own(backend, biased):
    q, k, v, keep, bias = as_taken(backend, question(9, biased=biased))
    q, bias = torch.cat([q, q + 1], dim=1), None if bias is None else torch.cat([bias, -bias], 1)
    found = backend.attend(q, k, v, keep, bias)
    own = [x.repeat_interleave(2, dim=1) for x in (k, v)]
    torch.testing.assert_close(found, backend.attend(q, *own, keep, bias))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_packed
@every_length
def test_a_packed_kernel_agrees_with_the_formula_on_a_gpu(backend, keys):
    q, k, v = (torch.randn(2, 4, keys, 64, device="cuda").bfloat16() for _ in range(3))
    kept = torch.arange(keys, device="cuda") < torch.tensor([[keys], [keys // 2]], device="cuda")
    keep = Padding(kept, kept)
    call = AttentionCall(torch.bfloat16, "cuda", 64, has_bias=False, mask="padding")
    if backend.refusals(call):
        pytest.skip(str(backend.refusals(call)))
    exact = ReferenceAttention().attend(q.double(), k.double(), v.double(), keep)
    torch.testing.assert_close(backend.attend(q, k, v, keep).double(), exact, atol=1e-2, rtol=0)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="width must be a multiple of heads, got 8 and 3"):
        MultiHeadAttention(8, 3)


def test_heads_of_keys_that_do_not_divide_the_heads_are_refused():
    with pytest.raises(ValueError, match="heads must be a multiple of key_heads, got 4 and 3"):
        MultiHeadAttention(8, 4, 3)
