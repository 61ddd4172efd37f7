"""One prepared database that follows a recipe for one request, or for several apart.

What depends on the recipe alone (types, numbering, the SQL of requests together) is made once;
what a request brings lives in a transaction that is always rolled back.
"""

import datetime as dt
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import duckdb
import numpy as np
import pyarrow as pa

from nexus_model.align.assemble import closed_database, named_frames, single_select
from nexus_model.align.index import NEVER
from nexus_model.align.recipe import Recipe
from nexus_model.align.relate import numbered_select, quoted
from nexus_model.align.samples import cutoffs_select, history_select
from nexus_model.schema import ConfigurationError, DataError, TableSpec
from nexus_model.serve.apart import REQUEST, select_apart
from nexus_model.serve.compiled import AlignedRows, CompiledRecipe, Step, columns_read
from nexus_model.serve.typed import Caster

Connection: TypeAlias = duckdb.DuckDBPyConnection


class Given(NamedTuple):
    """The frames of one request under the recipe's types, and the tables it did not give."""

    tables: dict[str, pa.Table]
    absent: frozenset[str]


class StagedDatabase:
    """Follows one recipe; one thread at a time."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._lock = threading.RLock()
        self._con: Connection | None = None
        self._caster = Caster(recipe)
        self._alone: tuple[Step, ...] = ()
        self._together: tuple[Step, ...] | None = None
        self._compiled: CompiledRecipe | None = None
        self.refusal = self.not_compiled = ""

    def typed(self, frames: Mapping[str, Any]) -> Given:
        """Frames under the recipe's types.

        Raises:
            DataError: a table or column is missing or unknown, or a value does not cast.
        """
        named, absent = named_frames(self.recipe, frames)
        tables = {}
        for table in self.recipe.raw:
            schema = self._caster.schemas[table.name]
            tables[table.name] = (
                schema.empty_table()
                if table.name in absent
                else self._caster.cast(table, named[table.name])
            )
        return Given(tables, absent)

    @property
    def takes_several(self) -> bool:
        """Whether requests can be aligned together; ``refusal`` says why not."""
        if self._con is None:
            with self._lock:
                self._connection()
        return self._together is not None

    def interrupt(self) -> None:
        """Stop the statement that is running, if any; its caller gets a DuckDB error."""
        if self._con is not None:
            self._con.interrupt()
        if self._compiled is not None:
            self._compiled.con.interrupt()

    def align(
        self, given: Sequence[Given], moments: Sequence[dt.datetime | None]
    ) -> dict[str, AlignedRows]:
        """Every aligned table; rows of all requests are numbered through, request by request.

        Raises:
            ConfigurationError: a SQL model fails on these rows.
            ValueError: there are several requests and the recipe takes one at a time.
        """
        several = len(given) > 1
        with self._lock:
            if not several and (found := self._at_once(given[0], moments[0])) is not None:
                return found
        with self._lock, self._transaction() as con:
            steps = self._together if several else self._alone
            if steps is None:
                raise ValueError(f"requests cannot be aligned together: {self.refusal}")
            self._stage(con, given, several=several)
            return self._follow(con, steps, moments)

    def _at_once(self, given: Given, moment: dt.datetime | None) -> dict[str, AlignedRows] | None:
        """By the one prepared statement; None where the statements must be run one by one."""
        self._connection()
        if self._compiled is None:
            return None
        try:
            return self._compiled.follow(given.tables, moment)
        except duckdb.InterruptException:
            raise
        except duckdb.Error:
            # Statement by statement it can be said which of them fails.
            return None

    def _connection(self) -> Connection:
        if self._con is None:
            con = closed_database(threads=1)
            self._alone = self._prepared(con, several=False)
            try:
                self._together = self._prepared(con, several=True)
            except (duckdb.Error, ConfigurationError, DataError) as error:
                self.refusal = str(error).splitlines()[0]
            try:
                self._compiled = CompiledRecipe(self.recipe, self._alone, self._caster.schemas)
            except (duckdb.Error, ConfigurationError) as error:
                self.not_compiled = str(error).splitlines()[0]
            self._con = con
        return self._con

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        con = self._connection()
        con.execute("begin transaction")
        try:
            yield con
        finally:
            con.execute("rollback")

    def _stage(self, con: Connection, given: Sequence[Given], *, several: bool) -> None:
        for table in self.recipe.raw:
            parts = [request.tables[table.name] for request in given]
            rows = pa.concat_tables(parts)
            if several:
                request_R = np.repeat(
                    np.arange(len(parts), dtype=np.int32), [len(p) for p in parts]
                )
                rows = rows.add_column(0, REQUEST, pa.array(request_R))
            con.register("incoming", rows)
            try:
                con.execute(
                    f"create or replace table validated.{quoted(table.name)} as "
                    "select * from incoming"
                )
            finally:
                con.unregister("incoming")

    def _prepared(self, con: Connection, *, several: bool) -> tuple[Step, ...]:
        """The statements of the recipe, found by following it over empty tables."""
        schemas = self._caster.schemas
        empty = Given({name: schemas[name].empty_table() for name in schemas}, frozenset())
        con.execute("begin transaction")
        try:
            self._stage(con, [empty] * (1 + several), several=several)
            if several:
                con.execute(f"create table aligned._requests as select cast(0 as int) as {REQUEST}")
            return tuple(self._steps(con, several=several))
        finally:
            con.execute("rollback")

    def _steps(self, con: Connection, *, several: bool) -> Iterator[Step]:
        recipe = self.recipe
        tables = {table.name: table for table in recipe.database.tables}
        modelled = {model.name for model in recipe.models}

        def step(name: str, select: str) -> Step:
            table = tables.get(name)
            if table is not None:
                keys = (REQUEST, *table.primary_key) if table.primary_key else ()
                own = table.model_copy(update={"primary_key": keys}) if several else table
                select = numbered_select(con, select, own)
            con.execute(f"create table aligned.{quoted(name)} as {select}")
            return Step(name, select)

        for name in tables:
            if name not in modelled and name != recipe.history:
                yield step(name, f"select * from validated.{quoted(name)}")
        for model in recipe.models:
            select = single_select(con, model.name, model.sql)
            if model.name == recipe.labels:
                yield self._empty_cutoffs(con, several=several)
            try:
                yield step(model.name, select_apart(con, select) if several else select)
            except duckdb.Error as error:
                raise ConfigurationError(f"SQL model {model.name!r} failed: {error}") from error
        if recipe.history and recipe.labels and recipe.cutoffs:
            labels = f"select * from aligned.{quoted(recipe.labels)}"
            select = history_select(recipe.task, recipe.entity, labels, recipe.cutoffs)
            yield step(recipe.history, select_apart(con, select) if several else select)

    def _empty_cutoffs(self, con: Connection, *, several: bool) -> Step:
        """The place of the cutoffs among the steps; their SQL depends on the requests."""
        recipe = self.recipe
        if recipe.grid is None or recipe.cutoffs is None:
            raise DataError("a cutoff is needed", table=recipe.task.entity_table)
        select = cutoffs_select(recipe.grid, recipe.grid.test_from, recipe.grid.test_from)
        request = f"cast(0 as int) as {REQUEST}, " if several else ""
        con.execute(
            f"create table aligned.{quoted(recipe.cutoffs)} as select {request}grid.* "
            f"from ({select}) as grid"
        )
        return Step(recipe.cutoffs, "")

    def _follow(
        self, con: Connection, steps: tuple[Step, ...], moments: Sequence[dt.datetime | None]
    ) -> dict[str, AlignedRows]:
        several, recipe = len(moments) > 1, self.recipe
        if several:
            numbers = f"select cast(range as int) as {REQUEST} from range({len(moments)})"
            con.execute(f"create table aligned._requests as {numbers}")
        made: list[str] = []
        for name, sql in steps:
            select = sql or self._cutoffs(con, made, moments)
            try:
                con.execute(f"create table aligned.{quoted(name)} as {select}")
            except duckdb.InterruptException:
                raise
            except duckdb.Error as error:
                raise ConfigurationError(f"SQL model {name!r} failed: {error}") from error
            made.append(name)
        return {table.name: self._rows(con, table, several) for table in recipe.database.tables}

    def _cutoffs(
        self, con: Connection, made: Sequence[str], moments: Sequence[dt.datetime | None]
    ) -> str:
        """Each request's cutoffs: of the one grid, those after its first row and closed by its
        moment.
        """
        lasts = [moment for moment in moments if moment is not None]
        grid = self.recipe.grid
        if grid is None or len(lasts) != len(moments):
            raise DataError("a cutoff is needed", table=self.recipe.task.entity_table)
        firsts = self._firsts(con, made, len(moments))
        spans = [(first or last, last) for first, last in zip(firsts, lasts, strict=True)]
        whole = cutoffs_select(grid, min(s[0] for s in spans), max(s[1] for s in spans))
        if len(spans) == 1:
            return whole
        rows = ", ".join(
            f"({number}, timestamp '{first}', timestamp '{last}')"
            for number, (first, last) in enumerate(spans)
        )
        return (
            f"select spans.{REQUEST}, grid.* from (values {rows}) as spans({REQUEST}, first, last) "
            f"inner join ({whole}) as grid "
            "on grid.cutoff >= spans.first and grid.window_end <= spans.last"
        )

    def _firsts(
        self, con: Connection, made: Sequence[str], requests: int
    ) -> list[dt.datetime | None]:
        """The earliest time of any table made so far, by request."""
        request = REQUEST if requests > 1 else "0"
        timed = [
            f"select {request} as r, min(_time) as t from aligned.{quoted(table.name)} group by 1"
            for table in self.recipe.database.tables
            if table.time_column and table.name in made
        ]
        if not timed:
            return [None] * requests
        found = dict(
            con.sql(f"select r, min(t) from ({' union all '.join(timed)}) group by r").fetchall()
        )
        return [found.get(request) for request in range(requests)]

    def _rows(self, con: Connection, table: TableSpec, several: bool) -> AlignedRows:  # noqa: FBT001
        names = columns_read(self.recipe, table)
        chosen = ", ".join([*map(quoted, names), *[REQUEST] * several])
        found = con.sql(
            f"select {chosen + ', ' if chosen else ''}coalesce(epoch_us(_time), {NEVER}) as _us "
            f"from aligned.{quoted(table.name)} order by _row"
        ).to_arrow_table()
        time_R = found["_us"].to_numpy().astype(np.int64)
        request_R = found[REQUEST].to_numpy().astype(np.int64) if several else np.zeros_like(time_R)
        return AlignedRows(found.select(names), request_R, time_R)
