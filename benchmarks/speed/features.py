"""Point-in-time features: our index and tensors beside featuretools' deep feature synthesis.

Both read the same Parquet files and the same samples with cutoffs. Ours ends with the batches of
all samples, which is what a model is given; theirs with the feature matrix, depth 2, default
primitives, cutoff times grouped so that each moment's entities are computed together.
"""

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from benchmarks.speed.case import Case, Facts, Figure, Part, Size
from benchmarks.speed.measured import taken
from benchmarks.speed.peers import FEATURETOOLS, own_environment
from benchmarks.speed.tables import DAY_US, START_US, Shape, write_entities, write_events

SIZES: dict[Size, Shape] = {"small": Shape(50, 2000), "full": Shape(1000, 100_000)}
GRID = tuple(range(500, 1000, 100))
PEER = Path(__file__).parent / "features_peer.py"
BAR = 20.0


def generated(folder: Path, size: Size) -> Facts:
    """Files and two sets of samples: every entity at five moments; each at its own."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    write_entities(folder / "entities.parquet", SIZES[size])
    write_events(folder / "events.parquet", SIZES[size])
    entities = np.arange(SIZES[size].entities)
    own = 500 + np.random.default_rng(3).random(len(entities)) * 500
    for name, day_B, entity_B in (
        ("grid", np.repeat(GRID, len(entities)), np.tile(entities, len(GRID))),
        ("own", own, entities),
    ):
        cutoff = pa.array(START_US + (day_B * DAY_US).astype(np.int64), pa.timestamp("us"))
        samples = pa.table({"entity_id": entity_B, "cutoff": cutoff})
        pq.write_table(samples, folder / f"samples_{name}.parquet")
    return {**SIZES[size]._asdict(), "moments_of_the_grid": len(GRID)}


def ours(folder: Path, samples: str) -> Facts:
    """Files to tensors: tables numbered and linked, indexed, tokenized, gathered into batches."""
    import pyarrow.parquet as pq
    import torch

    from nexus_model.align.assemble import build_aligned, closed_database, load_frames
    from nexus_model.align.index import SampleTimes
    from nexus_model.tokenize.batch import build_batch
    from nexus_model.tokenize.prepare import fit_tokenizer, index_paths, task_tensors

    torch.set_num_threads(1)
    known = recipe()

    def work() -> int:
        frames = {
            name: pq.read_table(folder / f"{name}.parquet") for name in ("entities", "events")
        }
        con = closed_database(threads=1)
        load_frames(con, known, frames)
        build_aligned(con, known, None)
        asked = pq.read_table(folder / f"samples_{samples}.parquet")
        moment_B = asked["cutoff"].to_numpy().astype("datetime64[us]").astype(np.int64)
        times = SampleTimes(asked["entity_id"].to_numpy(), moment_B, moment_B)
        indexes = index_paths(con, known, times)
        label_B, train_B = np.zeros(len(moment_B)), np.ones(len(moment_B), bool)
        tokenizer = fit_tokenizer(con, known, times, indexes, label_B, train_B)
        tensors = task_tensors(con, known, tokenizer, times, indexes, label_B)
        chosen = np.array_split(np.arange(len(moment_B)), max(1, len(moment_B) // 256))
        return sum(build_batch(tensors, chosen_B, 1).samples for chosen_B in chosen)

    count, spent = taken(work)
    return {"samples": count, **spent.facts}


def recipe():  # type: ignore[no-untyped-def]  # noqa: ANN201 - our classes are imported late
    """The two tables, their columns and the paths between them."""
    from nexus_model.align.paths import find_paths
    from nexus_model.align.recipe import PathPlan, RawColumn, RawTable, Recipe
    from nexus_model.schema import (
        ColumnSpec,
        DatabaseSpec,
        ForeignKey,
        SemanticType,
        TableSpec,
        TaskKind,
        TaskSpec,
    )

    number, category = SemanticType.NUMERICAL, SemanticType.CATEGORICAL
    types = {
        "entities": {"entity_id": "BIGINT", "region": "VARCHAR", "income": "DOUBLE"},
        "events": {
            "event_id": "BIGINT", "entity_id": "BIGINT", "happened": "TIMESTAMP",
            "amount": "DOUBLE", "score": "DOUBLE", "kind": "VARCHAR", "channel": "VARCHAR",
        },
    }  # fmt: skip
    meaning = {"VARCHAR": category, "DOUBLE": number}
    columns = {
        table: tuple(
            ColumnSpec(name=name, semantic=meaning[kind])
            for name, kind in own.items()
            if kind in meaning
        )
        for table, own in types.items()
    }
    key = ForeignKey(
        columns=("entity_id",), references_table="entities", references_columns=("entity_id",)
    )
    database = DatabaseSpec(
        tables=(
            TableSpec(name="entities", columns=columns["entities"], primary_key=("entity_id",)),
            TableSpec(
                name="events",
                columns=columns["events"],
                primary_key=("event_id",),
                foreign_keys=(key,),
                time_column="happened",
            ),
        )
    )
    raw = tuple(
        RawTable(name=table, columns=tuple(RawColumn(name=n, type=t) for n, t in own.items()))
        for table, own in types.items()
    )
    task = TaskSpec(name="any", entity_table="entities", kind=TaskKind.BINARY, horizon_days=30)
    plans = tuple(PathPlan(path=path, max_rows=32) for path in find_paths(database, "entities", 2))
    return Recipe(raw=raw, database=database, task=task, plans=plans)


def featuretools(folder: Path, samples: str) -> Facts:
    """The peer, in an environment of its own; it measures itself."""
    python = own_environment("featuretools", FEATURETOOLS)
    told = subprocess.run(
        [python, str(PEER), str(folder), samples],
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return dict(json.loads(told.stdout.splitlines()[-1]))


def judged(parts: Mapping[str, Facts], by: str) -> list[Figure]:
    """Twenty times faster."""
    told = {"own": "each entity at a moment of its own", "grid": "every entity at five moments"}
    return [
        Figure(
            f"{text} ({by})",
            parts[f"ours_{name}"][by], parts[f"featuretools_{name}"][by], "s", "at_least", BAR,
        )
        for name, text in told.items()
    ]  # fmt: skip


def _part(work: Callable[[Path, str], Facts], samples: str) -> Part:
    return lambda folder, _size: work(folder, samples)


CASE = Case(
    question="files to model inputs, 100,000 child rows",
    peer="featuretools, deep feature synthesis with cutoff times",
    packages=("duckdb", "numpy", "torch"),
    parts={"generated": generated}
    | {f"ours_{name}": _part(ours, name) for name in ("own", "grid")}
    | {f"featuretools_{name}": _part(featuretools, name) for name in ("own", "grid")},
    judged=judged,
)
