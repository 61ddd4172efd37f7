"""Proposal: everything found about a folder of tables, from which the project file is written."""

from collections.abc import Mapping, Sequence

import duckdb

from nexus_model.schema import ConfigurationError, Record
from nexus_pipeline.propose.declared import with_declared
from nexus_pipeline.propose.evidence import ProposedKey, ProposedLink
from nexus_pipeline.propose.keys import Keys, find_keys
from nexus_pipeline.propose.leaks import Leak, find_leaks
from nexus_pipeline.propose.load import Loaded
from nexus_pipeline.propose.meanings import ColumnMeaning, Meaning, find_meanings
from nexus_pipeline.propose.profile import TableProfile
from nexus_pipeline.propose.reach import Reach, find_reach
from nexus_pipeline.propose.targets import Target, asked_target, likely_targets
from nexus_pipeline.propose.times import TimeChoice, choose_time
from nexus_pipeline.storage.names import quote, quote_table

ROW_NUMBER = "row_number"


class Proposal(Record):
    """A project somebody may look through, table by table.

    ``later_rows`` is by child table the share of rows later than the row they belong to;
    ``numbered`` the tables that get the key ``row_number``, since they have none.
    """

    loaded: Loaded
    keys: Keys
    meanings: dict[str, tuple[ColumnMeaning, ...]]
    times: dict[str, TimeChoice]
    target: Target
    candidates: tuple[Target, ...]
    leaks: tuple[Leak, ...]
    reach: Reach
    later_rows: dict[str, float]
    numbered: frozenset[str] = frozenset()

    @property
    def tables(self) -> tuple[TableProfile, ...]:
        """The tables a model of the target reads, the target's first."""
        kept = [t for t in self.loaded.profiles if t.table not in self.reach.lost]
        return tuple(sorted(kept, key=lambda table: table.table != self.target.table))

    @property
    def lost(self) -> tuple[TableProfile, ...]:
        """The tables it cannot reach."""
        return tuple(t for t in self.loaded.profiles if t.table in self.reach.lost)

    def leak_columns(self, table: str) -> dict[str, str]:
        """Columns of a table that are suspected to give the target away, and why."""
        return {k.column: k.reason for k in self.leaks if k.table == table and k.column}


def propose(con: duckdb.DuckDBPyConnection, loaded: Loaded, target: str | None) -> Proposal:
    """Look at loaded tables; ``target`` is ``table.column``, or None to choose the likeliest.

    Raises:
        ConfigurationError: there is no such target, its table has no key, or none is likely.
    """
    tables = loaded.profiles
    if target is not None:
        asked_target(target, tables)  # keys of many tables take a while: a misspelt name should not
    keys = with_declared(con, find_keys(con, tables), tables, loaded.sources)
    meanings = {t.table: find_meanings(con, t, keys.key_columns(t.table)) for t in tables}
    candidates = likely_targets(tables, meanings, keys)
    chosen = _choose(target, candidates, tables)
    entity = next(t for t in tables if t.table == chosen.table)
    keys, numbered = _with_entity_key(_without_label(keys, chosen), entity)
    times = {t.table: choose_time(t, meanings[t.table]) for t in tables}
    times[entity.table] = _not_the_target(times[entity.table], chosen)
    leaks = find_leaks(con, entity, chosen.column, meanings[entity.table], keys)
    keys = _without_leaking_links(keys, leaks, entity.table)
    telling = {f"{leak.table}.{leak.column}" for leak in leaks}
    return Proposal(
        loaded=loaded,
        keys=keys,
        meanings=meanings,
        times=times,
        target=chosen,
        candidates=tuple(c for c in candidates if c.told not in {chosen.told, *telling})[:5],
        leaks=leaks,
        reach=find_reach([t.table for t in tables], keys, entity.table),
        later_rows=_later_rows(con, keys, times, meanings, entity.table),
        numbered=numbered,
    )


