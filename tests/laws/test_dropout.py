"""Laws of dropout: shares, scale, gradients, and what it leaves alone."""

import pytest
import torch

from nexus_model.layers.dropout import LEVELS, Dropout


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
def test_the_share_that_is_left_out_is_the_one_asked_for(share):
    cells = 400_000
    left_out = (Dropout(share)(torch.ones(cells)) == 0).double().mean().item()
    assert abs(left_out - share) < 5 * (share * (1 - share) / cells) ** 0.5


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_the_mean_stays_what_it_was(share):
    cells = 400_000
    mean = Dropout(share)(torch.ones(cells, dtype=torch.float64)).mean().item()
    assert abs(mean - 1) < 5 * (share / (1 - share) / cells) ** 0.5


def test_every_cell_is_decided_for_itself():
    stays = (Dropout(0.5)(torch.ones(8, 50_000)) > 0).double()
    assert (torch.corrcoef(stays) - torch.eye(8)).abs().max() < 0.025
    neighbours = stays.flatten()
    for apart in range(1, 9):
        both = torch.stack([neighbours[apart:], neighbours[:-apart]])
        assert abs(torch.corrcoef(both)[0, 1]) < 0.01


def test_the_gradient_flows_where_the_value_did():
    x = torch.randn(64, 33, dtype=torch.float64, requires_grad=True)
    found = Dropout(0.4)(x)
    found.sum().backward()
    scale = LEVELS / (LEVELS - round(0.4 * LEVELS))
    torch.testing.assert_close(x.grad, (found != 0) * torch.tensor(scale, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(0,), (3, 0, 2), (1,), (5, 7), (2, 3, 5)])
def test_any_shape_and_type_comes_back(shape):
    for kind in (torch.float32, torch.float64, torch.bfloat16):
        x = torch.ones(shape, dtype=kind)
        found = Dropout(0.3)(x)
        assert (found.shape, found.dtype) == (x.shape, kind)
        assert torch.equal(x, torch.ones(shape, dtype=kind))


def test_nothing_is_drawn_where_nothing_is_left_out():
    x = torch.randn(4, 5)
    before = torch.get_rng_state()
    assert Dropout(0.0)(x) is x
    assert Dropout(0.5).eval()(x) is x
    assert torch.equal(torch.get_rng_state(), before)


def test_the_same_seed_leaves_out_the_same():
    x, drop = torch.ones(1000), Dropout(0.5)
    torch.manual_seed(3)
    first = drop(x)
    torch.manual_seed(3)
    assert torch.equal(drop(x), first)
    assert not torch.equal(drop(x), first)


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5])
def test_a_share_that_makes_no_sense_is_refused(share):
    with pytest.raises(ValueError, match="share must be"):
        Dropout(share)
