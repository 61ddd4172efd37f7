"""A project's tables as a graph: what references what, and along which paths a task reads them."""

from typing import Any

from nexus_model.align.paths import find_paths, unreached_tables
from nexus_model.schema import DatabaseSpec
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.plan import keyed_table


def project_graph(project: ProjectConfig) -> dict[str, Any]:
    """Tables, references, and for each table that is asked about: its paths and what none reaches.

    Raises:
        ConfigurationError: a path of the project file does not follow foreign keys.
    """
    tables = tuple(keyed_table(project, dataset.table) for dataset in project.datasets)
    database = DatabaseSpec(tables=tables)
    asked = {}
    for entity in dict.fromkeys(_entities(project)):
        settings = project.alignment
        paths = find_paths(database, entity, settings.max_depth, settings.paths)
        asked[entity] = {
            "paths": {path.name: _parents(database, path.table) for path in paths},
            "unreached": list(unreached_tables(database, paths)),
        }
    return {
        "tables": {
            table.name: {"key": list(table.primary_key), "time": table.time_column}
            for table in database.tables
        },
        "references": [
            {"table": table.name, "columns": list(key.columns), "to": key.references_table}
            for table in database.tables
            for key in table.foreign_keys
        ],
        "asked_about": asked,
    }


def told_graph(graph: dict[str, Any]) -> tuple[str, ...]:
    """The same in lines."""
    lines = ["tables:"]
    for name, table in graph["tables"].items():
        key = "+".join(table["key"]) or "no key"
        known = f", known at {table['time']}" if table["time"] else ""
        lines.append(f"  {name} ({key}{known})")
    lines.append("references:")
    lines += [f"  {r['table']}.{'+'.join(r['columns'])} -> {r['to']}" for r in graph["references"]]
    for entity, found in graph["asked_about"].items():
        lines.append(f"{entity} reads:")
        for path, parents in found["paths"].items():
            lines.append(f"  {path}" + (", with its " + ", ".join(parents) if parents else ""))
        if found["unreached"]:
            lines.append(f"  no path reaches {', '.join(found['unreached'])}")
    return tuple(lines)


def _entities(project: ProjectConfig) -> list[str]:
    if project.target is not None:
        return [project.target.target_table]
    return [task.entity_table for task in project.tasks]


def _parents(database: DatabaseSpec, table: str) -> list[str]:
    return list(dict.fromkeys(key.references_table for key in database[table].foreign_keys))
