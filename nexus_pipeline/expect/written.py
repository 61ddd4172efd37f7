"""Written: a proposal as the YAML a person reads, and its difference from what was accepted."""

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from nexus_pipeline.expect.accepted import Expected, Line, accepted_folder, read_file
from nexus_pipeline.expect.proposed import Proposal
from nexus_pipeline.project import ProjectConfig

HEAD = """\
# What validated.{table} is expected to be. `nexusflow expect` shows how the data differs,
# `nexusflow expect --accept --table {table}` writes this file anew; every line may be edited,
# and `severity: warn` or `severity: error` in its braces says whether it stops training.
"""


def written(proposal: Proposal) -> str:
    """The accepted file of a proposal."""
    return HEAD.format(table=proposal.table) + "".join(
        f"{line}\n" for line in _lines(proposal.expected, proposal)
    )


def _lines(expected: Expected, proposal: Proposal) -> Iterator[str]:
    for name in ("rows", "rejected", "newest"):
        line = getattr(expected, name)
        if line is not None:
            yield f"{name}: {_flow(line)}{_why(proposal, name)}"
    for block in ("columns", "orphans"):
        lines = getattr(expected, block)
        if lines:
            yield f"{block}:"
            for key, line in lines.items():
                yield f"  {_scalar(key)}: {_flow(line)}{_why(proposal, block, key)}"
    if expected.unique:
        yield "unique:"
        yield from (f"  - {_flow(line)}" for line in expected.unique)


def _why(proposal: Proposal, *keys: str) -> str:
    reason = " ".join(proposal.reasons.get(keys, "").split())
    return f"  # {reason}" if reason else ""


def _flow(line: Line) -> str:
    said = line.model_dump(exclude_none=True, exclude_defaults=True)
    if line.severity:
        said["severity"] = line.severity.value
    said = {
        name: list(value) if isinstance(value, tuple) else value for name, value in said.items()
    }
    if "nulls" in type(line).model_fields:
        said.setdefault("nulls", 0)
        order = ("type", "nulls", "least", "most", "values", "others", "severity")
        said = {name: said[name] for name in order if name in said}
    return _yaml(said)


def _scalar(text: str) -> str:
    return _yaml({text: None}).removeprefix("{").removesuffix(": null}")


def _yaml(value: Any) -> str:
    return yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, width=2**31, allow_unicode=True
    ).strip()


def difference(project: ProjectConfig, proposal: Proposal) -> str:
    """The unified difference from the accepted file to the proposal; empty if there is none."""
    path = accepted_folder(project) / f"{proposal.table}.yaml"
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    shown = path.relative_to(project.root).as_posix()
    lines = difflib.unified_diff(
        before.splitlines(keepends=True),
        written(_as_severe(proposal, path)).splitlines(keepends=True),
        shown if before else "/dev/null",
        shown,
    )
    return "".join(lines)


def accept(project: ProjectConfig, proposal: Proposal) -> str:
    """Write a proposal as the accepted file; its path below the project's root."""
    path = accepted_folder(project) / f"{proposal.table}.yaml"
    text = written(_as_severe(proposal, path))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path.relative_to(project.root).as_posix()


def _as_severe(proposal: Proposal, path: Path) -> Proposal:
    """The proposal with every severity a person gave to a line that is still there."""
    if not path.is_file():
        return proposal
    former, said = read_file(proposal.table, path).expected, proposal.expected
    changed: dict[str, Any] = {}
    for name in ("rows", "rejected", "newest"):
        changed[name] = _severe(getattr(said, name), getattr(former, name))
    for block in ("columns", "orphans"):
        known = getattr(former, block)
        changed[block] = {
            key: _severe(line, known.get(key)) for key, line in getattr(said, block).items()
        }
    kept = {line.columns: line for line in former.unique}
    changed["unique"] = tuple(_severe(line, kept.get(line.columns)) for line in said.unique)
    return proposal._replace(expected=said.model_copy(update=changed))


def _severe(line: Line | None, former: Line | None) -> Line | None:
    if line is None or former is None or former.severity is None:
        return line
    return line.model_copy(update={"severity": former.severity})
