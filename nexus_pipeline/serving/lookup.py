"""Lookup: the history of entities, read from the project's tables by key instead of being sent.

Tables that fit are kept in memory whole (``kept.py``). Of larger ones are read the entities' rows,
every row that the model's paths reach from them, and the parents of all of those; a table that only
SQL reads is read whole. The store is opened for reading and closed again for each request, so that
a run of the pipeline can write between two requests.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from nexus_model.align.recipe import Recipe
from nexus_model.align.relate import quoted
from nexus_model.schema import ConfigurationError, DatabaseSpec, ForeignKey, NexusError
from nexus_pipeline.serving.kept import MOST_ROWS, KeptTables
from nexus_pipeline.serving.problems import ProblemError
from nexus_pipeline.storage import Store


class Lookup:
    """Reads validated tables of one project."""

    def __init__(self, store: Store, most_rows: int = MOST_ROWS) -> None:
        self.store, self.kept = store, KeptTables(store, most_rows)

    def frames(self, recipe: Recipe, keys: Sequence[Any]) -> dict[str, pa.Table]:
        """The rows of these entities, as the model's raw tables.

        Raises:
            ProblemError: an entity is not in the store, or the store cannot be read now.
        """
        try:
            with self.store.read() as con:
                return _Rows(con, recipe).of(keys)
        except ProblemError:
            raise
        except (NexusError, duckdb.Error) as error:
            raise ProblemError("busy", "the project's tables cannot be read now") from error


class _Rows:
    """Row numbers chosen so far, per raw table; all of a table where it has no keys."""

    def __init__(self, con: duckdb.DuckDBPyConnection, recipe: Recipe) -> None:
        self.con, self.recipe = con, recipe
        self.raw = {table.name: table for table in recipe.raw}
        self.database: DatabaseSpec = recipe.database
        self.keyed = {
            table.name
            for table in recipe.database.tables
            if table.name in self.raw and table.name != recipe.history
        }
        self.chosen: dict[str, set[int]] = {name: set() for name in self.keyed}

    def of(self, keys: Sequence[Any]) -> dict[str, pa.Table]:
        entity = self.recipe.entity
        self._choose_entities(keys)
        for plan in self.recipe.plans:
            at, rows = entity.name, self.chosen[entity.name]
            for hop in plan.path.hops:
                if hop.table not in self.keyed or hop.reaches not in self.keyed:
                    break
                key = self.database[hop.table].foreign_keys[hop.key]
                rows = self._cross(hop.table, key, at, rows, down=hop.direction == "down")
                at = hop.table if hop.direction == "down" else hop.reaches
                self.chosen[at] |= rows
        self._add_parents()
        return {name: self._read(name) for name in self.raw}

    def _choose_entities(self, keys: Sequence[Any]) -> None:
        entity = self.recipe.entity
        tuples = [key if isinstance(key, tuple) else (key,) for key in dict.fromkeys(keys)]
        wide = [key for key in tuples if len(key) != len(entity.primary_key)]
        if wide:
            told = f"a key of {entity.name} has {len(entity.primary_key)} parts"
            raise ProblemError("malformed_request", told, example=wide[0])
        names = [f"cast(own.{quoted(c)} as varchar)" for c in entity.primary_key]
        columns = {f"k{place}": [str(key[place]) for key in tuples] for place in range(len(names))}
        self.con.register("wanted", pa.table({"place": range(len(tuples))} | columns))
        on = " and ".join(f"{name} = wanted.k{place}" for place, name in enumerate(names))
        found = self.con.sql(
            f"select wanted.place, own._row from wanted left join validated.{quoted(entity.name)} "
            f"as own on {on}"
        ).fetchall()
        self.con.unregister("wanted")
        lost = [tuples[at] for at, row in found if row is None]
        if lost:
            raise ProblemError(
                "unknown_entity",
                "is asked about and has no row",
                table=entity.name,
                rows=len(lost),
                example=lost[0] if len(lost[0]) > 1 else lost[0][0],
            )
        self.chosen[entity.name] = {row for _, row in found}

    def _cross(
        self, child: str, key: ForeignKey, at: str, rows: set[int], *, down: bool
    ) -> set[int]:
        """Rows on the other side of a foreign key."""
        if not rows:
            return set()
        on = " and ".join(
            f"child.{quoted(mine)} = parent.{quoted(theirs)}"
            for mine, theirs in zip(key.columns, key.references_columns, strict=True)
        )
        near, far = ("parent", "child") if down else ("child", "parent")
        if at != (key.references_table if down else child):
            raise ConfigurationError(f"path leaves {at} by a key of {child}")
        self.con.register("near", pa.table({"place": pa.array(sorted(rows), pa.int64())}))
        try:
            found = self.con.sql(
                f"select distinct {far}._row from validated.{quoted(child)} as child inner join "
                f"validated.{quoted(key.references_table)} as parent on {on} "
                f"where {near}._row in (select place from near)"
            ).fetchall()
        finally:
            self.con.unregister("near")
        return {row[0] for row in found}

    def _add_parents(self) -> None:
        fresh = {name: set(rows) for name, rows in self.chosen.items()}
        while any(fresh.values()):
            further: dict[str, set[int]] = {name: set() for name in self.keyed}
            for name, rows in fresh.items():
                for key in self.database[name].foreign_keys:
                    if key.references_table in self.keyed:
                        found = self._cross(name, key, name, rows, down=False)
                        further[key.references_table] |= found
            fresh = {name: rows - self.chosen[name] for name, rows in further.items()}
            for name, rows in fresh.items():
                self.chosen[name] |= rows

    def _read(self, name: str) -> pa.Table:
        columns = ", ".join(quoted(column.name) for column in self.raw[name].columns)
        source = f"select {columns} from validated.{quoted(name)}"
        if name not in self.keyed:
            return self.con.sql(source).to_arrow_table()
        rows = pa.table({"place": pa.array(sorted(self.chosen[name]), pa.int64())})
        self.con.register("near", rows)
        try:
            return self.con.sql(
                f"{source} where _row in (select place from near) order by _row"
            ).to_arrow_table()
        finally:
            self.con.unregister("near")


def in_order(frames: Mapping[str, pa.Table], recipe: Recipe, keys: Sequence[Any]) -> list[int]:
    """Places of the entity table's rows in the order of ``keys``."""
    columns = [frames[recipe.entity.name][c].to_pylist() for c in recipe.entity.primary_key]
    places = {tuple(map(str, key)): at for at, key in enumerate(zip(*columns, strict=True))}
    return [places[tuple(map(str, key if isinstance(key, tuple) else (key,)))] for key in keys]
