"""A new project from a folder of tables: the file, SQL models that read texts, a schema."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb

from nexus_model.schema import ConfigurationError, Record
from nexus_pipeline.project import load_project
from nexus_pipeline.propose.convert import write_parquet
from nexus_pipeline.propose.evidence import ProposedLink
from nexus_pipeline.propose.key_values import spelled
from nexus_pipeline.propose.load import load_tables, open_store
from nexus_pipeline.propose.project_schema import project_schema_text
from nexus_pipeline.propose.project_text import SCHEMA_FILE, project_text
from nexus_pipeline.propose.proposal import ROW_NUMBER, Proposal, propose
from nexus_pipeline.propose.scan import Scan, scan_folder
from nexus_pipeline.propose.source import Source
from nexus_pipeline.propose.sql_models import sql_models
from nexus_pipeline.scaffold import WORKSPACE_FILE, check_new, create_project
from nexus_pipeline.steps.read_raw import ROW
from nexus_pipeline.storage.names import quote, quote_table


class NewProject(Record):
    """Where it is, and what was found, in lines to read."""

    folder: Path
    proposal: Proposal
    told: tuple[str, ...]


def init_project(
    parent: Path, name: str, tables: Path | None, target: str | None
) -> tuple[str, ...]:
    """``nexusflow init``: from tables, else with example tables; what to say about it.

    Raises:
        ConfigurationError: as ``create_from`` and ``create_project``; or a target without tables.
    """
    if tables is None:
        if target is not None:
            raise ConfigurationError("--target needs --from: the folder of the tables it is in")
        folder = create_project(parent, name)
        return f"made {folder}", f"next: cd {name} && nexusflow train"
    made = create_from(parent, name, tables, target)
    following = f"next: look through {name}/nexusflow.yaml, then cd {name} && nexusflow validate"
    return f"made {made.folder}", *made.told, following


def create_from(parent: Path, name: str, tables: Path, target: str | None = None) -> NewProject:
    """Make ``parent/name`` from the tables of a folder or file; the whole project, or nothing.

    Raises:
        ConfigurationError: the name cannot be a project's, the folder is there already, there are
            no tables, or the target is not one of their columns.
    """
    folder, making = check_new(parent, name), parent / f".{name}.partial"
    scan = scan_folder(tables)
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    try:
        proposal = _make(making, name, scan, target)
        load_project(making / "nexusflow.yaml")
        making.replace(folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return NewProject(folder=folder, proposal=proposal, told=tuple(told_proposal(proposal)))


def told_proposal(proposal: Proposal) -> Iterator[str]:
    """What was found, in a few lines."""
    target = proposal.target
    yield f"target: {target.told} ({target.reason})"
    for table in proposal.tables:
        key = proposal.keys.primary.get(table.table)
        links = [link.told.partition(".")[2] for link in proposal.keys.links_of(table.table)]
        named = "+".join(key.columns) if key else "none"
        references = f"; {', '.join(links)}" if links else ""
        yield f"  {table.table}: {table.rows:,} rows; key {named}{references}"
    for table in proposal.lost:
        yield f"  {table.table}: left out, no key connects it to {target.table}"
    for item in proposal.loaded.left_out:
        yield f"  {item.file}: left out, {item.reason}"
    for leak in proposal.leaks:
        where = f"{leak.table}.{leak.column}" if leak.column else leak.table
        yield f"  suspected leak {where}: {leak.reason}"


def _make(making: Path, name: str, scan: Scan, target: str | None) -> Proposal:
    raw = making / "data" / "raw" / name
    raw.mkdir(parents=True)
    store = open_store(making)
    loaded = load_tables(scan, store, raw)
    with store.write() as con:
        proposal = _mended(con, propose(con, loaded, target), raw)
    store.path.unlink()
    text = project_text(name, proposal, making)
    (making / "nexusflow.yaml").write_text(text, encoding="utf-8")
    (making / "workspace.yaml").write_text(WORKSPACE_FILE, encoding="utf-8")
    (making / SCHEMA_FILE).write_text(project_schema_text(), encoding="utf-8")
    models = making / "dbt_like_sql" / name / "aligned"
    for table, sql in sql_models(proposal).items():
        models.mkdir(parents=True, exist_ok=True)
        (models / f"{table}.sql").write_text(sql, encoding="utf-8")
    return proposal


def _mended(con: duckdb.DuckDBPyConnection, proposal: Proposal, raw: Path) -> Proposal:
    """Tables whose keys must change type, or that need a key, written anew as Parquet."""
    loaded = proposal.loaded
    profiles, sources, converted = [], dict(loaded.sources), set(loaded.converted)
    for table in loaded.profiles:
        links = [link for link in proposal.keys.links_of(table.table) if link.recast]
        if not links and table.table not in proposal.numbered:
            profiles.append(table)
            continue
        casts = [_recast(proposal, link) for link in links]
        replaced = f" REPLACE ({', '.join(casts)})" if casts else ""
        number = ", row_number() OVER (ORDER BY _row) AS " + quote(ROW_NUMBER)
        added = number if table.table in proposal.numbered else ""
        file = raw / f"{table.table}.parquet"
        source = quote_table(f"raw.{table.table}")
        write_parquet(
            con, f"SELECT * EXCLUDE ({ROW}){replaced}{added} FROM {source} ORDER BY {ROW}", file
        )
        converted.add(table.table)
        sources[table.table] = _noted(proposal, table.table, links)
        profiles.append(table.model_copy(update={"file": file}))
    changed = {"profiles": tuple(profiles), "sources": sources, "converted": frozenset(converted)}
    return proposal.model_copy(update={"loaded": loaded.model_copy(update=changed)})


def _recast(proposal: Proposal, link: ProposedLink) -> str:
    child = next(t for t in proposal.loaded.profiles if t.table == link.table)
    parent = next(t for t in proposal.loaded.profiles if t.table == link.parent)
    mine, theirs = child[link.columns[0]], parent[link.references_columns[0]]
    text = spelled(mine, plain=False)
    return f"TRY_CAST({text} AS {theirs.kind}) AS {quote(mine.name)}"


def _noted(proposal: Proposal, table: str, links: list[ProposedLink]) -> Source:
    source = proposal.loaded.sources[table]
    for link in links:
        source = source.noted(f"{link.columns[0]} was given the type of the key it names")
    if table in proposal.numbered:
        source = source.noted(f"{ROW_NUMBER} counts the rows")
    return source