def _choose(
    asked: str | None, candidates: Sequence[Target], tables: Sequence[TableProfile]
) -> Target:
    if asked is not None:
        table, column = asked_target(asked, tables)
        return Target(table=table, column=column, score=9.0, reason="given as --target")
    if not candidates:
        raise ConfigurationError("no column looks like a target; give --target table.column")
    return candidates[0]


def _without_label(keys: Keys, target: Target) -> Keys:
    """Keys without those that hold the target: what is asked is no way to other rows."""

    def holds(link: ProposedLink) -> bool:
        return link.table == target.table and target.column in link.columns

    primary = {
        name: key
        for name, key in keys.primary.items()
        if name != target.table or target.column not in key.columns
    }
    return Keys(
        primary=primary,
        links=tuple(link for link in keys.links if not holds(link)),
        uncertain=tuple(link for link in keys.uncertain if not holds(link)),
    )


def _with_entity_key(keys: Keys, entity: TableProfile) -> tuple[Keys, frozenset[str]]:
    """Keys with one for the target's table: an answer is told by whom it is about."""
    if entity.table in keys.primary:
        return keys, frozenset()
    key = ProposedKey(
        table=entity.table,
        columns=(ROW_NUMBER,),
        score=0.1,
        reason="made, since neither one column nor three together name the rows",
    )
    primary = {**keys.primary, entity.table: key}
    return keys.model_copy(update={"primary": primary}), frozenset({entity.table})


def _without_leaking_links(keys: Keys, leaks: Sequence[Leak], entity: str) -> Keys:
    telling = {leak.table: leak.reason for leak in leaks if leak.column is None}
    lost = [link for link in keys.links if link.parent == entity and link.table in telling]
    told = [
        link.model_copy(update={"reason": f"suspected leak: {telling[link.table]}"})
        for link in lost
    ]
    return keys.model_copy(
        update={
            "links": tuple(link for link in keys.links if link not in lost),
            "uncertain": (*keys.uncertain, *told),
        }
    )


def _not_the_target(choice: TimeChoice, target: Target) -> TimeChoice:
    if choice.column != target.column:
        return choice
    return TimeChoice(column=None, reason=f"{target.column} is the target")


def _later_rows(
    con: duckdb.DuckDBPyConnection,
    keys: Keys,
    times: Mapping[str, TimeChoice],
    meanings: Mapping[str, Sequence[ColumnMeaning]],
    entity: str,
) -> dict[str, float]:
    """By child table of the entity, the share of rows that happened after the entity's row."""
    found: dict[str, float] = {}
    moment = _moment(times, meanings, entity, "entity")
    if moment is None:
        return found
    for link in keys.links:
        own = _moment(times, meanings, link.table, "child")
        if link.parent != entity or link.table == entity or own is None or link.recast:
            continue
        on = " AND ".join(
            f"child.{quote(mine)} = entity.{quote(theirs)}"
            for mine, theirs in zip(link.columns, link.references_columns, strict=True)
        )
        share = con.execute(
            f"SELECT count(*) FILTER ({own} > {moment}) / greatest(count(*), 1) FROM "
            f"{quote_table(f'raw.{link.table}')} AS child JOIN {quote_table(f'raw.{entity}')} "
            f"AS entity ON {on}"
        ).fetchall()[0][0]
        if share:
            found[link.table] = float(share)
    return found


def _moment(
    times: Mapping[str, TimeChoice],
    meanings: Mapping[str, Sequence[ColumnMeaning]],
    table: str,
    alias: str,
) -> str | None:
    name = times[table].column
    if name is None:
        return None
    meaning = next(m for m in meanings[table] if m.name == name)
    assert meaning.meaning is Meaning.TIMESTAMP
    column = f"{alias}.{quote(name)}"
    if meaning.reading is not None:
        return f"CAST({meaning.reading.sql.replace(quote(name), column)} AS TIMESTAMP)"
    return f"CAST({column} AS TIMESTAMP)"
