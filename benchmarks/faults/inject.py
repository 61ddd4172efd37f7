"""Faults inside a running process: the making of one asset is replaced by one that goes wrong.

Every fault is a function of the making's own ``make``, so that the run around it is the usual one.
"""
# ruff: noqa: ARG001, ARG005 - all faults are called alike, and so is what they replace

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nexus_pipeline import assembly
from nexus_pipeline.defs.making import Doing, Made, Making
from nexus_pipeline.defs.resources import Workshop
from nexus_pipeline.storage import Store

Make = Callable[[Workshop, Doing], Made]
TOGETHER_S, BACKWARDS_S, FORWARDS_S = 60, -3 * 86_400, 10 * 86_400
MALFORMED = b"order_id,customer_id,date,total\n1,2,2025-01-01\n\xff\xfe,,\n"
HOLDER = (
    "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); print('held', flush=True); "
    "time.sleep(float(sys.argv[2]))"
)


def arrange(fault: dict[str, Any], place: Path) -> None:
    """Let the asset ``fault["key"]`` (without the project's name) meet the fault, once."""
    usual, asked = assembly.build_asset, fault["key"]

    def build(project: Any, making: Making, condition: Any = None) -> Any:
        if making.key.partition("/")[2] == asked:
            making = FAULTS[fault["kind"]](making, fault, place)
        return usual(project, making, condition)

    assembly.build_asset = build


def die() -> None:
    """As the kernel ends a process."""
    os.kill(os.getpid(), signal.SIGKILL)


def killed_before(making: Making, fault: dict[str, Any], place: Path) -> Making:
    """Before the work."""
    return making._replace(make=lambda room, doing: die())  # type: ignore[arg-type, return-value]


def killed_after(making: Making, fault: dict[str, Any], place: Path) -> Making:
    """After the work, before it is recorded."""

    def make(room: Workshop, doing: Doing) -> Made:
        making.make(room, doing)
        die()
        raise AssertionError

    return making._replace(make=make)


def killed_within(making: Making, fault: dict[str, Any], place: Path) -> Making:
    """In the middle of a transaction or of a file: half of it is there."""

    def make(room: Workshop, doing: Doing) -> Made:
        _tear_writers(room.project.data / making.stage)
        return making.make(room, doing)

    return making._replace(make=make)


