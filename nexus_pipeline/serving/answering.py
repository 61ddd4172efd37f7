"""From a body to an answer: parsed, looked up where asked for, typed, queued, and written."""

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa

from nexus_model.align.recipe import Recipe
from nexus_model.schema import NexusError
from nexus_model.serve.explanation import Explanation
from nexus_model.serve.reading import Question, key_values
from nexus_pipeline.serving.engine import Answer
from nexus_pipeline.serving.kept import KeptQuestion
from nexus_pipeline.serving.live_model import Loaded
from nexus_pipeline.serving.lookup import Lookup, in_order
from nexus_pipeline.serving.problems import ProblemError, problem_of
from nexus_pipeline.serving.settings import ServeSettings
from nexus_pipeline.serving.wire import Incoming, parse_body

FIRST_YEAR, LAST_YEAR = 1700, 2200
MOST_EXPLAINED = 32


class Asked:
    """A request ready for the model; ``flags`` are those found so far."""

    def __init__(self, question: Question | KeptQuestion, flags: Sequence[str]) -> None:
        self.question, self.flags = question, list(flags)


def asked(
    body: bytes, kind: str, model: Loaded, settings: ServeSettings, lookup: Lookup | None
) -> Asked:
    """The question in a body.

    Raises:
        ProblemError: whatever is wrong with it that can be seen before alignment.
    """
    incoming = parse_body(body, kind, model.artifact.recipe, settings)
    try:
        return Asked(_question(incoming, model, lookup), incoming.flags)
    except NexusError as error:
        raise problem_of(error) from error
    except (pa.ArrowException, duckdb.Error, ArithmeticError) as error:
        raise ProblemError("bad_data", "the rows cannot be read under the model's types") from error


def _question(incoming: Incoming, model: Loaded, lookup: Lookup | None) -> Question | KeptQuestion:
    recipe, chosen = model.artifact.recipe, incoming.entities
    for moment in (incoming.cutoff, incoming.as_of):
        _check_moment(moment)
    tables: Mapping[str, Any] | None = incoming.tables
    if tables is None:
        kept = _kept(incoming, model, lookup)
        if kept is not None:
            return kept
        tables, chosen = _looked_up(recipe, incoming, lookup), None
    keys = None if chosen is None else set(chosen)
    question = model.predictor.question(tables, incoming.cutoff, incoming.as_of, keys)
    entity = question.given.tables[recipe.entity.name]
    for column in recipe.entity.primary_key:
        missing = entity[column].null_count
        if missing:
            told = "a key of those asked about is null"
            raise ProblemError(
                "null_key", told, table=recipe.entity.name, column=column, rows=missing
            )
    if keys is not None and model.predictor.reads_cohorts is False:
        known = set(key_values(entity.select(recipe.entity.primary_key)))
        lost = sorted(keys - known, key=str)
        if lost:
            raise ProblemError(
                "unknown_entity",
                "is asked about and has no row",
                table=recipe.entity.name,
                rows=len(lost),
                example=lost[0],
            )
    return question


def _kept(incoming: Incoming, model: Loaded, lookup: Lookup | None) -> KeptQuestion | None:
    if lookup is None or incoming.entities is None:
        return None
    return lookup.kept.question(model, incoming.entities, incoming.cutoff, incoming.as_of)


def _looked_up(recipe: Recipe, incoming: Incoming, lookup: Lookup | None) -> dict[str, Any]:
    if incoming.entities is None:
        raise ProblemError("malformed_request", "the body must have tables, or entities to look up")
    if lookup is None:
        told = "this server looks nothing up: send tables, or start it with --project"
        raise ProblemError("no_lookup", told)
    frames = lookup.frames(recipe, incoming.entities)
    own = recipe.entity.name
    return frames | {own: frames[own].take(in_order(frames, recipe, incoming.entities))}


def _check_moment(text: str | None) -> None:
    if text is None:
        return
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise ProblemError("bad_cutoff", "a moment must be ISO 8601", example=text) from error
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        told = f"a moment must be between the years {FIRST_YEAR} and {LAST_YEAR}"
        raise ProblemError("bad_cutoff", told, example=text)


def check_explained(question: Question | KeptQuestion, recipe: Recipe) -> None:
    """Refuse to explain more entities than a request may wait for.

    Raises:
        ProblemError: there are too many.
    """
    if isinstance(question, KeptQuestion):
        count = len(question.named.keys)
    else:
        count = len(question.given.tables[recipe.entity.name])
    if count > MOST_EXPLAINED:
        told = f"at most {MOST_EXPLAINED} entities are explained in one request"
        raise ProblemError("too_many_rows", told, table=recipe.entity.name, rows=count)


def predictions_body(
    answer: Answer, flags: Sequence[str], model: Loaded, question: Question | KeptQuestion
) -> dict[str, Any]:
    """The body of an answer, in the order of the entity table's rows."""
    keys = model.artifact.recipe.entity.primary_key
    predictions = []
    for place, row in enumerate(answer.table.to_pylist()):
        told = {
            "key": {name: _plain(row.pop(name)) for name in keys},
            "prediction": row.pop("prediction"),
            "flags": answer.sample_flags[place],
        }
        if row:
            told["outputs"] = row
        if answer.explanations:
            told["explanation"] = _explained(answer.explanations[place])
        predictions.append(told)
    return {
        "predictions": predictions,
        "flags": [*flags, *answer.flags],
        "cutoff": None if question.moment is None else question.moment.isoformat(),
        "model": {"task": model.artifact.recipe.task.name, "version": model.version},
    }


def _explained(explanation: Explanation) -> dict[str, Any]:
    return {
        "reasons": {
            "of": "what changes the prediction, in words, the largest change first",
            "sentences": list(explanation.reasons),
        },
        "attention": {
            "of": "share of the model's reading that went to each table; where it looked, not what "
            "the prediction depended on",
            "tables": explanation.attention,
        },
        "without_table": {
            "of": "outputs as if the table had not been given, and how far the outputs with it "
            "are above them; tables that say the same hide each other",
            "tables": {
                effect.table: {"outputs": effect.without, "change": effect.change}
                for effect in explanation.effects
            },
        },
    }


def _plain(value: Any) -> Any:
    match value:
        case dt.datetime() | dt.date():
            return value.isoformat()
        case Decimal():
            return str(value)
        case _:
            return value
