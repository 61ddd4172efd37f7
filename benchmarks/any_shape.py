"""Random databases sent the whole way, from raw files to predictions from raw files.

``python -m benchmarks.any_shape --databases 500 [--first 0] [--commands 5]`` makes the databases of
these numbers, sends each through every step up to a ``.nxf`` file, asks the file alone, and writes
``benchmarks/results/any_shape.json``: how many ended how, by shape, and the time. ``--first`` and
``--to`` let two processes share the work, a file each. Databases have
1 to 7 tables, at most 300 rows a table but for one in a hundred with 100,000, and are trained for
one epoch: it is about shapes, not about what is learned.

A database ends in ``answered`` (an answer for every row of the table asked about, finite, in the
order of its file), in ``refused`` (an error that names a table or column; each reason is listed),
or in ``failed``, which is a defect. The steps called are those that the pipeline's assets call;
``--commands`` of the databases go through ``nexusflow train`` as well.
"""

import argparse
import json
import os
import re
import time
import traceback
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.shapes.databases import Database, make_database
from benchmarks.shapes.journey import through_the_command, travel

RESULTS = Path(__file__).parent / "results"


class Ended(NamedTuple):
    """How a database's journey ended, and what there is to say of it."""

    number: int
    outcome: str
    told: str
    seconds: float
    shapes: tuple[str, ...]


def sent(database: Database, way: Any = travel) -> Ended:
    """Send a database, whatever comes of it."""
    started = time.perf_counter()
    with TemporaryDirectory(prefix="nexus-shape-") as folder:
        try:
            arrived = way(database, Path(folder))
            outcome, told = ("refused", arrived.refused) if arrived.refused else ("answered", "")
        except Exception as error:  # noqa: BLE001 - what is not foreseen is what is looked for
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}:{place.lineno}"
            outcome, told = "failed", f"{type(error).__name__}: {error} ({where})"
    seconds = time.perf_counter() - started
    return Ended(database.number, outcome, told, seconds, database.shapes)


def report(ended: list[Ended], commands: list[Ended]) -> dict[str, Any]:
    """Counts by outcome and by shape, refusals by reason, failures one by one."""
    seconds = sorted(item.seconds for item in ended)
    by_shape: dict[str, Counter[str]] = {}
    for item in ended:
        for shape in item.shapes:
            by_shape.setdefault(shape, Counter())[item.outcome] += 1
    refused = Counter(_reason(item.told) for item in ended if item.outcome == "refused")
    return {
        "databases": len(ended),
        "outcomes": dict(Counter(item.outcome for item in ended)),
        "seconds": {
            "all": round(sum(seconds), 1),
            "median": round(seconds[len(seconds) // 2], 2),
            "longest": round(seconds[-1], 2),
        },
        "refused": dict(refused.most_common()),
        "failed": [{"number": i.number, "told": i.told} for i in ended if i.outcome == "failed"],
        "through_the_command": dict(Counter(item.outcome for item in commands)),
        "through_the_command_told": {str(i.number): i.told for i in commands if i.told},
        "shapes": {name: dict(by_shape[name]) for name in sorted(by_shape)},
    }


def _reason(told: str) -> str:
    """A refusal without the names and numbers of one database."""
    plain = re.sub(r"'[^']*'|\[[^]]*\]", "...", told.partition(": ")[2])
    return re.sub(r"\d+", "N", plain.partition(": ")[2] or plain)[:120]


def main() -> None:
    """Parse the command line, send the databases, write and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--databases", type=int, default=500)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--commands", type=int, default=5)
    parser.add_argument("--to", default="any_shape.json", help="file below results/")
    asked = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    numbers = range(asked.first, asked.first + asked.databases)
    ended: list[Ended] = []
    for number in numbers:
        ended.append(sent(make_database(number)))
        if ended[-1].outcome == "failed":
            print(number, ended[-1].told, flush=True)
        if not len(ended) % 25:
            kept(asked.to, asked.first, ended, [])
            print(f"{len(ended)} of {asked.databases}", flush=True)
    commands = [sent(make_database(n), through_the_command) for n in numbers[: asked.commands]]
    found = kept(asked.to, asked.first, ended, commands)
    print(json.dumps({key: found[key] for key in found if key != "shapes"}, indent=1))


def kept(to: str, first: int, ended: list[Ended], commands: list[Ended]) -> dict[str, Any]:
    """The report so far, which is written each time: a long run may be cut short."""
    found = {"first": first, **report(ended, commands)}
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    (RESULTS / to).write_text(text, encoding="utf-8")
    return found


if __name__ == "__main__":
    main()
