"""The matrix: which fault meets which stage, which pairs make no sense, and how one is tried."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.faults.inject import MALFORMED, set_clock
from benchmarks.faults.shop import Ended, Place, Runner, State, leftovers, lost_rows, state_of
from benchmarks.faults.tracking import PATIENCE_S

STAGES = (
    "raw", "validated", "aligned", "tokenized", "trained", "optimized", "evaluated", "served",
)  # fmt: skip
# What meets the fault in each stage: where a stage makes several things, the one most depends on.
KEYS = {
    "raw": "raw/orders",
    "validated": "validated/orders",
    "aligned": "aligned/index_churned",
    "tokenized": "tokenized/churned",
    "trained": "trained/churned",
    "optimized": "optimized/churned",
    "evaluated": "evaluated/churned",
    "served": "served/registered_churned",
}
PROMOTED, PREDICTED, TABLE = (
    "served/champion_churned",
    "served/predictions_churned",
    "aligned/orders",
)

# What needs a whole run to be done, and is then found by the next one.
DONE, ON_DONE = "done", ("damaged_record", "damaged_file", "damaged_store")


class Pair(NamedTuple):
    """A fault at an asset of a stage."""

    fault: str
    stage: str
    key: str

    @property
    def name(self) -> str:
        """As it is told."""
        return f"{self.fault} at {self.key}"


class Bench(NamedTuple):
    """What a pair is tried with: states of the shop before every stage, and what is expected."""

    place: Place
    states: Path
    runner: Runner
    expected: State
    clock_runner: Runner | None = None
    door: Any = None
    server_database: Path | None = None
    disk: Path | None = None


class Found(NamedTuple):
    """What happened."""

    first: Ended
    again: Ended
    by_hand: str = ""
    remarks: tuple[str, ...] = ()


def try_killed(bench: Bench, pair: Pair) -> Found:
    """A run is killed; the next one goes on."""
    first = _run(bench, pair, kind=pair.fault)
    return Found(first, _again(bench), remarks=_expect(first.code == -signal.SIGKILL, "not killed"))


def try_full_disk(bench: Bench, pair: Pair) -> Found:
    """The disk is full until somebody makes room."""
    by = "tmpfs" if bench.disk else "file size limit"
    first = _run(bench, pair, kind="full_disk", by=by, disk=str(bench.place.root))
    with suppress(FileNotFoundError):
        (bench.place.root / "ballast").unlink()
    return Found(first, _again(bench), "made room", _failed_clearly(first, "disk is full"))


def try_damaged_record(bench: Bench, pair: Pair) -> Found:
    """A record is cut off, then the next one is garbage."""
    path = bench.place.records.folder / f"shop.{pair.key.replace('/', '.')}.json"
    os.truncate(path, path.stat().st_size // 2)
    cut_off = _again(bench)
    path.write_bytes(b"\x00\xff garbage")
    return Found(cut_off, _again(bench), remarks=_expect(cut_off.code == 0, "it failed"))


def try_damaged_file(bench: Bench, pair: Pair) -> Found:
    """A stored file is written over in the middle, then cut off."""
    record = bench.place.records.read(f"shop/{pair.key}")
    assert record is not None
    place = bench.place.folder / record.stored.location
    file = place if place.is_file() else max(place.rglob("*"), key=lambda path: path.stat().st_size)
    with file.open("r+b") as content:
        content.seek(file.stat().st_size // 2)
        content.write(b"\xa5" * 64)
    first = _again(bench)
    os.truncate(file, file.stat().st_size // 2)
    return Found(first, _again(bench), remarks=_expect(first.code == 0, "it failed"))


def try_damaged_store(bench: Bench, pair: Pair) -> Found:  # noqa: ARG001 - called alike
    """The database file is cut off; somebody removes it, as the message says."""
    os.truncate(bench.place.store, 1000)
    first = _again(bench)
    remarks = _failed_clearly(first, "remove")
    bench.place.store.unlink()
    return Found(first, _again(bench), "removed the database file", remarks)


def try_damaged_checkpoint(bench: Bench, pair: Pair) -> Found:
    """A training is killed after an epoch, and its checkpoint is garbage in the middle."""
    first = _run(bench, pair, kind="killed_in_epoch")
    folder = bench.place.folder / "data/trained/shop/churned/checkpoint"
    (checkpoint,) = folder.glob("*.safetensors")
    with checkpoint.open("r+b") as content:
        content.seek(checkpoint.stat().st_size // 2)
        content.write(b"\xa5" * 64)
    return Found(first, _again(bench), remarks=_expect(first.code < 0, "not killed"))


def try_locked_long(bench: Bench, pair: Pair) -> Found:
    """Another process holds the store for longer than it is waited for."""
    first = _run(bench, pair, kind="locked", held_s=60, wait_s=0.5)
    _end_holder(bench)
    return Found(
        first, _again(bench), "closed the other process", _failed_clearly(first, "held by")
    )


def try_locked_short(bench: Bench, pair: Pair) -> Found:
    """Another process holds the store for a moment."""
    first = _run(bench, pair, kind="locked", held_s=1.5, wait_s=30)
    _end_holder(bench)
    return Found(first, _again(bench), remarks=_expect(first.code == 0, "it did not wait"))


def _try_tracking(server: str) -> Callable[[Bench, Pair], Found]:
    def tried(bench: Bench, pair: Pair) -> Found:
        told = {
            "MLFLOW_TRACKING_URI": bench.door.uri,
            "MLFLOW_HTTP_REQUEST_TIMEOUT": str(PATIENCE_S),
        }
        bench.door.mode = bench.place.notes / "server"
        first = _run(bench, pair, kind="tracking", server=server, environment=told)
        bench.door.mode.write_text("up")
        patient = {**told, "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
        synced = bench.runner.run(bench.place, "tracking", "sync", environment=patient)
        remarks = _expect(synced.code == 0, f"sync: {synced.last}")
        if pair.stage != "served" and server == "down":
            remarks += _failed_clearly(first, "does not answer")
        again = bench.runner.run(bench.place, "train", environment=patient)
        return Found(first, again, "nexusflow tracking sync", remarks)

    return tried


def try_malformed(bench: Bench, pair: Pair) -> Found:
    """A raw file that cannot be read arrives; the run after it says so, and somebody mends it."""
    good = bench.place.orders.read_bytes()
    first = _run(bench, pair, kind="malformed", file=str(bench.place.orders))
    assert bench.place.orders.read_bytes() == MALFORMED
    remarks = _expect(first.code == (3 if pair.stage == "raw" else 0), f"ended with {first.code}")
    told = _again(bench)
    remarks += _failed_clearly(told, "orders.csv") + _expect(told.code == 3, f"code {told.code}")
    bench.place.orders.write_bytes(good)
    shown = Ended(told.code, told.told) if first.code == 0 else first
    return Found(shown, _again(bench), "put the file right", remarks)


def try_clock(bench: Bench, pair: Pair) -> Found:
    """The clock goes three days back, then ten days forward, then is right again."""
    assert bench.clock_runner is not None
    fault = {"kind": "clock", "key": pair.key, "now": time.time()}
    first = bench.clock_runner.run(bench.place, "train", fault=fault)
    return Found(first, _again(bench), remarks=_expect(first.code == 0, "it failed"))


def try_together(bench: Bench, pair: Pair) -> Found:
    """Two processes make everything at once, and meet at the asset."""
    fault = {"kind": "together", "key": pair.key}
    started = [bench.runner.start(bench.place, words=["train"], fault=fault) for _ in range(2)]
    one, two = (bench.runner.wait(*each) for each in started)
    remarks = _expect(one.code == two.code == 0, f"ended with {one.code} and {two.code}")
    made = sum(_made(each) for each in (one, two))
    shown = one if one.code else two
    alone = len(STAGES[STAGES.index(pair.stage) :])
    remarks += _expect(made >= alone, f"{made} made")
    return Found(shown, _again(bench), remarks=remarks)


def try_little_memory(bench: Bench, pair: Pair) -> Found:
    """The work may not take the memory it needs."""
    by = "store" if pair.stage in ("raw", "validated") or pair.key == TABLE else "process"
    first = _run(bench, pair, kind="little_memory", by=by)
    remarks = _expect(first.code != 0, "it was not limited") + _expect(
        first.is_clear and "memory is not enough" in first.told, f"not told: {first.last}"
    )
    return Found(first, _again(bench), "allowed more", remarks)


TRIES: dict[str, Callable[[Bench, Pair], Found]] = {
    "killed_before": try_killed,
    "killed_within": try_killed,
    "killed_after": try_killed,
    "full_disk": try_full_disk,
    "damaged_record": try_damaged_record,
    "damaged_file": try_damaged_file,
    "damaged_store": try_damaged_store,
    "damaged_checkpoint": try_damaged_checkpoint,
    "locked_long": try_locked_long,
    "locked_short": try_locked_short,
    "tracking_down": _try_tracking("down"),
    "tracking_slow": _try_tracking("slow"),
    "tracking_restarted": _try_tracking("restarting"),
    "malformed": try_malformed,
    "clock": try_clock,
    "together": try_together,
    "little_memory": try_little_memory,
}
SENSELESS = {
    ("damaged_file", "raw"): "its table is in the database file: damaged_store",
    ("damaged_file", "validated"): "its table is in the database file: damaged_store",
    **{("damaged_store", stage): "it holds no table in the database file" for stage in STAGES[3:]},
    **{
        (fault, stage): "a run asks the server in the same way in every stage; two are tried"
        for fault in ("tracking_slow", "tracking_restarted")
        for stage in STAGES
        if stage not in ("trained", "served")
    },
    **{
        ("locked_short", stage): "the store is waited for in the same way in every stage"
        for stage in STAGES[3:]
        if stage != "trained"
    },
    **{
        ("damaged_checkpoint", stage): "only a training has checkpoints"
        for stage in STAGES
        if stage != "trained"
    },
}


def pairs() -> list[Pair]:
    """Every pair that makes sense; the served stage's promotion and predictions are killed too."""
    found = [
        Pair(fault, stage, KEYS[stage])
        for stage in STAGES
        for fault in TRIES
        if (fault, stage) not in SENSELESS
    ]
    for fault in ("killed_before", "killed_within", "killed_after"):
        found += [Pair(fault, "aligned", TABLE)]
        found += [Pair(fault, "served", key) for key in (PROMOTED, PREDICTED)]
    return found


