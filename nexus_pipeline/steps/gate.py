"""The gate: may a version become champion, decided on validation samples and on nothing else."""

from collections.abc import Iterator

from pydantic import Field

from nexus_model.evaluate.metrics import Direction, direction_of
from nexus_model.schema import Record
from nexus_pipeline.settings.gate import GateConfig
from nexus_pipeline.steps.evaluation import MODEL, Evaluation

ENTITY_BASELINES = (
    "majority_or_mean",
    "training_quantiles",
    "entity_last",
    "entity_mean",
    "entity_quantiles",
)


class Gate(Record):
    """May this version become champion, and why; decided on validation data only.

    ``slices`` are its scores on parts of the validation samples, for the next version to be
    compared with.
    """

    version: str
    artifact_sha256: str
    metric: str
    score: float
    rival: str
    rival_score: float
    passed: bool
    reason: str
    slices: dict[str, float] = Field(default_factory=dict)
    calibration_error: float | None = None


def open_gate(
    evaluation: Evaluation, version: str, champion: Gate | None, rules: GateConfig
) -> Gate:
    """Decide by the rules; the reason is the first that is broken, or what was beaten."""
    scores = evaluation.scores("validation")
    sign = sign_of(evaluation.metric)
    rivals = {name: scores[name] for name in ENTITY_BASELINES if name in scores}
    rival = max(rivals, key=lambda name: sign * rivals[name])
    gate = Gate(
        version=version,
        artifact_sha256=evaluation.artifact_sha256,
        metric=evaluation.metric,
        score=scores[MODEL],
        rival=rival,
        rival_score=rivals[rival],
        passed=True,
        reason=f"beats {rival} on validation",
        slices=evaluation.slices,
        calibration_error=evaluation.calibration_error,
    )
    broken = next(_broken(gate, champion, rules), None)
    return gate.model_copy(update={"passed": False, "reason": broken}) if broken else gate


def sign_of(metric: str) -> int:
    """1 where more is better, -1 where less is."""
    return 1 if direction_of(metric) is Direction.MAX else -1


def _broken(gate: Gate, champion: Gate | None, rules: GateConfig) -> Iterator[str]:
    """Every rule the version breaks, in words."""
    sign, error = sign_of(gate.metric), gate.calibration_error
    if not sign * gate.score > sign * gate.rival_score:
        yield f"does not beat {gate.rival} on validation"
    if rules.minimum is not None and not sign * gate.score >= sign * rules.minimum:
        yield f"{gate.metric} {gate.score:.4f} on validation, {rules.minimum:.4f} is asked for"
    most = rules.calibration_error
    if most is not None and error is not None and not error <= most:
        yield f"calibration error {error:.4f}, at most {most:.4f}"
    if champion is not None:
        yield from _worse(gate, champion, rules)


def _worse(gate: Gate, champion: Gate, rules: GateConfig) -> Iterator[str]:
    """Where the version falls short of the champion."""
    sign, before = sign_of(gate.metric), f"champion version {champion.version}"
    gained = sign * (gate.score - champion.score)
    if gained < 0:
        yield f"worse on validation than {before}"
    elif gained < rules.margin:
        yield f"{gained:.4f} better on validation than {before}, {rules.margin:.4f} is asked for"
    if rules.slice_loss is None:
        return
    for name in sorted(gate.slices.keys() & champion.slices.keys()):
        lost = sign * (champion.slices[name] - gate.slices[name])
        if lost > rules.slice_loss:
            yield f"{lost:.4f} worse than {before} where {name}"
