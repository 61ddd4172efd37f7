"""Artifacts of models of the tiny database, and the frames they predict from."""

from functools import cache

from tiny import as_arrow, moment, stirred, tiny_database, tiny_frames, tiny_model

from nexus_model.artifact.model_file import NexusFlowModelArtifact
from nexus_model.schema import TaskKind
from nexus_model.serve.predictor import Predictor

CUTOFF = moment(180)


@cache
def shop(kind=TaskKind.BINARY, *, static=False):
    """The tiny database, made once."""
    return tiny_database(kind, static=static)


def artifact(kind=TaskKind.BINARY, *, static=False, weights=None):
    """The artifact of a model none of whose weights is zero."""
    tiny = shop(kind, static=static)
    model = stirred(tiny_model(tiny))
    state = model.state_dict() if weights is None else weights(model.state_dict())
    return NexusFlowModelArtifact(tiny.recipe, tiny.tokenizer, model.config, state)


def frames(**changed):
    """The tiny database as Arrow tables."""
    return as_arrow(shop().recipe, tiny_frames()) | changed


@cache
def predictor(kind=TaskKind.BINARY, *, static=False):
    """The loaded model."""
    return Predictor(artifact(kind, static=static))


def predicted(given=None, cutoff=CUTOFF):
    """Predictions of everybody in the frames."""
    return predictor().predict(frames() if given is None else given, cutoff)


def order(table, places):
    """The rows of one frame in another order."""
    return {table: frames()[table].take(places)}
