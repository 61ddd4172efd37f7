"""A whole database kept in memory as the model reads it: a request names entities and a moment.

Tables are aligned, linked and encoded once, as the pipeline does it, over everybody's rows. What
remains of a request is a binary search for the rows it may see and the network itself. SQL that
compares entities (a rank among all) compares the same ones as training did.

B samples, one request after another.
"""

import datetime as dt
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from nexus_model.align.assemble import sample_times
from nexus_model.align.index import SampleTimes
from nexus_model.schema import DataError
from nexus_model.serve.encoded import EncodedRows, encode_rows, samples_of
from nexus_model.serve.linked import codes_of, refuse_repeats
from nexus_model.serve.predictor import Cutoff, Predictor
from nexus_model.serve.reading import Read, entity_rows, key_values
from nexus_model.serve.staged import Given

AHEAD = dt.timedelta(days=366)


class Named(NamedTuple):
    """One request: who is asked about, the moment, and what moment their rows are of."""

    keys: pa.Table
    moment: dt.datetime | None = None
    as_of: dt.datetime | None = None


class _Kept(NamedTuple):
    """One encoding; closed windows of label history are those closed by ``until``."""

    encoded: EncodedRows
    rows: dict[Any, int]
    until: dt.datetime | None


class Resident:
    """Answers from the tables it was given; new rows need a new one.

    The first question about a moment later than ``until`` aligns everything again, for a year
    more: only then can windows of label history close that had not.

    Raises:
        DataError: as ``Predictor.predict``, of any table given.
        ConfigurationError: a SQL model of the artifact fails.
    """

    def __init__(
        self, predictor: Predictor, frames: Mapping[str, Any], until: Cutoff = None
    ) -> None:
        self.predictor, self._lock = predictor, threading.Lock()
        self._given: Given = predictor.staged.typed(frames)
        temporal = predictor.artifact.recipe.task.horizon_days is not None
        self._kept: _Kept | None = None
        if until is not None or not temporal:
            self._kept = self._keep(predictor.moment(until))

    @property
    def absent(self) -> frozenset[str]:
        """Tables that were not given."""
        return self._given.absent

    def predict(
        self, entities: Iterable[Any], cutoff: Cutoff = None, as_of: Cutoff = None
    ) -> pa.Table:
        """One prediction per key, in order; columns as ``Predictor.predict`` gives them.

        ``entities`` are keys, tuples if of several columns.

        Raises:
            DataError: an entity is not known, or the cutoff is missing.
            ConfigurationError: the cutoff is no moment, or the task takes none.
        """
        read = self.read([self.named(entities, cutoff, as_of)])
        return self.predictor.answers_of(read)[0]

    def named(self, entities: Iterable[Any], cutoff: Cutoff = None, as_of: Cutoff = None) -> Named:
        """A request checked and typed; arguments and errors as ``predict``."""
        moment = self.predictor.moment(cutoff)
        known = None if as_of is None else self.predictor.moment(as_of)
        entity = self.predictor.artifact.recipe.entity
        kinds = self._given.tables[entity.name].schema
        tuples = [key if isinstance(key, tuple) else (key,) for key in entities]
        wide = [key for key in tuples if len(key) != len(entity.primary_key)]
        if wide:
            told = f"a key has {len(entity.primary_key)} parts"
            raise DataError(told, table=entity.name, rows=len(wide), example=wide[0])
        columns = {}
        for place, name in enumerate(entity.primary_key):
            try:
                values = pa.array([key[place] for key in tuples])
                columns[name] = values.cast(kinds.field(name).type)
            except (pa.ArrowException, OverflowError) as error:
                told = f"keys must be {kinds.field(name).type}, as the table's"
                raise DataError(told, table=entity.name, column=name) from error
        return Named(pa.table(columns), moment, known)

    def read(self, asked: Sequence[Named]) -> Read:
        """All requests as samples of one batch, each request's in its order.

        Raises:
            DataError: an entity is not known.
        """
        kept = self._keeps(max((n.moment for n in asked if n.moment), default=None))
        name = self.predictor.artifact.recipe.entity.name
        rows = [_rows_of(kept, request.keys, name) for request in asked]
        parts = [
            sample_times(own_B, request.moment, request.as_of)
            for own_B, request in zip(rows, asked, strict=True)
        ]
        times = SampleTimes(*(np.concatenate(moments) for moments in zip(*parts, strict=True)))
        artifact = self.predictor.artifact
        tensors = samples_of(artifact.recipe, artifact.tokenizer, kept.encoded, times)
        return Read(
            [request.keys for request in asked],
            np.cumsum([0, *(len(own_B) for own_B in rows)]).tolist(),
            {},
            tensors._replace(absent=self._given.absent),
        )

    def _keeps(self, moment: dt.datetime | None) -> _Kept:
        """What is kept, aligned anew if it does not reach the moment."""
        with self._lock:
            kept = self._kept
            if kept is None or (moment and kept.until and moment > kept.until):
                kept = self._kept = self._keep(moment and _later(moment))
            return kept

    def _keep(self, until: dt.datetime | None) -> _Kept:
        artifact, entity = self.predictor.artifact, self.predictor.artifact.recipe.entity
        keys = self._given.tables[entity.name].select(entity.primary_key)
        refuse_repeats(entity.name, entity.primary_key, keys.columns, codes_of(keys.columns))
        aligned = self.predictor.staged.align([self._given], [until])
        [rows] = entity_rows(artifact.recipe, aligned[entity.name], [keys])
        reader = self.predictor.reader
        encoded = encode_rows(artifact.recipe, artifact.tokenizer, aligned, reader)
        return _Kept(encoded, dict(zip(key_values(keys), rows.tolist(), strict=True)), until)


def _later(moment: dt.datetime) -> dt.datetime:
    return min(moment, dt.datetime.max - AHEAD) + AHEAD


def _rows_of(kept: _Kept, keys: pa.Table, table: str) -> np.ndarray:
    """Row of each key.

    Raises:
        DataError: a key has no row.
    """
    asked = key_values(keys)
    rows = [kept.rows.get(key, -1) for key in asked]
    lost = [key for key, row in zip(asked, rows, strict=True) if row < 0]
    if lost:
        raise DataError(
            "is asked about and has no row", table=table, rows=len(lost), example=lost[0]
        )
    return np.array(rows, dtype=np.int64)
