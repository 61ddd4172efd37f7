"""Every fault at every stage of a small shop: ``python -m benchmarks.faults``.

A table of all pairs goes to standard output and ``benchmarks/results/faults.json``; ends with 1 if
any pair failed. ``--only PART`` tries the pairs whose name holds a text, and writes nothing, or
with ``--renew`` these in place of what the file says of them.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.faults.clock import build_clock
from benchmarks.faults.matrix import DONE, SENSELESS, STAGES, Bench, Pair, pairs, try_pair
from benchmarks.faults.shop import REPOSITORY, Place, Runner, State, state_of
from benchmarks.faults.tracking import Door, Server

RESULTS = REPOSITORY / "benchmarks/results/faults.json"
DISK_MB = 80


@contextmanager
def small_disk(at: Path) -> Iterator[Path | None]:
    """A disk of a few megabytes, where this user may mount one."""
    asked = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(at)]
    if subprocess.run(asked, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


@contextmanager
def prepared(root: Path, wanted: list[Pair]) -> Iterator[Bench]:
    """The shop, run twice: its states before every stage, and what an undisturbed run gives."""
    with ExitStack() as open_:
        faults = {pair.fault for pair in wanted}
        server = None
        if any(fault.startswith("tracking") for fault in faults):
            server = Server(root / "server")
            open_.callback(server.stop)
        place, states = Place(root / "place"), root / "states"
        place.root.mkdir()
        disk = open_.enter_context(small_disk(place.root))
        place.notes.mkdir()
        runner = Runner()
        open_.callback(runner.close)
        expected = _states(place, states, runner)
        bench = Bench(place, states, runner, expected, disk=disk)
        if "clock" in faults:
            (root / "clock").mkdir()
            shim = build_clock(root / "clock")
            assert shim is not None, "the clock needs a C compiler"
            shifted = Runner(shim)
            open_.callback(shifted.close)
            shifted.warm(root / "modules.json")
            bench = bench._replace(clock_runner=shifted)
        if server is not None:
            server.wait()
            door = Door(place.notes / "server", server.port)
            open_.callback(door.shutdown)
            bench = bench._replace(door=door, server_database=server.database)
        yield bench


def _states(place: Place, states: Path, runner: Runner) -> State:
    """One whole run, a changed value, and the same again stage by stage."""
    place.make()
    pid, out = runner.start(place, stages=list(STAGES))
    ended = runner.wait(pid, out)
    assert ended.code == 0, ended.told
    shutil.copy(place.notes / "modules.json", states.parent / "modules.json")
    runner.warm(states.parent / "modules.json")
    place.change()
    for stage in STAGES:
        place.save(states / stage)
        ended = runner.wait(*runner.start(place, stages=[stage]))
        assert ended.code == 0, ended.told
    place.save(states / DONE)
    return state_of(place)


def tried(wanted: list[Pair], keep: Path | None = None, *, verbose: bool) -> list[dict[str, Any]]:
    """The pairs, one after the other, on the fastest place there is."""
    fast = Path("/dev/shm")
    parent = fast if fast.is_dir() and os.access(fast, os.W_OK) else None
    found = []
    with ExitStack() as open_:
        root = open_.enter_context(tempfile.TemporaryDirectory(prefix="nexus-faults-", dir=parent))
        with prepared(Path(root), wanted) as bench:
            for pair in wanted:
                told = try_pair(bench, pair)
                found.append(told)
                if keep is not None:
                    keep.write_text(json.dumps(found), encoding="utf-8")
                if verbose:
                    state = "ok  " if told["passed"] else "FAIL"
                    print(f"{state} {pair.name:50} {told['seconds']:6.1f} s "
                          f"{told['disturbed']['exit_code']:4} {told['problems'] or ''}",
                          flush=True)  # fmt: skip
                if verbose and not told["passed"]:
                    for log in sorted(bench.place.notes.glob("*.log")):
                        print(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}")
    return found


def shared(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """The pairs, tried by several processes, each with a place of its own."""
    with tempfile.TemporaryDirectory(prefix="nexus-parts-") as folder:
        files = [Path(folder, str(number)) for number in range(asked.workers)]
        only = ["--only", asked.only] if asked.only else []
        words = [sys.executable, "-m", "benchmarks.faults", *only, "--part"]
        started = [
            subprocess.Popen([*words, f"{number}:{asked.workers}:{file}"], cwd=REPOSITORY)
            for number, file in enumerate(files)
        ]
        assert not any(process.wait() for process in started), "a worker failed"
        found = [told for file in files for told in json.loads(file.read_bytes())]
    return _in_order(found)


def _in_order(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    order = [tuple(pair) for pair in pairs()]
    return sorted(
        found, key=lambda told: order.index((told["fault"], told["stage"], told["asset"]))
    )


def table(found: list[dict[str, Any]]) -> str:
    """Faults by stages: how many pairs, and how many failed."""
    names = list(dict.fromkeys(told["fault"] for told in found))
    lines = ["| fault | " + " | ".join(STAGES) + " |", "|---" * (len(STAGES) + 1) + "|"]
    for name in names:
        cells = []
        for stage in STAGES:
            here = [t for t in found if (t["fault"], t["stage"]) == (name, stage)]
            failed = sum(not told["passed"] for told in here)
            cells.append("-" if not here else f"{failed} FAILED" if failed else "ok")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Try, tell, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="pairs whose name holds this text; comma-separated")
    parser.add_argument("--workers", type=int, default=1, help="processes that try pairs")
    parser.add_argument("--renew", action="store_true", help="with --only: write these anew")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    parts = asked.only.split(",") if asked.only else [""]
    wanted = [pair for pair in pairs() if any(part in pair.name for part in parts)]
    if asked.part:
        number, of, to = asked.part.split(":")
        tried(wanted[int(number) :: int(of)], Path(to), verbose=True)
        return 0
    found = tried(wanted, verbose=True) if asked.workers == 1 else shared(asked)
    print(table(found))
    failed = [told for told in found if not told["passed"]]
    if asked.renew:
        renewed = {told["asset"] + told["fault"] for told in found}
        before = json.loads(RESULTS.read_text(encoding="utf-8"))["found"]
        found += [told for told in before if told["asset"] + told["fault"] not in renewed]
        found = _in_order(found)
    if asked.renew or not asked.only:
        RESULTS.write_text(json.dumps(_told(found), indent=1) + "\n", encoding="utf-8")
    print(f"{len(found)} pairs, {len(failed)} failed")
    return 1 if failed else 0


def _told(found: list[dict[str, Any]]) -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    return {
        "command": "python -m benchmarks.faults",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "commit": commit,
        "pairs": len(found),
        "failed": sum(not told["passed"] for told in found),
        "rows_lost": sum(told["rows_lost"] for told in found),
        "wrong_results": sum(bool(told["results_differ"]) for told in found),
        "stuck": sum(told["stuck"] for told in found),
        "senseless": [
            {"fault": fault, "stage": stage, "why": why}
            for (fault, stage), why in SENSELESS.items()
        ],
        "found": found,
    }


if __name__ == "__main__":
    sys.exit(main())
