"""One plain table to tensors: our tokenizer beside pytorch-frame's materialization.

Both start from the same columns in memory, in the form each is made for (an Arrow table; a pandas
data frame), and end with tensors: numbers, category codes, timestamps.
"""

import subprocess
import sys
from collections.abc import Mapping
from json import dumps, loads
from pathlib import Path

from benchmarks.speed.case import Case, Facts, Figure, Size
from benchmarks.speed.measured import taken
from benchmarks.speed.peers import FRAME, beside_ours
from benchmarks.speed.tables import Shape, write_events

SIZES: dict[Size, Shape] = {"small": Shape(100, 20_000), "full": Shape(10_000, 1_000_000)}
BAR = 3.0


def generated(folder: Path, size: Size) -> Facts:
    """The table."""
    write_events(folder / "events.parquet", SIZES[size])
    return {"rows": SIZES[size].events}


def ours(folder: Path, size: Size) -> Facts:  # noqa: ARG001 - parts are called alike
    """Statistics of all rows, then every row as numbers."""
    import numpy as np
    import pyarrow.parquet as pq

    from nexus_model.schema import ColumnSpec, SemanticType, TableSpec
    from nexus_model.tokenize.fit import encode_table, fit_table

    table = pq.read_table(folder / "events.parquet").drop_columns(["event_id", "entity_id"])
    kinds = {
        "happened": SemanticType.TIMESTAMP,
        "amount": SemanticType.NUMERICAL,
        "score": SemanticType.NUMERICAL,
        "kind": SemanticType.CATEGORICAL,
        "channel": SemanticType.CATEGORICAL,
    }
    columns = tuple(ColumnSpec(name=name, semantic=kind) for name, kind in kinds.items())
    spec = TableSpec(name="events", columns=columns)
    time_R = np.zeros(len(table), np.int64)
    seen_R, parents_RP = np.ones(len(table), bool), np.zeros((len(table), 0), np.int64)

    def work() -> int:
        fitted = fit_table(table, spec, time_R, seen_R)
        return encode_table(table, spec, fitted, time_R, parents_RP).rows

    rows, spent = taken(work)
    return {"rows": rows, **spent.facts}


def pytorch_frame(folder: Path, size: Size) -> Facts:  # noqa: ARG001 - parts are called alike
    """The peer, in a process that finds it beside our torch and pandas."""
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed.plain", str(folder)],
        check=True,
        stdout=subprocess.PIPE,
        env=beside_ours("pytorch_frame", FRAME),
    )
    return dict(loads(told.stdout.splitlines()[-1]))


def materialized(folder: Path) -> Facts:
    """``Dataset.materialize``: column statistics and tensors, as its pages do it."""
    import pandas as pd
    import torch_frame  # type: ignore[import-not-found]
    from torch_frame.data import Dataset  # type: ignore[import-not-found]

    frame = pd.read_parquet(folder / "events.parquet").drop(columns=["event_id", "entity_id"])
    types = {
        "happened": torch_frame.timestamp,
        "amount": torch_frame.numerical,
        "score": torch_frame.numerical,
        "kind": torch_frame.categorical,
        "channel": torch_frame.categorical,
    }
    dataset = Dataset(frame, col_to_stype=types)
    made, spent = taken(dataset.materialize)
    versions = {"pytorch-frame": torch_frame.__version__, "pandas": pd.__version__}
    return {"rows": made.tensor_frame.num_rows, **spent.facts, "versions": versions}


def judged(parts: Mapping[str, Facts], by: str) -> list[Figure]:
    """Three times faster."""
    ours_s, theirs_s = parts["ours"][by], parts["pytorch_frame"][by]
    return [Figure(f"a table in memory to tensors ({by})", ours_s, theirs_s, "s", "at_least", BAR)]


CASE = Case(
    question="a plain table of a million rows to tensors",
    peer="pytorch-frame, Dataset.materialize",
    packages=("torch", "numpy", "pyarrow"),
    parts={"generated": generated, "ours": ours, "pytorch_frame": pytorch_frame},
    judged=judged,
)

if __name__ == "__main__":
    print(dumps(materialized(Path(sys.argv[1]))))
