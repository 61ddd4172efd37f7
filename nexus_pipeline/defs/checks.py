"""Checks: facts an asset must fulfil; one already seen true of the same content is not redone."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import dagster as dg

from nexus_pipeline.defs.resources import ProgressResource, Workshop, workshop
from nexus_pipeline.defs.shown import as_metadata
from nexus_pipeline.defs.turns import turn_of
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.records import MadeRecord, code_version, fingerprint
from nexus_pipeline.steps.stored import Stored
from nexus_pipeline.storage.resource import StoreResource


class Outcome(NamedTuple):
    """Whether a fact holds, the figures that show it, and whether it is only a warning if not."""

    passed: bool
    figures: Mapping[str, Any]
    is_warning: bool = False


def nothing_else(room: Workshop) -> str:  # noqa: ARG001 - all are called alike
    """What a fact stands on beside its asset: nothing."""
    return ""


def build_check(
    project: ProjectConfig,
    key: str,
    fact: Callable[[Workshop], Outcome],
    *,
    blocking: bool = True,
    also: Callable[[Workshop], str] = nothing_else,
) -> dg.AssetChecksDefinition:
    """A Dagster check of asset ``key``, named after the function that looks at the fact.

    ``also`` tells what the fact stands on beside the asset; a warning blocks nothing.
    """

    @dg.asset_check(
        asset=dg.AssetKey(key.split("/")),
        name=fact.__name__,
        blocking=blocking,
        description=fact.__name__.replace("_", " ").capitalize() + ".",
    )
    def check(
        context: dg.AssetCheckExecutionContext, store: StoreResource, progress: ProgressResource
    ) -> dg.AssetCheckResult:
        room, run_id = workshop(project, store, progress), context.run.run_id

        def alone() -> AbstractContextManager[None]:
            return turn_of(room.records.folder, run_id, room.progress.line)

        outcome = look_once(room, key, fact, also(room), alone)
        stops = blocking and not outcome.is_warning
        severity = dg.AssetCheckSeverity.ERROR if stops else dg.AssetCheckSeverity.WARN
        return dg.AssetCheckResult(
            passed=outcome.passed, metadata=as_metadata(outcome.figures), severity=severity
        )

    return check


def look_once(
    room: Workshop,
    key: str,
    fact: Callable[[Workshop], Outcome],
    also: str = "",
    alone: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Outcome:
    """The outcome for the asset's present content; a fact that failed is looked at again.

    It is looked at while nobody else makes anything, inside ``alone``.
    """
    name, seen_of = f"{key}.{fact.__name__}", _seen_of(room, key, also)
    former = room.records.read(name)
    if former and former.fingerprint == seen_of:
        return Outcome(passed=True, figures=former.shown)
    with alone():
        seen_of = _seen_of(room, key, also)
        outcome = fact(room)
    if outcome.passed:
        stored = Stored(location="", sha256=seen_of, rows=0)
        room.records.write(
            MadeRecord(
                key=name,
                fingerprint=seen_of,
                stored=stored,
                run_id="",
                shown=dict(outcome.figures),
            )
        )
    return outcome


def _seen_of(room: Workshop, key: str, also: str) -> str:
    made = room.records.read(key)
    code = code_version("nexus_pipeline/defs", "nexus_pipeline/steps")
    content = {key: made.fingerprint + made.stored.sha256 if made else ""}
    return fingerprint(code, {}, {**content, "also": also} if also else content)
