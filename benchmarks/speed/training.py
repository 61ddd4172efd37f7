"""Training a relational model: unique rows and ragged histories beside padded, duplicated rows.

The naive peer is our own model, given what a feature table would: every sample has copies of its
own of all rows it sees and of their parents, and every table's rows are padded to the most that a
sample of the batch has of that table, as they are encoded and as the exchange reads them. It
answers the same (the parts tell how far apart the answers are). Batches made while training, as
``NexusLoader`` does, are compared with one batch that stays in memory.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.speed.case import Case, Facts, Figure, Part, Size
from benchmarks.speed.measured import taken
from benchmarks.speed.rooms import DATABASES, Room, room, tokenized_f1

STEPS: dict[Size, int] = {"small": 2, "full": 16}
SAMPLES = 256
KINDS = "shuffled", "similar"  # of ``training.batches``
NAIVE_BAR, LOADER_BAR, PADDING_BAR = 3.0, 1.1, 0.2


def batches(told: Room, kind: str, count: int) -> list[Any]:
    """So many batches of the same samples, as the library's loader puts them together."""
    from nexus_model.train.config import Batches
    from nexus_model.train.loader import Goal, NexusLoader

    goal = Goal(task=told.task, scale=told.scale, higher_is_better=True)
    loader = NexusLoader(
        told.tensors, told.order_B[: SAMPLES * count], SAMPLES, shuffle=Batches(kind),
        goal=goal, model=told.model.config,
    )  # fmt: skip
    return [batch for _, batch in loader.epoch(0)]


def duplicated(told: Room, batch: Any) -> Any:
    """The batch with rows of their own for every sample, padded, each with parents of its own."""
    import torch

    from nexus_model.tokenize.batch import PathRows

    names = tuple(batch.tables)
    parents = told.tensors.parents
    taken_rows: dict[str, list[Any]] = {name: [] for name in names}
    links: dict[str, list[Any]] = {name: [] for name in names}
    held = dict.fromkeys(names, 0)

    def put(name: str, rows_N: Any, hops: int) -> int:
        """Copies of rows and of their parents; where they start."""
        start, held[name] = held[name], held[name] + len(rows_N)
        taken_rows[name].append(rows_N)
        own_NP = torch.full((len(rows_N), len(parents[name])), -1)
        links[name].append(own_NP)
        for column, parent in enumerate(parents[name] if hops else ()):
            at_N = batch.tables[name].parents_RP[rows_N, column]
            known_N = (at_N >= 0).nonzero()[:, 0]
            first = put(parent, at_N[known_N], hops - 1)
            own_NP[known_N, column] = first + torch.arange(len(known_N))
        return start

    paths = []
    for path, seen in zip(told.tensors.paths, batch.paths, strict=True):
        length_B = seen.offsets_B.diff()
        step_K = torch.arange(max(1, int(length_B.max())))
        at_BK = (seen.offsets_B[:-1, None] + step_K).clamp(max=max(0, len(seen.rows_N) - 1))
        padded_BK = seen.rows_N[at_BK] if len(seen.rows_N) else torch.zeros_like(at_BK)
        start = put(path.table, padded_BK.flatten(), told.model.config.parent_hops)
        place_BK = start + torch.arange(padded_BK.numel()).view(padded_BK.shape)
        paths.append(PathRows(seen.offsets_B, place_BK[step_K < length_B[:, None]], seen.age_N))
    tables = {}
    for name, rows in batch.tables.items():
        chosen_N = torch.cat([rows.ids_R.new_zeros(0), *taken_rows[name]])
        own_NP = torch.cat([rows.parents_RP[:0], *links[name]])
        tables[name] = type(rows)(*(x[chosen_N] for x in rows))._replace(parents_RP=own_NP)
    return batch._replace(tables=tables, paths=tuple(paths))


def padding(made: list[Any]) -> float:
    """Share of padding among the places that samples' rows take in the exchange."""
    totals = [sum(path.offsets_B.diff() for path in batch.paths) for batch in made]
    places = sum(len(total_B) * int(total_B.max()) for total_B in totals)
    return 1 - sum(int(total_B.sum()) for total_B in totals) / places


