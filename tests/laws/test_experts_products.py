"""Products of experts: the grouped kernel and the blocks are one product, and who is asked."""

import pytest
import torch
from tiny import stirred

from nexus_model.layers.experts import product as products
from nexus_model.layers.experts.dispatch import find_places, from_blocks, to_blocks
from nexus_model.layers.experts.layer import ExpertsConfig, MixtureOfExperts
from nexus_model.layers.experts.product import (
    BlockProduct,
    GroupedProduct,
    ProductCall,
    ends_of,
    select_product,
)

WIDTH, HIDDEN, EXPERTS, CHOSEN = 16, 24, 5, 2
ON_GPU = ProductCall(torch.bfloat16, "cuda", 64, 128)


def routed(count, busy=EXPERTS):
    """Choices of ``count`` tokens among the first experts."""
    return torch.rand(count, busy).argsort(1)[:, :CHOSEN]


def through(product, tokens_ND, weight_EDF, expert_NJ):
    """Each token times the weights of its experts."""
    size = product.block(expert_NJ.numel(), len(weight_EDF))
    places = find_places(expert_NJ, len(weight_EDF), size)
    blocks_KQD = to_blocks(tokens_ND, places)
    return from_blocks(product.multiply(blocks_KQD, weight_EDF, places), places)


def answers(product, kind, expert_NJ):
    """The product and its gradients, of the same numbers in any floats."""
    made = torch.Generator().manual_seed(1)
    asked = (len(expert_NJ), WIDTH), (EXPERTS, WIDTH, HIDDEN)
    x, weight = (torch.randn(shape, generator=made).bfloat16() for shape in asked)
    leaves = [part.to(kind).requires_grad_() for part in (x, weight)]
    found = through(product, *leaves, expert_NJ)
    gradients = torch.autograd.grad(found.square().sum(), leaves)
    return [part.double() for part in (found, *gradients)]


@pytest.mark.parametrize("count", [1, 2, 13, 300])
@pytest.mark.parametrize("busy", [2, EXPERTS])
def test_the_grouped_product_is_that_of_the_blocks(count, busy):
    expert_NJ = routed(count, busy)
    found = answers(GroupedProduct(), torch.float32, expert_NJ)
    expected = answers(BlockProduct(), torch.float64, expert_NJ)
    # float32 has 24 bits; gradients of a square sum hundreds of terms of size ten.
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-5)


def test_in_bfloat16_the_grouped_product_errs_as_the_blocks_do():
    expert_NJ = routed(300)
    exact = answers(BlockProduct(), torch.float64, expert_NJ)
    pairs = [answers(p, torch.bfloat16, expert_NJ) for p in (GroupedProduct(), BlockProduct())]
    for grouped, blocks, whole in zip(*pairs, exact, strict=True):
        assert (grouped - whole).norm() <= 2 * (blocks - whole).norm()


@pytest.mark.parametrize("size", [8, 16])
@pytest.mark.parametrize("count", [1, 30, 300])
def test_groups_end_where_the_blocks_of_their_experts_do(count, size):
    places = find_places(routed(count), EXPERTS, size)
    end_E = ends_of(places, EXPERTS)
    owner_N = places.expert_K.repeat_interleave(size)
    place_N = torch.arange(len(owner_N))
    assert torch.equal(torch.searchsorted(end_E, place_N, right=True), owner_N)
    assert end_E[-1] == len(owner_N)


@pytest.mark.parametrize("autocast", [True, False])
def test_a_layer_computes_the_same_by_the_grouped_product(monkeypatch, autocast):
    layer = stirred(MixtureOfExperts(WIDTH, HIDDEN, ExpertsConfig(experts=EXPERTS))).eval()
    x = torch.randn(40, WIDTH)
    expected = layer(x)
    monkeypatch.setattr(GroupedProduct, "refusals", lambda self, call: [])
    with torch.autocast("cpu", torch.bfloat16, autocast):
        found = layer(x)
    assert found.dtype == x.dtype
    # bfloat16 has 8 bits, float32 has 24.
    assert (found - expected).norm() <= (1e-2 if autocast else 1e-6) * expected.norm()


def test_no_token_is_no_product(monkeypatch):
    monkeypatch.setattr(GroupedProduct, "refusals", lambda self, call: [])
    layer = MixtureOfExperts(WIDTH, HIDDEN, ExpertsConfig(experts=EXPERTS))
    assert layer(torch.zeros(0, WIDTH)).shape == (0, WIDTH)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"device": "cpu"}, "no kernel on cpu"),
        ({"dtype": torch.float32}, "no kernel for torch.float32"),
        ({"width": 12}, "width 12 is no multiple of 8"),
        ({"hidden": 12}, "hidden width 12 is no multiple of 8"),
    ],
)
def test_the_grouped_product_says_what_it_cannot_do(change, reason):
    grouped = GroupedProduct()
    assert grouped.refusals(ON_GPU._replace(**change)) == [*grouped.refusals(ON_GPU), reason]


@pytest.mark.parametrize(("capability", "chosen"), [((9, 0), "grouped"), ((8, 6), "blocks")])
def test_a_gpu_is_chosen_for_by_its_capability(monkeypatch, capability, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    product, refused = select_product(ON_GPU)
    assert product.name == chosen
    told = [] if chosen == "grouped" else ["no kernel for this GPU's compute capability"]
    assert [reason for refusal in refused for reason in refusal.reasons] == told


def test_a_torch_without_the_product_is_a_reason_not_an_error(monkeypatch):
    monkeypatch.delattr(products.F, "grouped_mm")
    assert "this torch has no grouped product" in GroupedProduct().refusals(ON_GPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_kernel_of_a_gpu_errs_as_the_blocks_do():
    call = ON_GPU._replace(width=WIDTH, hidden=HIDDEN)
    if GroupedProduct().refusals(call):
        pytest.skip(str(GroupedProduct().refusals(call)))
    expert_NJ = routed(300)
    exact = answers(BlockProduct(), torch.float64, expert_NJ)
    made = torch.Generator().manual_seed(1)
    x, weight = (torch.randn(s, generator=made) for s in ((300, WIDTH), (EXPERTS, WIDTH, HIDDEN)))
    found = through(
        GroupedProduct(), x.bfloat16().cuda(), weight.bfloat16().cuda(), expert_NJ.cuda()
    )
    assert (found.double().cpu() - exact[0]).norm() <= 0.01 * exact[0].norm()