def _tear_writers(below: Path) -> None:
    """The next write below a folder, or transaction, ends half-way with the process."""
    import numpy as np
    import pyarrow.parquet as pq
    import safetensors.torch

    from nexus_model.artifact import stored_file
    from nexus_model.train import state

    def torn(write: Callable[..., Any], which: int) -> Callable[..., Any]:
        def half(*given: Any, **named: Any) -> Any:
            done = write(*given, **named)
            path = Path(given[which])
            if path.resolve().is_relative_to(below.resolve()):
                os.truncate(path, path.stat().st_size // 2)
                die()
            return done

        return half

    Path.write_text = torn(Path.write_text, 0)  # type: ignore[method-assign]
    np.save = torn(np.save, 0)
    pq.write_table = torn(pq.write_table, 1)
    safetensors.torch.save_file = torn(safetensors.torch.save_file, 1)
    state.save_file = safetensors.torch.save_file
    os.fsync = lambda _: die()  # type: ignore[assignment]
    assert stored_file
    usual = Store.write

    @contextmanager
    def write(self: Store) -> Iterator[Any]:
        with usual(self) as con:
            yield con
            die()

    Store.write = write  # type: ignore[method-assign]


def killed_in_epoch(making: Making, fault: dict[str, Any], place: Path) -> Making:
    """After the first epoch's checkpoint was written."""
    from nexus_pipeline import progress

    progress.TrainingWatch.epoch = lambda *_: die()  # type: ignore[method-assign]
    return making


def full_disk(making: Making, fault: dict[str, Any], place: Path) -> Making:
    """The disk that holds everything fills up; without one to fill, files may not grow."""

    def make(room: Workshop, doing: Doing) -> Made:
        if fault["by"] == "tmpfs":
            fill(Path(fault["disk"]))
            return making.make(room, doing)
        with _limited(resource.RLIMIT_FSIZE, 2048):
            return making.make(room, doing)

    return making._replace(make=make)


def fill(disk: Path) -> None:
    """Leave no room."""
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        for size in (1 << 20, 1 << 12):
            try:
                while ballast.write(b"0" * size) == size:
                    pass
            except OSError:
                continue


def locked(making: Making, fault: dict[str, Any], place: Path) -> Making:
    """Another process opens the store, for ``held_s``; it is waited for ``wait_s``."""

    def make(room: Workshop, doing: Doing) -> Made:
        words = [sys.executable, "-c", HOLDER, str(room.store.path), str(fault["held_s"])]
        holder = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        (place / "holder").write_text(str(holder.pid))
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        # What is made beside it would wait as long as usual, one after the other.
        Store.lock_timeout_s = property(  # type: ignore[assignment]
            lambda store: fault["wait_s"], lambda store, usual: None
        )
        return making.make(room, doing)

    return making._replace(make=make)


def tracking(making: Making, fault: dict[str, Any], place: Path) -> Making:
    """The tracking server changes its ways when the work begins."""

    def make(room: Workshop, doing: Doing) -> Made:
        (place / "server").write_text(fault["server"])
        return making.make(room, doing)

    return making._replace(make=make)


def malformed(making: Making, fault: dict[str, Any], place: Path) -> Making:
    """A raw file is replaced by one that cannot be read."""

    def make(room: Workshop, doing: Doing) -> Made:
        Path(fault["file"]).write_bytes(MALFORMED)
        return making.make(room, doing)

    return making._replace(make=make)


def clock(making: Making, fault: dict[str, Any], place: Path) -> Making:
    """The clock is put back when the work begins, and forward when it ends."""

    def make(room: Workshop, doing: Doing) -> Made:
        set_clock(place / "clock", BACKWARDS_S)
        assert time.time() < fault["now"] - 86_400, "the clock did not move"
        made = making.make(room, doing)
        set_clock(place / "clock", FORWARDS_S)
        return made

    return making._replace(make=make)


def set_clock(file: Path, seconds: int) -> None:
    """Where the shim reads how far the clock is off."""
    with file.open("r+b") as shared:
        shared.write(seconds.to_bytes(8, "little", signed=True))


def together(making: Making, fault: dict[str, Any], place: Path) -> Making:
    """Two processes come to the asset; neither goes on until both are there."""
    met: list[bool] = []

    def also(uri: str) -> Any:
        if not met:
            met.append(True)
            (place / f"here-{os.getpid()}").touch()
            give_up_at = time.monotonic() + TOGETHER_S
            while len(list(place.glob("here-*"))) < 2 and time.monotonic() < give_up_at:
                time.sleep(0.02)
        return making.also(uri)

    return making._replace(also=also)


def little_memory(making: Making, fault: dict[str, Any], place: Path) -> Making:
    """The store, or else the process, may not take what the work needs."""

    def make(room: Workshop, doing: Doing) -> Made:
        if fault["by"] == "store":
            small = Store(room.store.path, threads=1, memory_limit="400KB")
            return making.make(room._replace(store=small), doing)
        # From the kernel, not from what was freed before: mallopt(M_MMAP_THRESHOLD, ...).
        ctypes.CDLL(None).mallopt(-3, 2048)
        with _limited(resource.RLIMIT_AS, 1 << 20):
            return making.make(room, doing)

    return making._replace(make=make)


@contextmanager
def _limited(what: int, limit: int) -> Iterator[None]:
    before = resource.getrlimit(what)
    resource.setrlimit(what, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, before)


FAULTS: dict[str, Callable[[Making, dict[str, Any], Path], Making]] = {
    "killed_before": killed_before,
    "killed_after": killed_after,
    "killed_within": killed_within,
    "killed_in_epoch": killed_in_epoch,
    "full_disk": full_disk,
    "locked": locked,
    "tracking": tracking,
    "malformed": malformed,
    "clock": clock,
    "together": together,
    "little_memory": little_memory,
}
