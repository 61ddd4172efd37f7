"""What a table changes in single predictions: as it is, against how it is for others.

B samples asked about, K facts. With other samples at hand a table is exchanged for theirs
and the prediction compared with the mean over donors; alone, it is left out as if never given.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch

from nexus_model.apply import predict_samples
from nexus_model.explain.exchanged import (
    OwnRows,
    draw_donors,
    exchanged,
    own_rows,
    with_column_of,
)
from nexus_model.explain.facts import Fact, gather_facts
from nexus_model.explain.outcome import Asked
from nexus_model.schema import Record, TaskSpec
from nexus_model.tokenize.batch import RelBatch, TaskTensors
from nexus_model.tokenize.statistics import Tokenizer
from nexus_model.tokenize.without import without_table

Array = np.ndarray
FEWEST_OTHERS = 20
MOST_OTHERS = 150
QUANTILES = 101
DONORS = 8
MOST_TOGETHER = 256
BINS = 8


class Cause(NamedTuple):
    """What is exchanged: a whole table, or one of its columns."""

    table: str
    column: str = ""


class Effects(NamedTuple):
    """``[B]`` by cause: prediction less what it would be without what this cause says."""

    change: dict[Cause, Array]
    against: Literal["others", "nothing"]


class FactReference(Record):
    """Quantiles of a fact over training samples, and what the effect of its cause usually is.

    ``effects[i]`` belongs to values from ``edges[i]`` up to the next edge: the mean change of the
    score there less its mean over all, less what chance alone makes of it.
    """

    fact: Fact
    quantiles: tuple[float, ...]
    edges: tuple[float, ...] = ()
    effects: tuple[float, ...] = ()

    def usual(self, value: float) -> float:
        """The usual effect for this value; 0 where nothing is known."""
        if not self.edges:
            return 0.0
        place = int(np.searchsorted(self.edges, value, "right")) - 1
        return self.effects[max(place, 0)]


class Reference(Record):
    """Where training samples stand: what is needed to say "more than 92 % of customers"."""

    samples: int
    facts: tuple[FactReference, ...]


def told(task: TaskSpec, found: Array, class_B: Array | None = None) -> Array:
    """``[B]``: the one number people are told: a probability, a number, the middle quantile."""
    if found.ndim == 1:
        return found.astype(np.float64)
    if task.quantiles:
        return found[:, task.middle].astype(np.float64)
    likeliest_B = found.argmax(axis=1) if class_B is None else class_B
    return found[np.arange(len(found)), likeliest_B].astype(np.float64)


def effects_of(
    asked: Asked,
    tensors: TaskTensors,
    asked_B: Array,
    others_B: Array,
    columns: Mapping[str, tuple[str, ...]],
) -> Effects:
    """The change by every table and column; exchanged where there are enough others, else tables
    are left out. ``columns`` names the cells of each table in order.
    """
    if len(others_B) < FEWEST_OTHERS:
        return _left_out(asked, tensors, asked_B)
    own = own_rows(tensors, np.concatenate([asked_B, others_B]), asked.model.config.parent_hops)
    places_B, donors = np.arange(len(asked_B)), _donors(tensors, asked_B, others_B)

    def said(batch: RelBatch, class_B: Array | None) -> Array:
        with torch.no_grad():
            return told(asked.task, asked.predictions(batch).cpu().numpy(), class_B)

    with torch.no_grad():
        whole = asked.predictions(exchanged(own, places_B)).cpu().numpy()
    class_B = whole.argmax(axis=1) if asked.task.classes and whole.ndim == 2 else None
    said_B, change = told(asked.task, whole, class_B), {}

    def without(mixed: Callable[[Array, Array], RelBatch]) -> Array:
        """How far what is said is above its mean over donors; many donors in one pass."""
        total_B = np.zeros(len(asked_B))
        for some in _grouped(donors, MOST_TOGETHER // max(1, len(asked_B))):
            every_B = np.tile(places_B, len(some))
            classes = None if class_B is None else np.tile(class_B, len(some))
            found = said(mixed(every_B, np.concatenate(some)), classes)
            total_B += found.reshape(len(some), -1).sum(0)
        return said_B - total_B / len(donors)

    for table in own.read_tables:
        change[Cause(table)] = without(partial(_with_table, own, table))
        for cell, column in enumerate(columns[table]):
            change[Cause(table, column)] = without(partial(_with_column, own, table, cell))
    return Effects(change, "others")


def _with_table(own: OwnRows, table: str, asked_B: Array, donor_B: Array) -> RelBatch:
    return exchanged(own, asked_B, {table: donor_B})


def _with_column(own: OwnRows, table: str, cell: int, asked_B: Array, donor_B: Array) -> RelBatch:
    return with_column_of(own, asked_B, donor_B, table, cell)


def _grouped(donors: Sequence[Array], most: int) -> Iterator[list[Array]]:
    """At least one donor at a time, and at most so many."""
    step = max(1, most)
    for start in range(0, len(donors), step):
        yield list(donors[start : start + step])


def _donors(tensors: TaskTensors, asked_B: Array, others_B: Array) -> list[Array]:
    """Of each sample asked about, the same few others, by place after those asked about."""
    generator, found = np.random.default_rng(0), np.zeros((DONORS, len(asked_B)), np.int64)
    entity_B, cutoff_B = tensors.times.entity_B, tensors.times.cutoff_B
    for place, sample in enumerate(asked_B):
        other_B = entity_B[others_B] != entity_B[sample]
        alike_B = other_B & (cutoff_B[others_B] == cutoff_B[sample])
        usable = np.flatnonzero(alike_B if alike_B.sum() >= FEWEST_OTHERS else other_B)
        found[:, place] = len(asked_B) + generator.choice(
            usable, DONORS, replace=len(usable) < DONORS
        )
    return list(found)


def _left_out(asked: Asked, tensors: TaskTensors, asked_B: Array) -> Effects:
    def said(given: TaskTensors) -> Array:
        return predict_samples(asked.model, given, asked_B, asked.task, asked.scale)

    whole = said(tensors)
    class_B = whole.argmax(axis=1) if asked.task.classes and whole.ndim == 2 else None
    said_B, entity = told(asked.task, whole, class_B), tensors.paths[0].table
    names = dict.fromkeys(path.table for path in tensors.paths if path.table != entity)
    change = {
        Cause(name): said_B - told(asked.task, said(without_table(tensors, name)), class_B)
        for name in names
        if name not in tensors.absent
    }
    return Effects(change, "nothing")


def learn_reference(
    asked: Asked, tokenizer: Tokenizer, tensors: TaskTensors, known_B: Array, *, seed: int = 0
) -> Reference:
    """Where known samples stand in every fact, and what each table's effect is by its facts.

    At most ``MOST_OTHERS`` samples are asked for effects; quantiles are of all.
    """
    found = gather_facts(tokenizer, tensors, known_B)
    some = np.sort(np.random.default_rng(seed).permutation(len(known_B))[:MOST_OTHERS])
    effect = {}
    if len(some) >= FEWEST_OTHERS:
        own = own_rows(tensors, known_B[some], asked.model.config.parent_hops)
        places_B = np.arange(len(some))
        with torch.no_grad():
            whole_B = asked.scores(asked.predictions(exchanged(own, places_B)))
            for table in own.read_tables:
                mixed = [
                    asked.scores(asked.predictions(exchanged(own, places_B, {table: donor_B})))
                    for donor_B in draw_donors(tensors.times, known_B[some], 2, seed)
                ]
                effect[table] = (whole_B - torch.stack(mixed).mean(0)).double().cpu().numpy()
    facts = []
    for fact, value_B in zip(found.facts, found.value_BK.T, strict=True):
        edges, usual = _usual(value_B[some], effect.get(fact.table))
        quantiles = _quantiles(value_B)
        facts.append(FactReference(fact=fact, quantiles=quantiles, edges=edges, effects=usual))
    return Reference(samples=len(known_B), facts=tuple(facts))


def _usual(value_B: Array, effect_B: Array | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Edges of bins of about equally many samples, and the effect in each beyond chance."""
    known = np.isfinite(value_B)
    if effect_B is None or known.sum() < FEWEST_OTHERS or np.ptp(value_B[known]) == 0:
        return (), ()
    value, effect = value_B[known], effect_B[known] - effect_B[known].mean()
    edges = np.unique(np.quantile(value, np.linspace(0, 1, BINS + 1)[:-1]))
    bin_of = np.searchsorted(edges, value, "right") - 1
    usual = []
    for at in range(len(edges)):
        inside = effect[bin_of == at]
        mean = float(inside.mean()) if len(inside) else 0.0
        chance = 2 * float(effect.std()) / max(1, len(inside)) ** 0.5
        usual.append(mean * max(0.0, 1 - (chance / max(abs(mean), 1e-12)) ** 2))
    return tuple(float(edge) for edge in edges), tuple(usual)


def _quantiles(value_B: Array) -> tuple[float, ...]:
    known = np.sort(value_B[np.isfinite(value_B)])
    if not len(known):
        return ()
    at = np.round(np.linspace(0, len(known) - 1, min(QUANTILES, len(known)))).astype(np.int64)
    return tuple(float(value) for value in known[at])
