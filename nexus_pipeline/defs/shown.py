"""What an asset shows on its Dagster page: kept as JSON in its record, so reuse shows it again."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import duckdb

from nexus_model.align.relate import quoted
from nexus_pipeline.storage import Store

PREVIEW_ROWS = 5
SPARK_WIDTH, SPARK_HEIGHT = 160, 32


def table_shown(store: Store, table: str, notes: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Row count, columns with types, and the first rows of a table of the store."""
    schema, name = table.split(".")
    with store.read() as con:
        relation = con.sql(f"select * from {schema}.{quoted(name)} limit {PREVIEW_ROWS}")
        rows = con.sql(f"select count(*) from {schema}.{quoted(name)}").fetchall()[0][0]
        return {
            "rows": rows,
            "relation": table,
            "columns": [
                {"name": column, "type": str(kind), "note": (notes or {}).get(column, "")}
                for column, kind in zip(relation.columns, relation.types, strict=True)
            ],
            "preview": markdown_table(relation),
        }


def markdown_table(relation: duckdb.DuckDBPyRelation) -> str:
    """A few rows as a Markdown table."""
    lines = ["| " + " | ".join(relation.columns) + " |", "|" + "---|" * len(relation.columns)]
    for row in relation.fetchall():
        cells = (str(cell).replace("|", "/").replace("\n", " ")[:60] for cell in row)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def sparkline(values: Sequence[float], title: str) -> str:
    """Markdown with an inline SVG line; under 1,000 characters, so the page shows it in place."""
    import base64

    if not values:
        return ""
    thinned = values[:: max(1, len(values) // 24)]
    low, high = min(thinned), max(thinned)
    span = (high - low) or 1.0
    step = SPARK_WIDTH / max(1, len(thinned) - 1)
    points = " ".join(
        f"{index * step:.0f},{SPARK_HEIGHT - 2 - (value - low) / span * (SPARK_HEIGHT - 4):.0f}"
        for index, value in enumerate(thinned)
    )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{SPARK_WIDTH}" height="{SPARK_HEIGHT}">'
        f'<polyline fill="none" stroke="#4466cc" stroke-width="2" points="{points}"/></svg>'
    )
    encoded = base64.b64encode(svg.encode()).decode()
    return f"![{title}](data:image/svg+xml;base64,{encoded}) {values[0]:.4g} to {values[-1]:.4g}"


def as_metadata(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Dagster metadata of what a record keeps."""
    metadata: dict[str, Any] = {}
    for name, value in shown.items():
        match name:
            case "rows":
                metadata["dagster/row_count"] = int(value)
            case "relation":
                metadata["dagster/relation_identifier"] = value
            case "columns":
                metadata["dagster/column_schema"] = _schema(value)
            case "lineage":
                metadata["dagster/column_lineage"] = _lineage(value)
            case "url":
                metadata["tracking_run"] = dg.MetadataValue.url(value)
            case "data_docs_url":
                metadata[name] = dg.MetadataValue.url(value)
            case _:
                metadata[name] = _plain(value)
    return metadata


def _plain(value: Any) -> Any:
    if isinstance(value, str) and ("\n" in value or value.startswith("![")):
        return dg.MetadataValue.md(value)
    if isinstance(value, dict | list):
        return dg.MetadataValue.json(value)
    return value


def _schema(columns: Sequence[Mapping[str, Any]]) -> dg.TableSchema:
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column["name"],
                column["type"],
                description=column.get("note") or None,
                constraints=dg.TableColumnConstraints(
                    nullable=bool(column.get("nullable", True)),
                    unique=bool(column.get("unique", False)),
                ),
            )
            for column in columns
        ]
    )


def _lineage(lineage: Mapping[str, Sequence[Sequence[str]]]) -> dg.TableColumnLineage:
    return dg.TableColumnLineage(
        {
            column: [
                dg.TableColumnDep(asset_key=dg.AssetKey(key.split("/")), column_name=name)
                for key, name in sources
            ]
            for column, sources in lineage.items()
        }
    )
