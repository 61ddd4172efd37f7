"""The INT8 codec: names and shapes survive, and no weight moves further than half a step."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import nn

from nexus_model.optimize.int8 import dequantize_weights, matrix_bytes, quantize_weights
from nexus_model.optimize.report import SizeReport, compare_sizes, measure_latency
from nexus_model.schema import ArtifactError


def _model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 128), nn.LayerNorm(128), nn.ReLU(), nn.Linear(128, 3))


def _nothing(_name):
    return False


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(2, 7),
    columns=st.integers(1, 11),
    power=st.floats(-44, 37),
    seed=st.integers(0, 99),
)
def test_no_weight_moves_further_than_half_its_scale(rows, columns, power, seed):
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * 10**power
    packed = quantize_weights({"w": weight}, keep=_nothing)
    back = dequantize_weights(packed)["w"]
    moved = (back.double() - weight.double()).abs()
    # The product is rounded to float32 once more.
    room = packed["w.scale"].double()[:, None] / 2 + back.double().abs() * 2**-24
    assert (moved <= room).all()


def test_the_model_predicts_almost_the_same():
    model, small, rows = _model(), _model(), torch.randn(50, 64)
    small.load_state_dict(dequantize_weights(quantize_weights(model.state_dict(), keep=_nothing)))
    assert 0 < (model(rows) - small(rows)).abs().max() < 0.02


def test_names_order_and_shapes_come_back():
    state = _model().state_dict()
    back = dequantize_weights(quantize_weights(state, keep=_nothing))
    assert [(n, t.shape) for n, t in back.items()] == [(n, t.shape) for n, t in state.items()]
    assert all(tensor.dtype == torch.float32 for tensor in back.values())


def test_only_matrices_are_quantised():
    state = {
        "matrix": torch.randn(3, 5),
        "vector": torch.randn(5),
        "cube": torch.randn(2, 3, 5),
        "row": torch.randn(1, 5),
        "count": torch.arange(6).reshape(2, 3),
    }
    packed = quantize_weights(state, keep=_nothing)
    assert sorted(packed) == ["count", "cube", "matrix.int8", "matrix.scale", "row", "vector"]
    assert packed["matrix.int8"].dtype == torch.int8
    assert torch.equal(packed["count"], state["count"])


def test_what_is_kept_is_kept_exactly():
    packed = quantize_weights(_model().state_dict(), keep=lambda name: name.startswith("3."))
    assert torch.equal(packed["3.weight"], _model().state_dict()["3.weight"])
    assert "0.weight.int8" in packed


def test_a_row_of_zeros_stays_zeros():
    weight = torch.tensor([[0.0, 0.0], [1.0, -3.0]])
    back = dequantize_weights(quantize_weights({"w": weight}, keep=_nothing))["w"]
    assert torch.equal(back[0], torch.zeros(2))


def test_half_precision_comes_back_as_float32():
    state = {"w": torch.randn(3, 5, dtype=torch.bfloat16), "b": torch.randn(5, dtype=torch.float64)}
    back = dequantize_weights(quantize_weights(state, keep=_nothing))
    assert {tensor.dtype for tensor in back.values()} == {torch.float32}


def test_the_state_given_is_not_changed():
    state = {name: tensor.clone() for name, tensor in _model().state_dict().items()}
    packed = quantize_weights(state, keep=_nothing)
    packed["0.bias"].zero_()
    assert all(torch.equal(state[name], _model().state_dict()[name]) for name in state)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        quantize_weights({"w": torch.tensor([[1.0], [bad]])}, keep=_nothing)


@pytest.mark.parametrize("other", ["w.int8", "w.scale"])
def test_names_that_would_collide_are_refused(other):
    with pytest.raises(ValueError, match="apart"):
        quantize_weights({"w": torch.randn(3, 5), other: torch.randn(3)}, keep=_nothing)


def test_a_parameter_named_scale_is_only_a_parameter():
    state = {"norm.scale": torch.randn(5), "norm.weight": torch.randn(3, 5)}
    assert list(dequantize_weights(quantize_weights(state, keep=_nothing))) == list(state)


@pytest.mark.parametrize("change", ["missing", "shape", "dtype", "twice", "vector"])
def test_a_damaged_pair_is_refused(change):
    packed = quantize_weights({"w": torch.randn(3, 5)}, keep=_nothing)
    if change == "missing":
        del packed["w.scale"]
    elif change == "shape":
        packed["w.scale"] = torch.ones(5)
    elif change == "dtype":
        packed["w.int8"] = packed["w.int8"].float()
    elif change == "vector":
        packed["w.int8"] = torch.zeros(200_000, dtype=torch.int8)
        packed["w.scale"] = torch.ones(200_000)
    else:
        packed["w"] = torch.randn(3, 5)
    with pytest.raises(ArtifactError, match="w"):
        dequantize_weights(packed)


def test_matrices_take_about_a_quarter_of_the_bytes():
    state = _model().state_dict()
    packed = load(save(quantize_weights(state, keep=_nothing)))
    assert matrix_bytes(state) == 4 * (64 * 128 + 128 * 3)
    assert matrix_bytes(packed) == 64 * 128 + 128 * 3 + 2 * (128 + 3)


def test_the_report_counts_what_is_on_disk(tmp_path):
    files = tmp_path / "a", tmp_path / "b"
    files[0].write_bytes(b"x" * 400)
    files[1].write_bytes(b"x" * 100)
    state = _model().state_dict()
    report = compare_sizes(
        files=files,
        states=(state, quantize_weights(state, keep=_nothing)),
        predictions=([0.1, 0.5], [0.1, 0.25]),
        metric="mean",
        score=lambda prediction: float(sum(prediction)),
    )
    assert report.file_bytes.ratio == 0.25
    assert report.largest_difference == 0.25
    assert report.score.int8 == 0.35
    assert SizeReport.model_validate_json(report.model_dump_json()) == report


def test_latency_counts_the_calls_it_times():
    seen = []
    found = measure_latency(lambda: seen.append(1), calls=7, warm_up=2)
    assert len(seen) == 9
    assert 0 < found.p50_ms <= found.p95_ms


def test_scales_of_float32_are_read_as_well():
    packed = quantize_weights({"w": torch.randn(3, 5)}, keep=_nothing)
    older = packed | {"w.scale": packed["w.scale"].float()}
    assert torch.equal(dequantize_weights(older)["w"], dequantize_weights(packed)["w"])
