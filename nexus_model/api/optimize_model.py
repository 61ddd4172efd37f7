"""A smaller form of a model, as a new model; the one given stays as it is."""

import copy
from typing import Literal, assert_never, overload

from torch import nn

from nexus_model.api.former import NexusFormer
from nexus_model.api.quantize import packed, quantization, widened
from nexus_model.api.shrink import Bench, shrink
from nexus_model.artifact.model_file import NexusFlowModelArtifact
from nexus_model.optimize.int8 import dequantize_weights
from nexus_model.optimize.methods import (
    Criterion,
    Distil,
    Int4,
    Method,
    Structured,
    Unstructured,
)
from nexus_model.optimize.prune import prune, still_scores
from nexus_model.schema import ConfigurationError

Named = Literal["quantization", "int4", "pruning", "structured", "distillation"]
NAMES: tuple[Named, ...] = ("quantization", "int4", "pruning", "structured", "distillation")


@overload
def optimize_model(
    model: NexusFormer,
    method: Named = ...,
    *,
    amount: float = ...,
    criterion: Criterion | str = ...,
    bench: Bench | None = ...,
) -> NexusFormer: ...
@overload
def optimize_model(
    model: nn.Module,
    method: Named = ...,
    *,
    amount: float = ...,
    criterion: Criterion | str = ...,
    bench: Bench | None = ...,
) -> nn.Module: ...
def optimize_model(
    model: NexusFormer | nn.Module,
    method: Named = "quantization",
    *,
    amount: float = 0.3,
    criterion: Criterion | str = Criterion.MAGNITUDE,
    bench: Bench | None = None,
) -> NexusFormer | nn.Module:
    """A smaller copy of a fitted model, or of a bare network.

    ``quantization`` stores matrices as INT8, ``int4`` in half of that, ``pruning`` sets ``amount``
    of the weights to zero by ``criterion``, ``structured`` cuts ``amount`` of the parameters,
    ``distillation`` teaches a model of a tenth of the parameters. The last and some criteria need
    ``bench``, samples to learn from. ``.optimization`` tells what was done. Files are smaller;
    predicting is not faster unless parameters are gone. A network has the values of INT8 or the
    zeros in float32, no other method is for one. Scores and attention of the model given are not
    those of the copy, and are left behind.

    Raises:
        ConfigurationError: the method is unknown, needs a ``bench`` or a fitted model, or the
            model is not fitted.
    """
    if method not in NAMES:
        raise ConfigurationError(f"method must be one of {', '.join(NAMES)}, got {method!r}")
    if isinstance(model, nn.Module):
        return _of_network(model, method, amount, Criterion(criterion))
    if method == "quantization":
        return _of_fitted(model)
    chosen = _method(method, amount, Criterion(criterion))
    found = shrink(model.artifact, chosen, bench)
    before = {"scores_before": found.metrics.get("validation", {})}
    found.metrics, found.lineage = {}, {**found.lineage, **before}
    return NexusFormer.of(found)


def _method(
    name: Literal["int4", "pruning", "structured", "distillation"],
    amount: float,
    criterion: Criterion,
) -> Method:
    match name:
        case "int4":
            return Int4()
        case "pruning":
            return Unstructured(amount=amount, criterion=criterion)
        case "structured":
            return Structured(amount=amount)
        case "distillation":
            return Distil()
        case _ as unreachable:
            assert_never(unreachable)


def _of_fitted(model: NexusFormer) -> NexusFormer:
    given = model.artifact
    exact = widened(given).weights
    small = packed(exact)
    return NexusFormer.of(
        NexusFlowModelArtifact(
            given.recipe,
            given.tokenizer,
            given.config,
            small,
            lineage={**given.lineage, "scores_before": given.metrics.get("validation", {})},
            optimization=quantization(exact, small).model_dump(mode="json"),
        )
    )


def _of_network(model: nn.Module, method: Named, amount: float, criterion: Criterion) -> nn.Module:
    smaller, state = copy.deepcopy(model), model.state_dict()
    if method == "quantization":
        small = packed(state)
        smaller.load_state_dict(dequantize_weights(small))
        smaller.optimization = quantization(state, small)
        return smaller
    if method != "pruning" or criterion.needs_samples:
        raise ConfigurationError(f"{method} by {criterion.value} is for a fitted NexusFormer")
    smaller.load_state_dict(prune(state, still_scores(state, criterion), amount))
    smaller.optimization = Unstructured(amount=amount, criterion=criterion)
    return smaller