def stepping(told: Room, given: Callable[[int], Any], steps: int) -> Facts:
    """Seconds of a step on batches as they are given."""

    def step(batch: Any) -> None:
        told.optimizer.zero_grad()
        told.model(batch).square().mean().backward()
        told.optimizer.step()

    def many() -> float:
        started = time.perf_counter()
        for number in range(steps):
            step(given(number))
        return time.perf_counter() - started

    step(given(0))
    _, spent = taken(many)
    facts = spent.facts
    return facts | {f"step_{by}": facts[by] / steps for by in ("wall_s", "cpu_s")}


def side_by_side(rows_BKD: Any, keep_BK: Any, path_K: Any) -> tuple[Any, Any, Any]:
    """In place of ``packed``: the padded rows of one path after those of another."""
    return rows_BKD, keep_BK, path_K.expand(len(keep_BK), -1)


def ours(database: str, kind: str) -> Part:
    """Batches as the library makes them, made before the clock starts."""

    def part(folder: Path, size: Size) -> Facts:
        told = room(database, folder, size)
        made = batches(told, kind, STEPS[size])
        rows = sum(len(rows.ids_R) for batch in made for rows in batch.tables.values())
        facts = stepping(told, lambda at: made[at % len(made)], STEPS[size])
        return facts | {"encoded_rows": rows, "padding_share": padding(made)}

    return part


def naive(database: str) -> Part:
    """Shuffled batches, padded and duplicated, made before the clock starts."""

    def part(folder: Path, size: Size) -> Facts:
        import torch

        import nexus_model.model as network

        told = room(database, folder, size)
        made = batches(told, "shuffled", STEPS[size])
        given = [duplicated(told, batch) for batch in made]
        told.model.eval()
        with torch.no_grad():
            usual = told.model(made[0])
            network.packed = side_by_side
            apart = (usual - told.model(given[0])).abs().max()
        told.model.train()
        rows = sum(len(rows.ids_R) for batch in given for rows in batch.tables.values())
        facts = stepping(told, lambda at: given[at % len(given)], STEPS[size])
        return facts | {"encoded_rows": rows, "answers_apart_by": float(apart)}

    return part


def resident(folder: Path, size: Size) -> Facts:
    """One batch that stays in memory, again and again."""
    told = room("shop", folder, size)
    [batch] = batches(told, "shuffled", 1)
    return stepping(told, lambda _at: batch, STEPS[size])


def loaded(folder: Path, size: Size) -> Facts:
    """The same batch, made anew before every step."""
    told = room("shop", folder, size)
    return stepping(told, lambda _at: batches(told, "shuffled", 1)[0], STEPS[size])


def judged(parts: Mapping[str, Facts], by: str) -> list[Figure]:
    """Three times the samples a second, a fifth padding, a tenth more with the loader."""
    step = f"step_{by}"
    seconds = {name: facts[step] for name, facts in parts.items() if step in facts}
    return [
        *(
            Figure(
                f"a step on {SAMPLES} samples of {database}, batches {kind}, beside padded and "
                f"duplicated rows ({by})",
                seconds[f"{database}_{kind}"], seconds[f"{database}_naive"], "s", "at_least",
                NAIVE_BAR,
            )
            for database in DATABASES
            for kind in KINDS
        ),
        *(
            Figure(
                f"padding among the rows that samples of {database} read, batches similar",
                parts[f"{database}_similar"]["padding_share"], 1.0, "of all", "at_most",
                PADDING_BAR,
            )
            for database in DATABASES
        ),
        Figure(
            f"a step with its batch made, beside a batch in memory ({by})",
            seconds["loaded"], seconds["resident"], "s", "at_most", LOADER_BAR,
        ),
    ]  # fmt: skip


CASE = Case(
    question="training on skewed histories, and on rows that are shared",
    peer="the same model on padded, duplicated rows; a resident batch",
    packages=("torch", "numpy"),
    parts={"prepared": tokenized_f1}
    | {f"{database}_{kind}": ours(database, kind) for database in DATABASES for kind in KINDS}
    | {f"{database}_naive": naive(database) for database in DATABASES}
    | {"resident": resident, "loaded": loaded},
    judged=judged,
)
