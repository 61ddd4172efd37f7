"""The data card: tables, rows, rows kept apart, time spans and links, counted in the store."""

from nexus_model.align.relate import quoted
from nexus_model.schema import DatabaseSpec, TableSpec
from nexus_pipeline.steps.report_facts import DataCard, DataLink, DataTable
from nexus_pipeline.storage import Store


def data_card(store: Store, database: DatabaseSpec, entity: str) -> DataCard:
    """Everything is counted, nothing estimated."""
    return DataCard(
        entity=entity,
        tables=tuple(_table(store, table) for table in database.tables),
        links=tuple(
            DataLink(child=table.name, parent=key.references_table, columns=", ".join(key.columns))
            for table in database.tables
            for key in table.foreign_keys
        ),
    )


def _table(store: Store, table: TableSpec) -> DataTable:
    apart = f"quarantine.{table.name}"
    first, last = None, None
    with store.read() as con:
        name = f"aligned.{quoted(table.name)}"
        (rows,) = con.execute(f"select count(*) from {name}").fetchone() or (0,)
        if table.time_column is not None:
            span = con.execute(f"select min(_time)::date, max(_time)::date from {name}").fetchone()
            first, last = (None if day is None else str(day) for day in span or (None, None))
    return DataTable(
        table=table.name,
        rows=rows,
        quarantined=store.rows(apart) if store.exists(apart) else None,
        columns=len(table.columns),
        first=first,
        last=last,
    )
