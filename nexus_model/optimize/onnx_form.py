"""The network as an ONNX file, float32 or with INT8 arithmetic, and its runner.

B samples, Y outputs. The file holds the network alone: recipe and tokenizer stay in the ``.nxf``
file it was made from. Sizes of batches and of tables are free. The only file that imports ONNX;
extra ``onnx``.
"""

import copy
import importlib
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from nexus_model.model import NexusFormer
from nexus_model.optimize.flat import (
    FlatNetwork,
    Layout,
    Port,
    flatten,
    layout_of,
    without_sorting,
)
from nexus_model.optimize.int8 import stays_float
from nexus_model.schema import ArtifactError, ConfigurationError
from nexus_model.tokenize.batch import RelBatch

_LAYOUT = "nexusflow.layout"
_OUTPUT = "raw_BY"
# What exporters and compilers raise when they cannot follow a model; dynamo's are RuntimeErrors.
UNABLE = (RuntimeError, ValueError, TypeError, AssertionError, AttributeError, OSError)


def export_program(model: NexusFormer, batch: RelBatch) -> tuple[Any, Layout]:
    """``torch.export`` of the network with free sizes, and what it is given.

    Raises:
        ConfigurationError: the network cannot be followed; the message has torch's reason.
    """
    layout = layout_of(model, batch)
    network = FlatNetwork(without_sorting(copy.deepcopy(model)), layout)
    free = torch.export.Dim.DYNAMIC
    sizes = tuple(dict.fromkeys(range(len(port.sizes)), free) for port in layout.ports)
    try:
        # The fused kernel's strides are not those of its decomposition.
        with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(
                network, tuple(flatten(batch, layout)), dynamic_shapes=(sizes,), strict=True
            )
    except UNABLE as error:
        raise ConfigurationError(f"torch.export cannot follow this model: {error}") from error
    return program, layout


def export_onnx(model: NexusFormer, batch: RelBatch, path: Path | str) -> Layout:
    """Write the network as ONNX; ``batch`` is any batch with rows in its tables.

    Raises:
        ConfigurationError: the network cannot be followed, or ``onnx`` is not installed.
    """
    onnx = _installed("onnx")
    _installed("onnxscript")
    program, layout = export_program(model, batch)
    loud = logging.getLogger("torch.onnx")
    before, loud.level = loud.level, logging.ERROR
    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            written = torch.onnx.export(
                program,
                (),
                dynamo=True,
                verbose=False,
                input_names=[port.name for port in layout.ports],
                output_names=[_OUTPUT],
            )
        finally:
            loud.level = before
    if written is None:
        raise ConfigurationError("torch.onnx wrote nothing")
    written.save(path)
    _describe(onnx, Path(path), layout)
    return layout


def quantize_onnx(path: Path | str, to: Path | str) -> None:
    """The same network with weights of INT8 and activations that are rounded as they come.

    Matrices of the head and of routers stay float32.

    Raises:
        ConfigurationError: ``onnxruntime`` is not installed.
    """
    onnx, quantisation = _installed("onnx"), _installed("onnxruntime.quantization")
    model = onnx.load(str(path))
    # The quantiser looks at names after it has split products from sums.
    kept = [node.name for node in model.graph.node if any(map(stays_float, node.input))]
    root = logging.getLogger()
    before, root.level = root.level, logging.ERROR
    try:
        quantisation.quantize_dynamic(
            model,
            to,
            weight_type=quantisation.QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=kept + [f"{name}_MatMul" for name in kept],
            # Behind a layer norm the quantiser cannot tell a type, and all of ours are of one.
            extra_options={"MatMulConstBOnly": True, "DefaultTensorType": onnx.TensorProto.FLOAT},
        )
    finally:
        root.level = before


class OnnxNetwork:
    """``model(batch) -> raw_BY`` by ONNX Runtime on the CPU.

    Raises:
        ArtifactError: the file is not one ``export_onnx`` wrote.
        ConfigurationError: ``onnxruntime`` is not installed.
    """

    def __init__(self, path: Path | str, *, threads: int = 1) -> None:
        runtime = _installed("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        options.log_severity_level = 3
        state = _installed("onnxruntime.capi.onnxruntime_pybind11_state")
        refusals = (state.Fail, state.InvalidProtobuf, state.InvalidGraph, state.NoSuchFile,
                    state.InvalidArgument, state.NotImplemented, KeyError, ValueError)  # fmt: skip
        try:
            self.session = runtime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
            told = self.session.get_modelmeta().custom_metadata_map[_LAYOUT]
            self.layout = _layout(json.loads(told))
        except refusals as error:
            raise ArtifactError(f"{path}: not a network written by export_onnx: {error}") from error
        self.names = {port.name for port in self.session.get_inputs()}

    def __call__(self, batch: RelBatch) -> Tensor:
        given = {
            port.name: value.numpy()
            for port, value in zip(self.layout.ports, flatten(batch, self.layout), strict=True)
            if port.name in self.names
        }
        raw_BY: np.ndarray = self.session.run(None, given)[0]
        return torch.from_numpy(raw_BY)


def compiled(model: NexusFormer, batch: RelBatch, path: Path | str) -> nn.Module:
    """The network compiled ahead of time by AOTInductor (needs a C++ compiler), asked by batch.

    The file is machine code for this kind of processor: load none that you did not make.

    Raises:
        ConfigurationError: torch or the compiler cannot do it; the message has the reason.
    """
    program, layout = export_program(model, batch)
    try:
        with torch.no_grad():
            inductor: Any = importlib.import_module("torch._inductor")
            made = inductor.aoti_compile_and_package(program, package_path=str(path))
            runner = inductor.aoti_load_package(made)
    except UNABLE as error:
        raise ConfigurationError(f"AOTInductor cannot compile this model: {error}") from error
    return _Compiled(runner, layout)


class _Compiled(nn.Module):
    def __init__(self, runner: Any, layout: Layout) -> None:
        super().__init__()
        self.runner, self.layout = runner, layout

    def forward(self, batch: RelBatch) -> Tensor:
        found: Tensor = self.runner(*flatten(batch, self.layout))
        return found


def _describe(onnx: Any, path: Path, layout: Layout) -> None:
    model = onnx.load(str(path))
    # The exporter notes sizes of inner values, which other tools contradict, and lines of source.
    del model.graph.value_info[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    entry = model.metadata_props.add()
    entry.key, entry.value = _LAYOUT, json.dumps(layout)
    onnx.save(model, str(path))


def _layout(told: list[Any]) -> Layout:
    tables, fields, empty, path_tables, ports = told
    return Layout(
        tuple(tables),
        tuple(tuple(given) for given in fields),
        tuple({name: tuple(sizes) for name, sizes in lacks.items()} for lacks in empty),
        tuple(path_tables),
        tuple(Port(name, tuple(sizes)) for name, sizes in ports),
    )


def _installed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigurationError(f"{name} is not installed: pip install nexusflow[onnx]") from error
