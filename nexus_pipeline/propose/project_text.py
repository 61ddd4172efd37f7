"""The project file as text: every proposed line with its reason, uncertain ones commented out."""

import os
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

import yaml

from nexus_pipeline.propose.evidence import ProposedLink
from nexus_pipeline.propose.meanings import SEMANTICS, ColumnMeaning, Meaning
from nexus_pipeline.propose.profile import TableProfile
from nexus_pipeline.propose.proposal import Proposal
from nexus_pipeline.propose.source import Form

SCHEMA_FILE = "nexusflow.schema.json"
KNOWN_AT = "known_at"
_WIDE = 100
_MOST_TOLD = 60
_FEW, _LARGE = 20_000, 100_000
_LISTS = {
    Meaning.NUMERIC: "numerical_columns",
    Meaning.CATEGORICAL: "categorical_columns",
    Meaning.TIMESTAMP: "timestamp_columns",
    Meaning.TEXT: "text_columns",
    Meaning.IGNORE: "ignore_columns",
    Meaning.CONSTANT: "ignore_columns",
}


def project_text(name: str, proposal: Proposal, folder: Path) -> str:
    """The YAML of a project in ``folder``."""
    lines = [
        f"# yaml-language-server: $schema={SCHEMA_FILE}",
        *_comment(
            f"Proposed from the tables of {proposal.loaded.profiles[0].file.parent.name}/. Every "
            "line has its reason beside it; what is uncertain is commented out. Change what is "
            "wrong, then run `nexusflow validate`.",
            "",
        ),
        *_head_notes(proposal),
        f"project_name: {name}",
        *_raw_folder(proposal, folder),
        "",
        *_target(proposal),
        "",
        "datasets:",
    ]
    for table in proposal.tables:
        lines += [*dataset_lines(proposal, table, folder), ""]
    for table in proposal.lost:
        why = f"{table.table} is left out: no key connects it to {proposal.target.table}"
        lines += [*_comment(why, "  ")]
        lines += [
            f"  # {line.removeprefix('  ')}" for line in dataset_lines(proposal, table, folder)
        ]
        lines += [""]
    lines += _settings(proposal)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def time_column(proposal: Proposal, table: str) -> str | None:
    """The table's time column; one that must be read from text first gets a name of its own."""
    chosen = proposal.times[table].column
    if chosen is None or _meaning(proposal, table, chosen).reading is None:
        return chosen
    known = {column.name for t in proposal.tables if t.table == table for column in t.columns}
    return KNOWN_AT if KNOWN_AT not in known else f"{chosen}_{KNOWN_AT}"


def dataset_lines(proposal: Proposal, table: TableProfile, folder: Path) -> list[str]:
    """One table's part of the file."""
    name = table.table
    lines = [*_comment(_told_table(proposal, table), "  ")]
    lines += _file_lines(proposal, table, folder)
    key = proposal.keys.primary.get(name)
    if key is None:
        lines += ["    # primary_key: none; no column, nor two or three together, name the rows"]
    else:
        lines += _said(f"primary_key: {_names(key.columns)}", key.reason)
    lines += _link_lines(proposal, name)
    lines += _time_lines(proposal, name)
    lines += [f"    transformer_type: {_encoder(proposal, name)}"]
    lines += _list_lines(proposal, name)
    return [*lines, *_column_comments(proposal, table)]


def _head_notes(proposal: Proposal) -> Iterator[str]:
    loaded = proposal.loaded
    for item in loaded.left_out:
        yield from _comment(f"Left out: {item.file}: {item.reason}", "")
    if loaded.converted:
        names = ", ".join(sorted(loaded.converted))
        yield from _comment(
            "Written once as Parquet, because the raw stage cannot read them as they are: "
            f"{names}. "
            "Newer rows must be converted again.",
            "",
        )


def _raw_folder(proposal: Proposal, folder: Path) -> Iterator[str]:
    as_they_are = [t for t in proposal.tables if t.table not in proposal.loaded.converted]
    if as_they_are:
        place = PurePath(os.path.relpath(as_they_are[0].file.parent, folder)).as_posix()
        yield f"raw_folder: {_scalar(place)}   # the tables stay where they are; nothing was copied"


