"""Raw Parquet to tokenized tensors, beside DuckDB reading the same file and writing it sorted."""

from collections.abc import Mapping
from pathlib import Path

from benchmarks.speed.case import Case, Facts, Figure, Size
from benchmarks.speed.measured import taken
from benchmarks.speed.own_state import keep_state_in
from benchmarks.speed.tables import Shape, write_entities, write_events

SIZES: dict[Size, Shape] = {"small": Shape(500, 50_000), "full": Shape(50_000, 5_000_000)}
WARM = Shape(100, 20_000)
THREADS = 2
TASK = "spends"
PROJECT = """\
project_name: speed
raw_folder: raw
datasets:
  - {name: entities.parquet, primary_key: entity_id}
  - name: events.parquet
    primary_key: event_id
    time_column: happened
    foreign_keys: [{columns: entity_id, references_table: entities}]
tasks:
  - name: spends
    entity_table: entities
    kind: binary
    horizon_days: 30
    step_days: 90
    sql: spends
split: {validation_from: 2022-01-01, test_from: 2022-06-01}
"""
LABELS = """\
select entity_id, cutoff, cast(sum(amount) > 100 as integer) as label
from aligned.events
inner join aligned.cutoffs_spends on happened > cutoff and happened <= window_end
group by all
"""


def generated(folder: Path, size: Size) -> Facts:
    """The files, and a project of them."""
    (folder / "raw").mkdir()
    write_entities(folder / "raw" / "entities.parquet", SIZES[size])
    write_events(folder / "raw" / "events.parquet", SIZES[size])
    write_project(folder)
    file = folder / "raw" / "events.parquet"
    return {**SIZES[size]._asdict(), "events_mb": file.stat().st_size / 1e6}


def write_project(folder: Path) -> None:
    """The project file and its labels."""
    (folder / "nexusflow.yaml").write_text(PROJECT, "utf-8")
    models = folder / "dbt_like_sql" / "speed" / "aligned"
    models.mkdir(parents=True)
    (models / "spends.sql").write_text(LABELS, "utf-8")


def sorted_by_duckdb(folder: Path, size: Size) -> Facts:  # noqa: ARG001 - parts are called alike
    """The peer: both files read, sorted by key and time, and written."""
    import duckdb

    def work() -> None:
        with duckdb.connect(config={"threads": str(THREADS)}) as con:
            for name, order in (("entities", "entity_id"), ("events", "entity_id, happened")):
                con.execute(
                    f"copy (select * from read_parquet('{folder / 'raw' / name}.parquet') "
                    f"order by {order}) to '{folder / name}_sorted.parquet' (format parquet)"
                )

    return taken(work)[1].facts


def plainly(folder: Path, size: Size) -> Facts:  # noqa: ARG001 - parts are called alike
    """Our stages as functions, one after another, after a first time with a few rows."""
    stages_of(few_rows(folder, "few"))
    return stages_of(folder)


def few_rows(folder: Path, name: str) -> Path:
    """A project like the measured one: what libraries load when first used is no part of it."""
    few = folder / name
    (few / "raw").mkdir(parents=True)
    write_project(few)
    write_entities(few / "raw" / "entities.parquet", WARM)
    write_events(few / "raw" / "events.parquet", WARM)
    return few


def stages_of(folder: Path) -> Facts:
    """The stages of a project, each measured."""
    from nexus_pipeline.assembly import load_sql
    from nexus_pipeline.project import ProjectConfig, load_project
    from nexus_pipeline.steps import align
    from nexus_pipeline.steps.contracts import derive_contract
    from nexus_pipeline.steps.read_raw import read_raw
    from nexus_pipeline.steps.tokenize_task import tokenize_task
    from nexus_pipeline.steps.validate import validate_table
    from nexus_pipeline.storage import Store

    project: ProjectConfig = load_project(folder / "nexusflow.yaml")
    sql = load_sql(project)
    store = Store(folder / "plain.duckdb", threads=THREADS)
    names = [dataset.table for dataset in project.datasets]

    def raw() -> None:
        for name in names:
            read_raw(project, name, store)

    def validated() -> list[object]:
        contracts = [derive_contract(project, name, store) for name in names]
        for contract in contracts:
            validate_table(project, contract, store)
        return list(contracts)

    def aligned() -> None:
        from nexus_pipeline.sql.run import run_model

        for name in names:
            align.align_table(project, name, None, store)
        align.relate_tables(project, store)
        align.lay_cutoffs(project, TASK, store)
        run_model(store, sql.models[TASK])
        task = align.read_task(project, TASK, store)
        align.lay_samples(project, task, store)
        align.index_task(project, task, contracts, sql.texts, store)

    found = {"raw": taken(raw)[1]}
    contracts, found["validated"] = taken(validated)
    found["aligned"] = taken(aligned)[1]
    stored, found["tokenized"] = taken(lambda: tokenize_task(project, TASK, store))
    stages = {name: spent.facts for name, spent in found.items()}
    return {
        "wall_s": round(sum(spent.wall_s for spent in found.values()), 3),
        "cpu_s": round(sum(spent.cpu_s for spent in found.values()), 3),
        "peak_mb": round(max(spent.peak_mb for spent in found.values()), 1),
        "stages": stages,
        "tensors_mb": stored.facts["megabytes"],
    }


def orchestrated(folder: Path, size: Size) -> Facts:  # noqa: ARG001 - parts are called alike
    """The same through Dagster, with its records and checks, after a first run of a few rows.

    What a run of a few rows takes, once libraries are loaded, is told beside it.
    """
    keep_state_in(folder)
    _materialize(few_rows(folder, "warm"))
    few = few_rows(folder, "fewer")
    again = taken(lambda: _materialize(few))[1]
    facts = taken(lambda: _materialize(folder))[1].facts
    return {**facts, "few_rows_cpu_s": round(again.cpu_s, 3)}


def _materialize(folder: Path) -> None:
    from nexus_pipeline.run import materialize

    materialize(folder / "nexusflow.yaml", ("raw", "validated", "aligned", "tokenized"))


def judged(parts: Mapping[str, Facts], by: str) -> list[Figure]:
    """At most three times the peer."""
    peer = parts["sorted_by_duckdb"][by]
    return [
        Figure(f"{told} ({by})", parts[which][by], peer, "s", "at_most", 3.0)
        for which, told in (
            ("plainly", "stages as functions"),
            ("orchestrated", "stages through Dagster, with records and checks"),
        )
    ]


CASE = Case(
    question="raw Parquet to tokenized, memory-mapped tensors",
    peer="DuckDB reads the same Parquet and writes it sorted by key and time",
    packages=("duckdb", "polars", "pyarrow", "pandera", "numpy", "dagster"),
    parts={
        "generated": generated,
        "sorted_by_duckdb": sorted_by_duckdb,
        "plainly": plainly,
        "orchestrated": orchestrated,
    },
    judged=judged,
)
