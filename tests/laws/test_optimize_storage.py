"""Stored forms of weights: INT4 in groups and matrices with zeros come back as they were put in."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from nexus_model.optimize.int4 import GROUP, quantize_to_int4, widen_int4
from nexus_model.optimize.int8 import dequantize_weights, quantize_weights, stays_float
from nexus_model.optimize.sparse import pack_zeros, unpack_zeros
from nexus_model.schema import ArtifactError


def _nothing(_name):
    return False


def _drawn(rows, columns, seed=0, left=1.0):
    drawn = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=drawn)
    return weight * (torch.rand(rows, columns, generator=drawn) < left)


sizes = {"rows": st.integers(2, 7), "columns": st.integers(1, 70), "seed": st.integers(0, 99)}


@settings(max_examples=60, deadline=None)
@given(**sizes, power=st.floats(-30, 30))
def test_no_int4_weight_moves_further_than_half_its_scale(rows, columns, seed, power):
    weight = _drawn(rows, columns, seed) * 10**power
    packed = quantize_to_int4({"w": weight}, keep=_nothing)
    back = dequantize_weights(packed)["w"]
    scale = packed["w.scales"].double().repeat_interleave(GROUP, dim=1)[:, :columns]
    assert back.shape == weight.shape
    # The scale itself is rounded to bfloat16.
    assert ((back - weight).double().abs() <= scale / 2 + weight.double().abs() * 2**-8).all()


@settings(max_examples=60, deadline=None)
@given(**sizes, left=st.sampled_from([0.0, 0.1, 0.5, 0.7, 1.0]))
def test_a_matrix_with_zeros_comes_back_exactly(rows, columns, seed, left):
    state = {"w": _drawn(rows, columns, seed, left), "b": torch.zeros(3)}
    back = dequantize_weights(load(save(pack_zeros(state))))
    assert torch.equal(back["w"], state["w"])
    assert torch.equal(back["b"], state["b"])


@settings(max_examples=30, deadline=None)
@given(**sizes)
@pytest.mark.parametrize("quantize", [quantize_weights, quantize_to_int4])
def test_zeros_of_quantised_matrices_are_packed_too(quantize, rows, columns, seed):
    state = {"w": _drawn(rows, columns, seed, left=0.3)}
    packed = quantize(state, keep=_nothing)
    assert torch.equal(dequantize_weights(pack_zeros(packed))["w"], dequantize_weights(packed)["w"])


def test_zeros_stay_zeros_in_every_form():
    weight = _drawn(8, 64, left=0.7)
    for quantize in (quantize_weights, quantize_to_int4):
        back = dequantize_weights(pack_zeros(quantize({"w": weight}, keep=_nothing)))["w"]
        assert (back[weight == 0] == 0).all()


def test_int4_takes_an_eighth_of_the_bytes_and_its_scales():
    packed = quantize_to_int4({"w": _drawn(64, 128)}, keep=_nothing)
    assert sum(part.nbytes for part in packed.values()) == 64 * 128 // 2 + 64 * 4 * 2


def test_thirty_percent_zeros_save_more_than_a_quarter():
    weight = _drawn(64, 128)
    weight.view(-1)[: 64 * 128 * 3 // 10] = 0
    packed = pack_zeros({"w": weight})
    assert sum(part.nbytes for part in packed.values()) / weight.nbytes < 0.74


def test_a_matrix_without_zeros_is_left_whole():
    assert list(pack_zeros({"w": _drawn(8, 64)})) == ["w"]


@pytest.mark.parametrize("change", ["missing", "groups", "dtype", "values", "columns", "twice"])
def test_damaged_int4_is_refused(change):
    packed = quantize_to_int4({"w": _drawn(3, 33)}, keep=_nothing)
    match change:
        case "missing":
            del packed["w.scales"]
        case "groups":
            packed["w.scales"] = packed["w.scales"][:, :1]
        case "dtype":
            packed["w.scales"] = packed["w.scales"].float()
        case "values":
            packed["w.int4"] = packed["w.int4"].to(torch.int8)
        case "columns":
            packed["w.columns"] = torch.tensor([10**12])
        case "twice":
            packed["w"] = _drawn(3, 33)
    with pytest.raises(ArtifactError, match="w"):
        dequantize_weights(packed)


@pytest.mark.parametrize("change", ["missing", "fewer", "more", "dtype", "width", "past", "twice"])
def test_a_damaged_bitmap_is_refused(change):
    packed = pack_zeros({"w": _drawn(5, 33, left=0.5)})
    match change:
        case "missing":
            del packed["w.kept"]
        case "fewer":
            packed["w.kept"] = packed["w.kept"][:-1]
        case "more":
            packed["w.kept"] = torch.cat([packed["w.kept"], torch.ones(1)])
        case "dtype":
            packed["w.bitmap"] = packed["w.bitmap"].int()
        case "width":
            packed["w.width"] = torch.tensor([-1])
        case "past":
            packed["w.bitmap"][0, -1] |= 128
        case "twice":
            packed["w"] = _drawn(5, 33)
    with pytest.raises(ArtifactError, match="w"):
        dequantize_weights(packed)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_has_no_int4(bad):
    with pytest.raises(ValueError, match="finite"):
        quantize_to_int4({"w": torch.tensor([[1.0], [bad]])}, keep=_nothing)


def test_names_that_would_collide_are_refused():
    weight = _drawn(8, 64, left=0.3)
    with pytest.raises(ValueError, match="apart"):
        quantize_to_int4({"w": weight, "w.int4": weight}, keep=_nothing)
    with pytest.raises(ValueError, match="apart"):
        pack_zeros({"w": weight, "w.bitmap": weight})


def test_head_and_routers_stay_as_they_are():
    names = ("head.out.weight", "refine.think.router.weight_ED", "relations.0.peers.ask.weight")
    state = {name: _drawn(4, 64) for name in (*names, "fuse.project.weight")}
    for quantize in (quantize_weights, quantize_to_int4):
        packed = quantize(state, keep=stays_float)
        assert all(torch.equal(packed[name], state[name]) for name in names)
        assert "fuse.project.weight" not in packed


def test_what_is_packed_is_not_changed():
    weight = _drawn(8, 64, left=0.3)
    before = weight.clone()
    pack_zeros(quantize_to_int4({"w": weight}, keep=_nothing))
    assert torch.equal(weight, before)


def test_what_has_no_stored_form_passes_through():
    state = {"w": _drawn(3, 5), "count": torch.arange(4)}
    for read in (widen_int4, unpack_zeros):
        assert read(state).keys() == state.keys()
