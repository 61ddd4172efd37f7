"""Progress: one line per step in a log file, and on a terminal a line that keeps itself current."""

import datetime as dt
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TextIO

if TYPE_CHECKING:
    from nexus_model.train.loop import StepReport
    from nexus_model.train.state import Progress


class ProgressLog:
    """Writes to ``file`` always, to ``screen`` only when it is a terminal."""

    kept: ClassVar[TextIO | None] = None

    def __init__(self, file: Path, screen: TextIO | None = None) -> None:
        self.file, self.screen = file, screen or self.kept or sys.stderr
        self.file.parent.mkdir(parents=True, exist_ok=True)

    @classmethod
    def keep_terminal(cls) -> None:
        """Remember the terminal there is now: Dagster turns the output of a step into a file."""
        if cls.kept is None and sys.stderr.isatty():
            cls.kept = os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8")

    def line(self, text: str) -> None:
        """A finished step."""
        stamp = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
        with self.file.open("a", encoding="utf-8") as log:
            log.write(f"{stamp} {text}\n")
        self._show(text + "\n")

    def passing(self, text: str) -> None:
        """Something under way; the next line overwrites it."""
        self._show(text)

    def training(self, task: str, metric: str, epochs: int, samples: int) -> "TrainingWatch":
        """A watch over one training of so many samples an epoch."""
        return TrainingWatch(self, task, metric, epochs, samples)

    def _show(self, text: str) -> None:
        if self.screen.isatty():
            self.screen.write(f"\r\x1b[K{text}")
            self.screen.flush()


class TrainingWatch:
    """Epoch, samples done, loss, best score and time left of one training."""

    def __init__(self, log: ProgressLog, task: str, metric: str, epochs: int, samples: int) -> None:
        self.log, self.task, self.metric = log, task, metric
        self.epochs, self.samples = epochs, samples
        self.started = time.monotonic()
        self.first: float | None = None
        self.best = ""

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Show where the epoch stands."""
        done = epoch + step / steps
        self.first = done - 1 / steps if self.first is None else self.first
        spent = time.monotonic() - self.started
        left_s = spent / max(done - self.first, 1e-9) * (self.epochs - done)
        self.log.passing(
            f"trained/{self.task}: epoch {epoch + 1}/{self.epochs}, "
            f"sample {self.samples * step // steps}/{self.samples}, "
            f"loss {loss:.4f}{self.best}, at most {left_s:.0f} s left"
        )

    def again(self, step: "StepReport") -> None:
        """Show where a training that nothing judges stands."""
        self.log.passing(
            f"trained/{self.task}: again, epoch {step.epoch + 1}, step {step.step}/{step.steps}, "
            f"loss {step.loss:.4f}"
        )

    def epoch(self, progress: "Progress") -> None:
        """Log a finished epoch."""
        report = progress.curve[-1]
        self.best = f", best {self.metric} {progress.best_score:.4f}"
        self.log.line(
            f"trained/{self.task}: epoch {report.epoch + 1}/{self.epochs}, "
            f"loss {report.loss:.4f}, validation {self.metric} {report.score:.4f}"
            f"{' (best)' if report.best else ''}"
        )
