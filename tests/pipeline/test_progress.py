"""Progress: a line per step in the log, and on a terminal one line that keeps itself current."""

import io
import os
import pty
import sys

from nexus_pipeline.progress import ProgressLog


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_finished_step_is_one_line_of_the_log(tmp_path):
    log = ProgressLog(tmp_path / "logs" / "run.log", io.StringIO())
    log.line("raw/races: 3 rows, 0.1 s")
    assert (tmp_path / "logs" / "run.log").read_text().endswith(" raw/races: 3 rows, 0.1 s\n")


def test_what_is_under_way_is_not_logged(tmp_path):
    log = ProgressLog(tmp_path / "run.log", Screen())
    log.passing("raw/races ...")
    assert not (tmp_path / "run.log").exists()


def test_a_pipe_shows_nothing(tmp_path):
    screen = io.StringIO()
    ProgressLog(tmp_path / "run.log", screen).line("done")
    assert screen.getvalue() == ""


def test_a_training_shows_epoch_samples_and_time_left(tmp_path):
    screen = Screen()
    watch = ProgressLog(tmp_path / "run.log", screen).training("dnf", "auroc", 4, 1000)
    watch.step(0, 1, 10, 0.7)
    watch.step(0, 5, 10, 0.6)
    shown = screen.getvalue()
    assert "epoch 1/4, sample 500/1000, loss 0.6000" in shown
    assert "s left" in shown


def test_the_terminal_is_kept_when_a_step_takes_the_output_away(monkeypatch):
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setattr(ProgressLog, "kept", None)
        ProgressLog.keep_terminal()
        kept = ProgressLog.kept
    assert kept is not None
    assert kept.isatty()
    kept.close()
    os.close(ours)
