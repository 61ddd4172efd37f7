"""Validated: rows that keep their table's contract; the others are quarantined with a reason."""

from typing import Any

import dagster as dg

from nexus_pipeline.defs.checks import Outcome, build_check
from nexus_pipeline.defs.making import Doing, Made, Making
from nexus_pipeline.defs.resources import Workshop
from nexus_pipeline.defs.shown import table_shown
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.contracts import Contract
from nexus_pipeline.steps.stored import stored_table

CODE = tuple(
    f"nexus_pipeline/steps/{name}.py"
    for name in (
        "contracts", "column_types", "validate", "row_rules", "orphans", "schema_failures",
    )
)  # fmt: skip


def contract_of(project: ProjectConfig, table: str) -> Contract:
    """The contract the last validation wrote."""
    path = project.stage_folder("validated", "contracts") / f"{table}.json"
    return Contract.model_validate_json(path.read_text(encoding="utf-8"))


def validated_makings(project: ProjectConfig) -> list[Making]:
    """The validated tables of a project."""
    return [_validated_table(project, dataset.table) for dataset in project.datasets]


def _validated_table(project: ProjectConfig, table: str) -> Making:
    name = project.project_name
    parents = {key.references_table for key in project.foreign_keys(table)} - {table}

    def make(room: Workshop, doing: Doing) -> Made:  # noqa: ARG001 - all makings are called alike
        from nexus_pipeline.steps.contracts import derive_contract
        from nexus_pipeline.steps.validate import validate_table

        contract = derive_contract(project, table, room.store)
        report = validate_table(project, contract, room.store)
        path = project.stage_folder("validated", "contracts") / f"{table}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(contract.model_dump_json(indent=1), encoding="utf-8")
        facts = {"raw_rows": report.raw_rows, "quarantined": report.quarantined}
        facts |= {f"orphans/{found.foreign_key}": found.rows for found in report.orphans}
        reference = stored_table(room.store, f"validated.{table}", dict(facts))
        shown: dict[str, Any] = table_shown(room.store, f"validated.{table}")
        shown["columns"] = [
            {
                "name": column.name,
                "type": column.type,
                "nullable": column.nullable,
                "unique": column.unique,
                "note": f"{column.semantic or column.role}: {column.reason}",
            }
            for column in contract.columns
        ]
        if report.reasons:
            shown["rejected"] = [reason.model_dump() for reason in report.reasons]
        return Made(reference, shown)

    return Making(
        key=f"{name}/validated/{table}",
        description=f"Rows of {table} that keep the contract; the rest is in quarantine.{table}.",
        kinds=frozenset({"duckdb", "pandera"}),
        upstream=(f"{name}/raw/{table}", *(f"{name}/raw/{parent}" for parent in sorted(parents))),
        code=CODE,
        config={
            **project[table].model_dump(mode="json", exclude={"path", "transformer_type"}),
            "labels": project.label_columns(table),
        },
        make=make,
    )


def validated_checks(project: ProjectConfig) -> list[dg.AssetChecksDefinition]:
    """Two facts per table."""
    checks = []
    for dataset in project.datasets:
        key = f"{project.project_name}/validated/{dataset.table}"
        checks += [
            build_check(project, key, _nothing_is_lost(dataset.table)),
            build_check(project, key, _rows_keep_the_contract(dataset.table)),
        ]
    return checks


def _nothing_is_lost(table: str) -> Any:
    def accepted_and_quarantined_rows_are_the_raw_rows(room: Workshop) -> Outcome:
        counts = {
            schema: room.store.rows(f"{schema}.{table}")
            for schema in ("raw", "validated", "quarantine")
        }
        return Outcome(
            counts["validated"] + counts["quarantine"] == counts["raw"],
            {f"{schema}_rows": count for schema, count in counts.items()},
        )

    return accepted_and_quarantined_rows_are_the_raw_rows


def _rows_keep_the_contract(table: str) -> Any:
    def rows_keep_the_contract(room: Workshop) -> Outcome:
        from nexus_pipeline.steps.contract_check import contract_failures

        failures = contract_failures(contract_of(room.project, table), room.store)
        return Outcome(not failures, {"failures": len(failures), "examples": failures[:5]})

    return rows_keep_the_contract