def try_pair(bench: Bench, pair: Pair) -> dict[str, Any]:
    """Try one pair from the state before its stage; what is told of it."""
    started = time.perf_counter()
    bench.place.restore(bench.states / (DONE if pair.fault in ON_DONE else pair.stage))
    if bench.clock_runner is not None and pair.fault == "clock":
        (bench.place.notes / "clock").symlink_to(bench.states.parent / "clock/clock")
    found = TRIES[pair.fault](bench, pair)
    if pair.fault == "clock":
        set_clock(bench.place.notes / "clock", 0)
    problems = list(found.remarks)
    server = bench.server_database if pair.fault.startswith("tracking") else None
    problems += _problems_after(bench, found, server)
    return {
        "fault": pair.fault, "stage": pair.stage, "asset": pair.key,
        "disturbed": {"exit_code": found.first.code, "told": found.first.last},
        "by_hand": found.by_hand,
        "again": {"exit_code": found.again.code, "told": _brief(found.again)},
        **_verdict(bench, found, server),
        "problems": problems,
        "seconds": round(time.perf_counter() - started, 1),
        "passed": not problems,
    }  # fmt: skip


def _verdict(bench: Bench, found: Found, server: Path | None) -> dict[str, Any]:
    now = state_of(bench.place, server)
    return {
        "rows_lost": lost_rows(now.rows, bench.expected.rows),
        "results_differ": _differing(bench, now),
        "leftovers": leftovers(bench.place, server),
        "stuck": found.first.is_stuck or found.again.is_stuck,
    }


