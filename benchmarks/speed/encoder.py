"""One step of an FT-Transformer over the rows of a table: ours beside the two known ones.

All are 192 wide, with 8 heads and 3 blocks, the first two numbers and their dropout being the
paper's default; a step is forward, backward and AdamW on a batch of rows with 8 numbers and 4
categories. pytorch-frame's feed-forward is narrower by its default, which spares it work.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.speed.case import Case, Facts, Figure, Size
from benchmarks.speed.measured import taken
from benchmarks.speed.peers import FRAME, beside_ours

NUMBERS, CATEGORIES, VALUES = 8, 4, 10
WIDTH, HEADS, BLOCKS, DROPOUT = 192, 8, 3, 0.1
ROWS = 1024
STEPS: dict[Size, int] = {"small": 3, "full": 20}
BAR = 0.8


def frame() -> Any:
    """The batch as a data frame."""
    import numpy as np
    import pandas as pd

    random = np.random.default_rng(0)
    numbers = {f"n{at}": random.normal(size=ROWS) for at in range(NUMBERS)}
    named = np.array([f"value {at}" for at in range(VALUES)])
    kinds = {f"c{at}": named[random.integers(0, VALUES, ROWS)] for at in range(CATEGORIES)}
    return pd.DataFrame({**numbers, **kinds, "y": random.normal(size=ROWS)})


def stepped(model: Any, ask: Callable[[], Any], steps: int) -> Facts:
    """Seconds of a step: two to warm up, then so many of them."""
    import torch

    torch.manual_seed(0)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)

    def step() -> None:
        optimizer.zero_grad()
        ask().square().mean().backward()
        optimizer.step()

    def many() -> float:
        started = time.perf_counter()
        for _ in range(steps):
            step()
        return time.perf_counter() - started

    step()
    step()
    _, spent = taken(many)
    facts = spent.facts
    return facts | {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "step_wall_s": facts["wall_s"] / steps,
        "step_cpu_s": facts["cpu_s"] / steps,
    }


def ours(folder: Path, size: Size) -> Facts:  # noqa: ARG001 - parts are called alike
    """The library's table encoder."""
    import numpy as np
    import pyarrow as pa
    import torch

    from nexus_model.encode.choose import FTTransformerConfig, TableConfig
    from nexus_model.encode.table_encoder import TableEncoder
    from nexus_model.schema import ColumnSpec, SemanticType, TableSpec
    from nexus_model.tokenize.batch import TableRows
    from nexus_model.tokenize.fit import encode_table, fit_table

    table = pa.Table.from_pandas(frame().drop(columns="y"), preserve_index=False)
    kinds = {"n": SemanticType.NUMERICAL, "c": SemanticType.CATEGORICAL}
    columns = tuple(ColumnSpec(name=n, semantic=kinds[n[0]]) for n in table.column_names)
    spec, time_R = TableSpec(name="rows", columns=columns), np.zeros(ROWS, np.int64)
    fitted = fit_table(table, spec, time_R, np.ones(ROWS, bool))
    given = encode_table(table, spec, fitted, time_R, np.zeros((ROWS, 0), np.int64))
    arrays = [*given[:-1], np.arange(ROWS)]
    rows = TableRows(*(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays))
    rows = rows._replace(categorical_RC=rows.categorical_RC.long())
    chosen = TableConfig(encoder=FTTransformerConfig(blocks=BLOCKS, heads=HEADS))
    model = TableEncoder(fitted, chosen, WIDTH, DROPOUT)
    return stepped(model, lambda: model(rows), STEPS[size])


def rtdl(folder: Path, size: Size) -> Facts:  # noqa: ARG001 - parts are called alike
    """The paper's own package, in its default."""
    import torch
    from rtdl_revisiting_models import FTTransformer

    told = frame()
    numbers = torch.tensor(told[[f"n{at}" for at in range(NUMBERS)]].to_numpy("float32"))
    kinds = [told[f"c{at}"].astype("category").cat.codes.to_numpy() for at in range(CATEGORIES)]
    codes = torch.stack([torch.tensor(kind, dtype=torch.long) for kind in kinds], dim=1)
    model = FTTransformer(
        n_cont_features=NUMBERS, cat_cardinalities=[VALUES] * CATEGORIES, d_out=1,
        **FTTransformer.get_default_kwargs(n_blocks=BLOCKS),
    )  # fmt: skip
    return stepped(model, lambda: model(numbers, codes), STEPS[size])


def pytorch_frame(folder: Path, size: Size) -> Facts:  # noqa: ARG001 - parts are called alike
    """The peer, in a process that finds it beside our torch and pandas."""
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed.encoder", size],
        check=True,
        stdout=subprocess.PIPE,
        env=beside_ours("pytorch_frame", FRAME),
    )
    return dict(json.loads(told.stdout.splitlines()[-1]))


def framed(size: Size) -> Facts:
    """pytorch-frame's FTTransformer as its examples make it, as wide and deep as ours."""
    import torch_frame  # type: ignore[import-not-found]
    from torch_frame.data import Dataset  # type: ignore[import-not-found]
    from torch_frame.nn import FTTransformer  # type: ignore[import-not-found]

    types = {f"n{at}": torch_frame.numerical for at in range(NUMBERS)}
    types |= {f"c{at}": torch_frame.categorical for at in range(CATEGORIES)}
    dataset = Dataset(frame(), col_to_stype={**types, "y": torch_frame.numerical}, target_col="y")
    dataset.materialize()
    given = dataset.tensor_frame
    model = FTTransformer(
        channels=WIDTH, out_channels=1, num_layers=BLOCKS,
        col_stats=dataset.col_stats, col_names_dict=given.col_names_dict,
    )  # fmt: skip
    facts = stepped(model, lambda: model(given), STEPS[size])
    return {**facts, "versions": {"pytorch-frame": torch_frame.__version__}}


def judged(parts: Mapping[str, Facts], by: str) -> list[Figure]:
    """At most eight tenths of each."""
    step = f"step_{by}"
    return [
        Figure(
            f"a step on {ROWS} rows, beside {name} ({by})",
            parts["ours"][step], parts[name][step], "s", "at_most", BAR,
        )
        for name in ("rtdl", "pytorch_frame")
    ]  # fmt: skip


CASE = Case(
    question="an FT-Transformer encoder's step",
    peer="rtdl_revisiting_models, pytorch-frame",
    packages=("torch", "rtdl_revisiting_models"),
    parts={"ours": ours, "rtdl": rtdl, "pytorch_frame": pytorch_frame},
    judged=judged,
)

if __name__ == "__main__":
    print(json.dumps(framed(sys.argv[1])))  # type: ignore[arg-type]