def _target(proposal: Proposal) -> Iterator[str]:
    target = proposal.target
    yield from _comment(f"What is predicted, for every row of {target.table}: {target.reason}.", "")
    yield _target_line(target.table, target.column)
    if proposal.candidates:
        yield "# Other columns that look like a target:"
    for other in proposal.candidates:
        yield from _comment(f"{other.reason}:", "")
        yield f"# {_target_line(other.table, other.column)}"
    for table, share in proposal.later_rows.items():
        yield from _comment(
            f"Look out: {share:.0%} of the rows of {table} are later than the row of "
            f"{target.table} they belong to, and this static target reads them all. If the answer "
            "is wanted before they happen, write a task in time instead: see the page "
            "bring-your-own-tables.",
            "",
        )


def _target_line(table: str, column: str) -> str:
    return f"target: {{target_table: {_scalar(table)}, target_column: {_scalar(column)}}}"


def _told_table(proposal: Proposal, table: TableProfile) -> str:
    source = proposal.loaded.sources[table.table]
    told = f"{table.table}: {table.rows:,} rows, {len(table.columns)} columns"
    if table.is_sampled:
        told += f", profiled by {table.seen:,} rows drawn from them"
    return "; ".join([told, *source.notes])


def _file_lines(proposal: Proposal, table: TableProfile, folder: Path) -> Iterator[str]:
    file = table.file
    relative = PurePath(os.path.relpath(file, folder)).as_posix()
    source = proposal.loaded.sources[table.table]
    plain = source.form is Form.AS_IS and table.table not in proposal.loaded.converted
    if plain and file.name in {f"{table.table}.csv", f"{table.table}.parquet"}:
        yield f"  - name: {_scalar(file.name)}"
        return
    yield f"  - name: {_scalar(table.table)}"
    yield f"    path: {_scalar(relative)}"


def _link_lines(proposal: Proposal, table: str) -> Iterator[str]:
    kept = proposal.keys.links_of(table)
    shown = {t.table for t in proposal.tables}
    doubted = [k for k in proposal.keys.uncertain if k.table == table and k.parent in shown]
    if not kept and not doubted:
        return
    yield "    foreign_keys:" if kept else "    # foreign_keys:"
    for link in kept:
        yield from _comment(f"{link.reason} (confidence {link.confidence:.2f})", "      ")
        yield f"      - {_link(proposal, link)}"
    for link in doubted:
        yield from _comment(f"uncertain ({link.confidence:.2f}): {link.reason}", "      ")
        yield f"      # - {_link(proposal, link)}"
    lost = [f"{'+'.join(k.columns)} {k.orphans:.1%}" for k in kept if k.orphans > 0]
    if lost:
        told = f"rows that name none stay: {', '.join(lost)}; `drop` would quarantine them"
        yield from _said("on_orphan: keep", told)


def _link(proposal: Proposal, link: ProposedLink) -> str:
    key = proposal.keys.primary.get(link.parent)
    other = (
        ""
        if key and key.columns == link.references_columns
        else (f", references_columns: {_names(link.references_columns)}")
    )
    return f"{{columns: {_names(link.columns)}, references_table: {_scalar(link.parent)}{other}}}"


def _time_lines(proposal: Proposal, table: str) -> Iterator[str]:
    choice = proposal.times[table]
    column = time_column(proposal, table)
    others = f"; others: {', '.join(choice.others)}" if choice.others else ""
    if column is None:
        yield from _comment(f"time_column: none; {choice.reason}{others}", "    ")
        return
    read = "" if column == choice.column else f"read from {choice.column} by the SQL model; "
    yield from _said(f"time_column: {_scalar(column)}", f"{read}{choice.reason}{others}")


def _encoder(proposal: Proposal, table: str) -> str:
    if any(m.meaning is Meaning.TEXT for m in proposal.meanings[table]):
        return "text          # it has a column of words"
    child = bool(proposal.keys.links_of(table)) and table != proposal.target.table
    if child and proposal.times[table].column is not None:
        return "timeseries    # rows that happen one after the other"
    return "mlp"