def _problems_after(bench: Bench, found: Found, server: Path | None) -> list[str]:
    if found.again.code:
        return [f"the next run ended with {found.again.code}: {found.again.last}"]
    told = _verdict(bench, found, server)
    return [f"{name}: {value}" for name, value in told.items() if value]


def _differing(bench: Bench, now: State) -> list[str]:
    names = sorted(bench.expected.results.keys() | now.results.keys())
    return [n for n in names if bench.expected.results.get(n) != now.results.get(n)]


def _run(bench: Bench, pair: Pair, **fault: Any) -> Ended:
    environment = fault.pop("environment", {})
    told = {**fault, "key": pair.key}
    return bench.runner.run(bench.place, "train", fault=told, environment=environment)


def _again(bench: Bench) -> Ended:
    return bench.runner.run(bench.place, "train")


def _end_holder(bench: Bench) -> None:
    with suppress(ProcessLookupError, FileNotFoundError):
        os.kill(int((bench.place.notes / "holder").read_text()), signal.SIGKILL)
    time.sleep(0.1)


def _failed_clearly(ended: Ended, words: str) -> tuple[str, ...]:
    is_told = ended.is_clear and words in ended.told
    return () if is_told else (f"not told clearly ({ended.code}): {ended.last}",)


def _expect(holds: object, otherwise: str) -> tuple[str, ...]:
    return () if holds else (otherwise,)


def _brief(ended: Ended) -> str:
    counted = [line for line in ended.told.splitlines() if " assets: " in line]
    return counted[0] if counted else ended.last


def _made(ended: Ended) -> int:
    found = _brief(ended).partition(" assets: ")[2].split(" ")
    return int(found[0]) if found[0].isdigit() else 0
