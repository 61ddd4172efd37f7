"""Several methods one after another, each gated by what it may cost; and a search for a size.

Both write every model they try as a ``.nxf`` file and measure that file on validation samples.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from nexus_model.api.form_report import MB, Exact, FormReport, measured
from nexus_model.api.shrink import Bench, shrink
from nexus_model.artifact.model_file import NexusFlowModelArtifact
from nexus_model.optimize.methods import LADDER, Finetune, Methods, Structured, Unstructured
from nexus_model.schema import Record

TRAINED = "float32"
Say = Callable[[str], None]


class Stage(Record):
    """A model that was tried, and why it was taken or not."""

    report: FormReport
    largest_loss: float | None = Field(description="that was allowed; None if judged later")
    passed: bool


class SmallerReport(Record):
    """Everything that was tried, in order; ``taken`` is the form of the model that is kept."""

    stages: tuple[Stage, ...]
    taken: str
    target_size_mb: float | None = None
    reached: bool = True
    said: str

    @property
    def kept(self) -> FormReport:
        """The report of the model that is kept."""
        return next(s.report for s in self.stages if s.report.form == self.taken)


class Smaller(NamedTuple):
    """The file of the model that is kept, and how it was found."""

    path: Path
    report: SmallerReport


def run_stages(
    source: Path, methods: Methods, bench: Bench, folder: Path, say: Say = lambda _: None
) -> Smaller:
    """Apply methods in order; the first that loses too much ends it, and is not taken.

    What is pruned and then trained on is judged after the training.

    Raises:
        ConfigurationError: a method cannot do what is asked.
        ArtifactError: the source is damaged.
    """
    first, exact = measured(source, TRAINED, bench)
    stages, path = [Stage(report=first, largest_loss=None, passed=True)], source
    kept, kept_path = first, source
    for at, allowed in enumerate(allowances(methods)):
        form = "+".join(method.kind for method in methods[: at + 1])
        given = NexusFlowModelArtifact.load(path)
        path = _written(given, methods[at : at + 1], bench, folder, form)
        stages.append(judged(path, form, bench, exact, allowed))
        say(_told(stages[-1]))
        if not stages[-1].passed:
            said = f"stopped: {form} loses {stages[-1].report.loss:.4f}, {allowed:g} is allowed"
            break
        if allowed is not None:
            kept, kept_path = stages[-1].report, path
    else:
        said = f"every stage passed: {kept.file_bytes / MB:.3f} MB"
    report = SmallerReport(stages=tuple(stages), taken=kept.form, said=said)
    return Smaller(kept_path, report)


def allowances(methods: Methods) -> list[float | None]:
    """What each stage may cost; None of one that is trained on right after, and judged then."""
    following = [*methods[1:], None]
    return [
        None
        if isinstance(method, Unstructured | Structured) and isinstance(after, Finetune)
        else method.largest_loss
        for method, after in zip(methods, following, strict=True)
    ]


def reach_size(
    source: Path,
    target_size_mb: float,
    bench: Bench,
    folder: Path,
    say: Say = lambda _: None,
    ladder: Sequence[Methods] = LADDER,
) -> Smaller:
    """The first form on the ladder whose file is small enough and loses no more than it may.

    Failing that the trained model is kept, and the report says how small it could have been.

    Raises:
        ConfigurationError: a method cannot do what is asked.
        ArtifactError: the source is damaged.
    """
    first, exact = measured(source, TRAINED, bench)
    stages = [Stage(report=first, largest_loss=None, passed=True)]
    allowed = target_size_mb * MB
    if first.file_bytes <= allowed:
        said = f"already met: {first.file_bytes / MB:.3f} MB as it was trained"
        return _searched(source, stages, TRAINED, target_size_mb, said)
    for methods in ladder:
        form = "+".join(method.kind for method in methods)
        given = NexusFlowModelArtifact.load(source)
        path = _written(given, methods, bench, folder, form)
        stage = judged(path, form, bench, exact, methods[-1].largest_loss)
        fits = stage.report.file_bytes <= allowed
        stages.append(stage.model_copy(update={"passed": stage.passed and fits}))
        say(_told(stages[-1]))
        if stages[-1].passed:
            said = f"{form}: {stage.report.file_bytes / MB:.3f} MB"
            return _searched(path, stages, form, target_size_mb, said)
    least = min((stage.report for stage in stages), key=lambda report: report.file_bytes)
    said = (
        f"not reachable: smallest was {least.file_bytes / MB:.3f} MB ({least.form}) at "
        f"{least.metric.metric} {least.metric.estimate:.4f}, a loss of {least.loss:.4f}"
    )
    return _searched(source, stages, TRAINED, target_size_mb, said)


def _searched(
    path: Path, stages: list[Stage], taken: str, target_size_mb: float, said: str
) -> Smaller:
    kept = next(stage.report for stage in stages if stage.report.form == taken)
    report = SmallerReport(
        stages=tuple(stages),
        taken=taken,
        target_size_mb=target_size_mb,
        reached=kept.file_bytes <= target_size_mb * MB,
        said=said,
    )
    return Smaller(path, report)


def _written(
    artifact: NexusFlowModelArtifact, methods: Methods, bench: Bench, folder: Path, form: str
) -> Path:
    for method in methods:
        artifact = shrink(artifact, method, bench)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"model-{form}.nxf"
    artifact.save(path)
    return path


def judged(path: Path, form: str, bench: Bench, exact: Exact, largest_loss: float | None) -> Stage:
    """A tried form, measured; it passes if it loses no more than is allowed."""
    report, _ = measured(path, form, bench, exact)
    # A metric that is not defined passes no gate.
    passed = largest_loss is None or report.loss <= largest_loss
    return Stage(report=report, largest_loss=largest_loss, passed=passed)


def _told(stage: Stage) -> str:
    report = stage.report
    return (
        f"{report.form}: {report.file_bytes / MB:.3f} MB, {report.metric.metric} "
        f"{report.metric.estimate:.4f}, {'taken' if stage.passed else 'not taken'}"
    )
