"""What changed from one model to another: raw files, configuration, code, packages, metrics."""

from collections.abc import Iterator, Mapping
from typing import Any

from nexus_model.schema import Record
from nexus_pipeline.lineage.model_lineage import Figure, ModelLineage
from nexus_pipeline.lineage.trace import SHORT, Found
from nexus_pipeline.steps.registry import RegisteredVersion

Pair = tuple[Any, Any]


class Compared(Record):
    """What two models do not share, by what it is about; a value one of them lacks is None.

    ``by_tags`` is said instead of the rest where a version has no lineage.
    """

    first: str
    second: str
    data: dict[str, Pair]
    configuration: dict[str, Pair]
    code: dict[str, Pair]
    packages: dict[str, Pair]
    metrics: dict[str, Pair]
    by_tags: dict[str, Pair]
    notes: tuple[str, ...]


def compare(first: Found, second: Found) -> Compared:
    """Compare two models by their lineage; by what else is known if one has none."""
    one, other = first.lineage, second.lineage
    if one is None or other is None:
        return _by_tags(first, second)
    notes = []
    if (one.project, one.task) != (other.project, other.task):
        notes.append(f"they are of different tasks: {one.task} and {other.task}")
    return Compared(
        first=first.asked,
        second=second.asked,
        data=changed(_files(one), _files(other)),
        configuration=changed(_settings(one), _settings(other)),
        code=changed(_code(one), _code(other)),
        packages=changed(one.packages, other.packages),
        metrics=changed(_metrics(one), _metrics(other)),
        by_tags={},
        notes=tuple(notes),
    )


def changed(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Pair]:
    """The values that are not the same.

    >>> changed({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4})
    {'b': (2, 3), 'c': (None, 4)}
    """
    names = [*one, *(name for name in other if name not in one)]
    pairs = {name: (one.get(name), other.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _files(lineage: ModelLineage) -> dict[str, dict[str, Any]]:
    """Files by table; the same content elsewhere is the same."""
    return {one.table: {"sha256": one.sha256, "rows": one.rows} for one in lineage.raw}


def _settings(lineage: ModelLineage) -> dict[str, Any]:
    prefix = f"{lineage.project}/"
    return {
        f"{asset.key.removeprefix(prefix)}: {name}": value
        for asset in lineage.assets
        for name, value in _flat(asset.config)
    }


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _code(lineage: ModelLineage) -> dict[str, str]:
    prefix = f"{lineage.project}/"
    return {asset.key.removeprefix(prefix): asset.code_version for asset in lineage.assets}


def _metrics(lineage: ModelLineage) -> dict[str, Figure]:
    return {
        f"{split} {name}": figure
        for split, figures in lineage.metrics.items()
        for name, figure in figures.items()
    }


def _by_tags(first: Found, second: Found) -> Compared:
    """Two versions of which one was registered before lineage was kept."""
    both = [_known(found) for found in (first, second)]
    lacking = [found.asked for found in (first, second) if found.lineage is None]
    told = f"{' and '.join(lacking)} has no lineage; tags, parameters and metrics are compared"
    tags, metrics = (changed(both[0][at], both[1][at]) for at in (0, 1))
    return Compared(
        first=first.asked, second=second.asked, by_tags=tags, metrics=metrics, notes=(told,),
        data={}, configuration={}, code={}, packages={},
    )  # fmt: skip


def _known(found: Found) -> tuple[dict[str, Any], dict[str, Any]]:
    version: RegisteredVersion | None = found.version
    if version is None:
        own = found.lineage
        return ({} if own is None else {"artifact_sha256": own.artifact_sha256}), {}
    return {**version.tags, **version.parameters}, dict(version.metrics)


def told_comparison(compared: Compared) -> str:
    """What is told in words."""
    lines = [f"{compared.first} and {compared.second}", *compared.notes]
    parts: tuple[str, ...] = ("data", "configuration", "code", "packages", "metrics")
    if compared.by_tags or any("no lineage" in note for note in compared.notes):
        parts = ("by_tags", "metrics")
    for part in parts:
        pairs: dict[str, Pair] = getattr(compared, part)
        lines.append(f"{part.replace('by_tags', 'tags')}:{'' if pairs else ' the same'}")
        lines += [f"  {name}: {_value(one)} -> {_value(two)}" for name, (one, two) in pairs.items()]
    return "\n".join(lines)


def _value(value: Any) -> str:
    match value:
        case None:
            return "none"
        case Figure():
            return f"{value.estimate:.4f} ({value.low:.4f} to {value.high:.4f})"
        case {"sha256": sha256, "rows": rows}:
            return f"{rows} rows, sha256 {sha256[:SHORT]}"
        case _:
            return str(value)
