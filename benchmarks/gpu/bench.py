"""What a GPU is there for, measured on it; ``make bench-gpu`` runs it.

``python -m benchmarks.gpu.bench [CASE ...]``. Cases and parts are those of ``benchmarks/speed``,
each part in a process of its own. Results go to ``benchmarks/results/gpu/`` with the GPU's name,
and the page ``benchmarks/README.md`` is written anew.

``--rehearse`` runs every part on the CPU at toy sizes: what a CPU lacks is replaced by whatever the
library chooses there, nothing is written, and figures say nothing about any GPU.

Exit codes: 0 all bars are met, or the rehearsal ran; 1 a bar is missed; 3 there is no CUDA device.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks import bench
from benchmarks.speed.page import write_page

RESULTS = bench.ROOT / "benchmarks" / "results" / "gpu"
CASES = ("histories", "attention", "experts", "large", "rounding")
NO_DEVICE = 3
SAID = (
    "bench-gpu needs a CUDA device, and torch sees none here: nothing was measured. "
    "`python -m benchmarks.gpu.bench --rehearse` runs every part on the CPU at toy sizes."
)


def measured(name: str, size: str) -> dict[str, Any]:
    """A case as ``benchmarks.bench`` measures it, told as one of a GPU."""
    found = bench.measured(f"gpu.{name}", size)
    command = f"python -m benchmarks.gpu.bench {name}"
    # Time is of the device, waited for; what the host was doing meanwhile judges nothing.
    return found | {"case": f"gpu.{name}", "command": command, "judged_by": "wall_s"}


def has_device() -> bool:
    """Whether torch sees a CUDA device."""
    import torch

    return torch.cuda.is_available()


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", help=f"among {', '.join(CASES)}; all if none")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, at toy sizes")
    return parser.parse_args(given)


def rehearse(cases: list[str]) -> int:
    """Every part's code on the CPU; prints what it gave, and judges nothing."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    for name in cases:
        print(f"{name}, rehearsed on the CPU", flush=True)
        for line in bench.told(measured(name, "small")).splitlines():
            print(f"  {line.partition(' gpu.')[2]}", flush=True)
    print("A rehearsal: nothing was written, and no figure is of a GPU.")
    return 0


def main(given: list[str] | None = None, results: Path = RESULTS) -> int:
    """Measure, print and write."""
    asked = arguments(given)
    cases = asked.cases or list(CASES)
    if asked.rehearse:
        return rehearse(cases)
    if not has_device():
        print(SAID, file=sys.stderr)
        return NO_DEVICE
    results.mkdir(parents=True, exist_ok=True)
    missed = 0
    for name in cases:
        result = measured(name, "full")
        print(f"{name} on {result['versions']['GPU']}: {result['question']}", flush=True)
        (results / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        print(bench.told(result), flush=True)
        missed += sum(not figure["met"] for figure in result["figures"])
    write_page(bench.RESULTS, results)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
