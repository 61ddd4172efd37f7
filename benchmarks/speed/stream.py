"""A million entities predicted from files to a file, in the memory of one chunk.

One part predicts as many entities as a chunk has, from files of their own; the other ten times
as many in such chunks. Each entity has ten events on average, three have 100,000. The model is
small, so that what is measured is the stream and not matrix products.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.speed.case import Case, Facts, Figure, Part, Size
from benchmarks.speed.features import recipe
from benchmarks.speed.measured import taken
from benchmarks.speed.tables import Shape, write_entities, write_events

CHUNK: dict[Size, int] = {"small": 500, "full": 100_000}
CHUNKS, EVENTS = 10, 10
FEW = Shape(200, 2000)
CUTOFF = "2022-06-01"
WIDTH = 8
BAR = 2.0


def shape(size: Size, chunks: int) -> Shape:
    """Entities of so many chunks, and their events."""
    return Shape(CHUNK[size] * chunks, CHUNK[size] * chunks * EVENTS)


def generated(folder: Path, size: Size) -> Facts:
    """Files of a few entities, of one chunk and of all, and a model."""
    for name, made in (("few", FEW), ("one", shape(size, 1)), ("all", shape(size, CHUNKS))):
        (folder / name).mkdir()
        write_entities(folder / name / "entities.parquet", made)
        write_events(folder / name / "events.parquet", made)
    write_model(folder / "few", folder / "model.nxf")
    megabytes = sum(file.stat().st_size for file in (folder / "all").iterdir()) / 1e6
    return {**shape(size, CHUNKS)._asdict(), "files_mb": megabytes, "chunk": CHUNK[size]}


def write_model(data: Path, file: Path) -> None:
    """An untrained model whose vocabularies and scales are those of these files."""
    import pyarrow.parquet as pq
    import torch

    from nexus_model.align.assemble import build_aligned, closed_database, load_frames
    from nexus_model.align.index import SampleTimes
    from nexus_model.artifact.model_file import NexusFlowModelArtifact
    from nexus_model.config import NexusConfig
    from nexus_model.exchange.refine import RefinementConfig
    from nexus_model.model import NexusFormer
    from nexus_model.tokenize.prepare import fit_tokenizer, index_paths

    known, con = recipe(), closed_database(threads=1)
    rows = {name: pq.read_table(data / f"{name}.parquet") for name in ("entities", "events")}
    load_frames(con, known, rows)
    build_aligned(con, known, None)
    entity_B = np.arange(rows["entities"].num_rows)
    moment_B = np.full(len(entity_B), np.datetime64(CUTOFF, "us").astype(np.int64))
    times = SampleTimes(entity_B, moment_B, moment_B)
    label_B, train_B = entity_B % 2.0, np.ones(len(entity_B), bool)
    indexes = index_paths(con, known, times)
    tokenizer = fit_tokenizer(con, known, times, indexes, label_B, train_B)
    con.close()
    torch.manual_seed(0)
    chosen = NexusConfig(width=WIDTH, heads=2, refinement=RefinementConfig(cycles=1))
    model = NexusFormer(chosen, tokenizer, known.paths, known.task)
    NexusFlowModelArtifact(known, tokenizer, chosen, model.state_dict()).save(file)


def predicted(folder: Path, size: Size, data: str) -> Facts:
    """Files to a file; what it took, and what the process held beyond what it held before."""
    import torch

    from nexus_pipeline.predict_files import predict_chunks

    torch.set_num_threads(1)

    def predict(name: str) -> int:
        model, output = folder / "model.nxf", folder / f"{name}.parquet"
        return predict_chunks(model, folder / name, CUTOFF, output, CHUNK[size])

    predict("few")  # what libraries load and keep is no part of what is held
    rows, spent = taken(partial(predict, data))
    return {
        "entities": rows,
        **spent.facts,
        "held_mb": round(spent.peak_mb - spent.before_mb, 1),
        "entities_a_second": round(rows / spent.wall_s),
    }


def judged(parts: Mapping[str, Facts], by: str) -> list[Figure]:  # noqa: ARG001 - of memory alone
    """At most twice the memory."""
    what = f"memory of {parts['all']['entities']:,} entities beside that of one chunk"
    held = (parts[name]["held_mb"] for name in ("all", "one"))
    return [Figure(what, *held, "MB", "at_most", BAR)]


def _part(data: str) -> Part:
    return partial(predicted, data=data)


CASE = Case(
    question="predictions for everybody, from files to a file",
    peer="one chunk of them, predicted alone",
    packages=("duckdb", "torch", "numpy", "pyarrow"),
    parts={"generated": generated, "one": _part("one"), "all": _part("all")},
    judged=judged,
)