def _list_lines(proposal: Proposal, table: str) -> Iterator[str]:
    leaks = proposal.leak_columns(table)
    lists: dict[str, list[tuple[str, str]]] = {}
    for meaning in proposal.meanings[table]:
        if meaning.name in leaks:
            told = f"suspected leak: {leaks[meaning.name]}"
            lists.setdefault("ignore_columns", []).append((meaning.name, told))
        elif meaning.says and meaning.name not in _target_columns(proposal, table):
            lists.setdefault(_LISTS[meaning.meaning], []).append((meaning.name, meaning.reason))
    for key, columns in lists.items():
        yield f"    {key}:"
        for name, told in columns:
            yield from _said(f"- {_scalar(name)}", told, indent="      ")


def _target_columns(proposal: Proposal, table: str) -> set[str]:
    return {proposal.target.column} if table == proposal.target.table else set()


def _column_comments(proposal: Proposal, table: TableProfile) -> Iterator[str]:
    leaks = proposal.leak_columns(table.table)
    own = {*_target_columns(proposal, table.table), time_column(proposal, table.table)}
    plain = [
        m
        for m in proposal.meanings[table.table]
        if not m.says and m.meaning is not Meaning.KEY and m.name not in leaks
        and m.name not in own
    ]  # fmt: skip
    if plain:
        yield "    # Read as they are, unless said otherwise here:"
    for meaning in plain[:_MOST_TOLD]:
        yield from _comment(f"  {_told_column(table, meaning)}", "    ")
    if len(plain) > _MOST_TOLD:
        yield f"    #   and {len(plain) - _MOST_TOLD} more columns"


def _told_column(table: TableProfile, meaning: ColumnMeaning) -> str:
    empty = table.empty_share(table[meaning.name])
    gaps = f", {empty:.0%} empty" if 0 < empty < 1 else ""
    by_sql = ", read by the SQL model" if meaning.reading else ""
    kind = meaning.meaning.value if meaning.meaning in SEMANTICS else "not read"
    return f"{meaning.name}: {kind}; {meaning.reason}{gaps}{by_sql}"


def _settings(proposal: Proposal) -> list[str]:
    rows = next(t.rows for t in proposal.tables if t.table == proposal.target.table)
    # Scores of few validation rows jump about: four worse epochs in a row are no sign of an end.
    epochs, patience = (30, 10) if rows <= _FEW else (4 if rows > _LARGE else 20, 4)
    reach = proposal.reach
    return [
        "alignment:",
        f"  max_depth: {reach.max_depth}                     # keys crossed from a row of "
        f"{proposal.target.table}: {reach.paths} paths",
        "",
        "tokenization:",
        "  numerical: quantile              # long tails do no harm",
        "",
        "architecture:",
        "  dropout: 0.2",
        "",
        "training:",
        f"  epochs: {epochs}",
        f"  patience: {patience}",
    ]


def _meaning(proposal: Proposal, table: str, column: str) -> ColumnMeaning:
    return next(m for m in proposal.meanings[table] if m.name == column)


def _said(line: str, reason: str, indent: str = "    ") -> Iterator[str]:
    """A line with its reason beside it, or above where that is too long."""
    beside = f"{indent}{line:<32} # {reason}"
    if len(beside) <= _WIDE:
        yield beside
    else:
        yield from _comment(reason, indent)
        yield f"{indent}{line}"


def _comment(text: str, indent: str) -> list[str]:
    plain = " ".join(text.split()) if not text.startswith("  ") else "  " + " ".join(text.split())
    return textwrap.wrap(
        plain,
        _WIDE,
        initial_indent=f"{indent}# ",
        subsequent_indent=f"{indent}#   ",
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    ) or [f"{indent}#"]


def _names(columns: Sequence[str]) -> str:
    return _scalar(columns[0]) if len(columns) == 1 else f"[{', '.join(map(_scalar, columns))}]"


def _scalar(text: str) -> str:
    """A text as YAML reads it back, inside braces too.

    >>> _scalar("customers"), _scalar("no"), _scalar("a, b")
    ('customers', "'no'", "'a, b'")
    """
    shown = yaml.safe_dump([text], default_flow_style=True, width=10_000, allow_unicode=True)
    return shown.strip()[1:-1]
