"""The project's tables kept in memory as the model reads them, while nothing in the store changes.

A lookup that is answered from here compares entities with all others, as batch predictions do, and
takes no SQL. A store with more rows than are kept is read by key for each request instead.
"""

import datetime as dt
import logging
import threading
from collections.abc import Hashable
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from nexus_model.align.recipe import Recipe
from nexus_model.align.relate import quoted
from nexus_model.schema import NexusError
from nexus_model.serve.resident import AHEAD, Named, Resident
from nexus_pipeline.serving.live_model import Loaded
from nexus_pipeline.serving.problems import ProblemError
from nexus_pipeline.storage import Store

LOG = logging.getLogger("nexusflow.serve")
MOST_ROWS = 5_000_000


class KeptQuestion(NamedTuple):
    """A request that names entities of a database that is kept."""

    resident: Resident
    named: Named

    @property
    def moment(self) -> dt.datetime | None:
        """The cutoff asked about."""
        return self.named.moment


class _Kept(NamedTuple):
    """What was made for a model of a store's state; None if the store is too large."""

    model: str
    state: Hashable
    resident: Resident | None


class KeptTables:
    """Keeps one model's reading of one store; safe to ask from several threads."""

    def __init__(self, store: Store, most_rows: int = MOST_ROWS) -> None:
        self.store, self.most_rows = store, most_rows
        self._making = threading.Lock()
        self._kept: _Kept | None = None

    def question(
        self, model: Loaded, keys: list[Any], cutoff: str | None, as_of: str | None
    ) -> KeptQuestion | None:
        """The question about these entities; None if the store is not kept.

        Raises:
            DataError: a key is of another type, or the cutoff is missing.
            ConfigurationError: the cutoff is no moment, or the task takes none.
            ProblemError: a key is asked about twice, or the store cannot be read now.
        """
        resident = self.resident(model)
        if resident is None:
            return None
        named = resident.named(keys, cutoff, as_of)
        if len(set(keys)) < len(keys):
            twice = next(key for place, key in enumerate(keys) if key in keys[:place])
            entity = model.artifact.recipe.entity
            told = "key is not unique"
            raise ProblemError(
                "duplicate_key", told, table=entity.name, rows=len(keys) - len(set(keys)),
                column="+".join(entity.primary_key), example=twice,
            )  # fmt: skip
        return KeptQuestion(resident, named)

    def told(self) -> str:
        """How a lookup is answered now, in words."""
        kept = self._kept
        if kept is None:
            return "nothing was looked up yet"
        if kept.resident is None:
            return f"by key: the store has more than {self.most_rows} rows"
        return "from tables kept in memory, among all entities"

    def resident(self, model: Loaded) -> Resident | None:
        """The store as this model reads it; made anew when model or store have changed.

        While one request waits for that, others are answered from what was kept before.

        Raises:
            ProblemError: nothing is kept yet and the store cannot be read now.
        """
        kept, state = self._kept, _state(self.store.path)
        if kept is not None and kept.model == model.sha256:
            if kept.state == state or not self._making.acquire(blocking=False):
                return kept.resident
        else:
            self._making.acquire()
        try:
            again = self._kept
            if again is not None and (again.model, again.state) == (model.sha256, state):
                return again.resident
            self._kept = _Kept(model.sha256, state, self._make(model))
        except (NexusError, duckdb.Error) as error:
            if isinstance(error, ProblemError) or kept is None or kept.model != model.sha256:
                told = "the project's tables cannot be read now"
                raise ProblemError("busy", told) from error
            # Somebody writes: what was kept is the newest that can be read.
            LOG.info("the store cannot be read; answers are of the tables before")
            return kept.resident
        finally:
            self._making.release()
        return self._kept.resident

    def _make(self, model: Loaded) -> Resident | None:
        recipe = model.artifact.recipe
        frames = self._frames(recipe)
        if frames is None:
            LOG.info("the store has more than %d rows and is read by key", self.most_rows)
            return None
        temporal = recipe.task.horizon_days is not None
        until = dt.datetime.now(dt.UTC).replace(tzinfo=None) + AHEAD if temporal else None
        return Resident(model.predictor, frames, until)

    def _frames(self, recipe: Recipe) -> dict[str, Any] | None:
        with self.store.read() as con:
            names = {table.name: f"validated.{quoted(table.name)}" for table in recipe.raw}
            counts = " + ".join(f"(select count(*) from {name})" for name in names.values())
            if con.sql(f"select {counts}").fetchall()[0][0] > self.most_rows:
                return None
            return {
                table.name: con.sql(
                    f"select {', '.join(quoted(column.name) for column in table.columns)} "
                    f"from {names[table.name]}"
                ).to_arrow_table()
                for table in recipe.raw
            }


def _state(path: Path) -> Hashable:
    """What changes when the store does."""
    found: list[tuple[int, int, int] | None] = []
    for file in (path, path.with_name(path.name + ".wal")):
        try:
            stat = file.stat()
        except OSError:
            found.append(None)
        else:
            found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)
