"""Other forms of the network give what the network gives, whatever the sizes of a batch."""

import copy
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
import torch
from tiny import stirred, tiny_database, tiny_model
from torch import nn

from nexus_model.api.fit_frames import Preparation, prepare
from nexus_model.config import NexusConfig
from nexus_model.encode.choose import TableConfig
from nexus_model.encode.time_series import TimeSeriesConfig
from nexus_model.layers.experts.layer import ExpertsConfig, MixtureOfExperts
from nexus_model.model import NexusFormer
from nexus_model.optimize.dynamic_int8 import DynamicInt8Linear, with_dynamic_int8
from nexus_model.optimize.flat import EveryExpert, FlatNetwork, flatten, layout_of, without_sorting
from nexus_model.optimize.onnx_form import OnnxNetwork, export_onnx, quantize_onnx
from nexus_model.schema import ArtifactError, ForeignKey, TableSpec, TaskKind, TaskSpec
from nexus_model.tokenize.batch import build_batch


@cache
def tiny():
    return tiny_database()


def model(**config):
    histories = {"orders": TableConfig(encoder=TimeSeriesConfig())}
    return stirred(tiny_model(tiny(), **({"tables": histories, "cohort": True} | config)))


def batches():
    every_B = tiny().every_B
    parts = (every_B, every_B[:1], every_B[5:9], every_B[-1:])
    return [build_batch(tiny().tensors, part, 2) for part in parts]


@pytest.mark.parametrize("experts", [None, ExpertsConfig(experts=3)])
def test_the_flat_network_is_the_network(experts):
    given = model(experts=experts)
    flat = without_sorting(copy.deepcopy(given))
    layout = layout_of(given, batches()[0])
    for batch in batches():
        found = FlatNetwork(flat, layout)(*flatten(batch, layout))
        torch.testing.assert_close(found, given(batch), atol=1e-5, rtol=0)


def test_visiting_every_expert_is_the_same_function():
    mixture = stirred(MixtureOfExperts(8, 16, ExpertsConfig(experts=4))).double()
    x = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(EveryExpert(mixture)(x), mixture(x), atol=1e-6, rtol=0)


def test_int8_sums_are_near_those_of_floats():
    drawn = torch.Generator().manual_seed(0)
    linear, x = nn.Linear(64, 32), torch.randn(4, 5, 64, generator=drawn)
    read, exact = DynamicInt8Linear(linear)(x), linear(x)
    assert read.shape == exact.shape
    assert 0 < (read - exact).abs().max() < 0.03
    assert DynamicInt8Linear(linear)(x[:0]).shape == (0, 5, 32)


def test_each_token_is_rounded_by_itself():
    linear, x = DynamicInt8Linear(nn.Linear(8, 4)), torch.randn(3, 8)
    alone = linear(x[:1])
    assert torch.equal(linear(torch.cat([x[:1], 1000 * x[1:]]))[:1], alone)


def test_a_row_of_zeros_gives_the_bias():
    linear = nn.Linear(8, 4)
    torch.testing.assert_close(DynamicInt8Linear(linear)(torch.zeros(1, 8))[0], linear.bias.data)


def test_dynamic_int8_leaves_head_and_given_model_alone():
    given = tiny_model(tiny(), width=32, experts=ExpertsConfig(experts=3))
    before = copy.deepcopy(given.state_dict())
    smaller = with_dynamic_int8(given)
    kinds = {name for name, m in smaller.named_modules() if isinstance(m, DynamicInt8Linear)}
    assert kinds
    assert not any("head" in name or "router" in name for name in kinds)
    assert all(torch.equal(before[n], t) for n, t in given.state_dict().items())
    assert 0 < (smaller(batches()[0]) - given(batches()[0])).abs().max() < 0.05


def two_tables():
    """The smallest database with a history: exporting takes seconds for each table."""
    drawn = np.random.default_rng(0)
    people = {"id": list(range(40)), "age": drawn.normal(size=40), "label": [0, 1] * 20}
    owner, days = drawn.integers(0, 39, 90), drawn.integers(0, 900, 90)
    visits = {"id": list(range(90)), "person_id": owner, "paid": drawn.normal(size=90)}
    visits["at"] = np.datetime64("2020-01-01") + days.astype("timedelta64[D]")
    key = ForeignKey(columns=("person_id",), references_table="people", references_columns=("id",))
    specs = (
        TableSpec(name="people", primary_key=("id",)),
        TableSpec(name="visits", primary_key=("id",), foreign_keys=(key,), time_column="at"),
    )
    task = TaskSpec(name="t", kind=TaskKind.BINARY, entity_table="people", target_column="label")
    frames = {"people": pa.table(people), "visits": pa.table(visits)}
    return prepare(frames, specs, task, Preparation())


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A network and its ONNX files, exact and INT8."""
    found = two_tables()
    config = NexusConfig(
        width=16, heads=2, dropout=0.0, tables={"visits": TableConfig(encoder=TimeSeriesConfig())}
    )
    network = NexusFormer(config, found.tokenizer, found.recipe.paths, found.recipe.task)
    network = stirred(network.eval())
    folder = tmp_path_factory.mktemp("onnx")
    export_onnx(network, build_batch(found.tensors, np.arange(40), 2), folder / "exact.onnx")
    quantize_onnx(folder / "exact.onnx", folder / "int8.onnx")
    return network, found.tensors, folder


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 2, 40])
def test_onnx_is_the_network_for_any_number_of_samples(exported, rows):
    network, tensors, folder = exported
    batch = build_batch(tensors, np.arange(rows), 2)
    found = OnnxNetwork(folder / "exact.onnx")(batch)
    torch.testing.assert_close(found, network(batch).detach(), atol=1e-5, rtol=0)


@pytest.mark.slow
def test_onnx_reads_somebody_without_any_history(exported):
    network, tensors, folder = exported
    lone_B = np.flatnonzero(np.diff(tensors.indexes[1].offsets_B) == 0)
    assert len(lone_B)
    batch = build_batch(tensors, lone_B, 2)
    found = OnnxNetwork(folder / "exact.onnx")(batch)
    torch.testing.assert_close(found, network(batch).detach(), atol=1e-5, rtol=0)


@pytest.mark.slow
def test_int8_arithmetic_is_near_and_smaller(exported):
    network, tensors, folder = exported
    batch = build_batch(tensors, np.arange(40), 2)
    off = (OnnxNetwork(folder / "int8.onnx")(batch) - network(batch).detach()).abs()
    assert 0 < off.mean() < 0.3
    sizes = [(folder / name).stat().st_size for name in ("int8.onnx", "exact.onnx")]
    assert sizes[0] < sizes[1]


@pytest.mark.slow
def test_int8_leaves_the_head_alone(exported):
    import onnx

    *_, folder = exported
    names = [part.name for part in onnx.load(folder / "int8.onnx").graph.initializer]
    assert any(name.endswith("head.out.weight") for name in names)
    assert any(name.endswith("fuse.project.weight_quantized") for name in names)


def test_a_file_that_is_no_network_is_refused(tmp_path):
    (tmp_path / "other.onnx").write_bytes(b"no network")
    with pytest.raises(ArtifactError, match="export_onnx"):
        OnnxNetwork(tmp_path / "other.onnx")
