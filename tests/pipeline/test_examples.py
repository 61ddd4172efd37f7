"""The example projects on real tables: they load, their SQL parses, and their samples are counted.

Counting runs where the packages with the tables are installed (the extra ``examples``).
"""

import datetime as dt
import importlib.util
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from nexus_model.align.samples import cutoffs_select
from nexus_pipeline.defs.aligned import SqlProject, load_sql
from nexus_pipeline.project import ProjectConfig, load_project
from nexus_pipeline.sql.check import run_check
from nexus_pipeline.sql.run import run_model
from nexus_pipeline.steps import plan
from nexus_pipeline.steps.read_raw import read_raw
from nexus_pipeline.storage import Store

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMES = ("baseball", "flights", "retail")


class Tables(NamedTuple):
    """A project whose tables are read and whose SQL models have run, without keys or links."""

    project: ProjectConfig
    sql: SqlProject
    store: Store

    def ask(self, query: str) -> list[tuple[object, ...]]:
        with self.store.read() as con:
            return con.sql(query).fetchall()

    def by_split(self, labels: str) -> list[tuple[int, float]]:
        """Samples and mean label of training, validation and test, by cutoff alone."""
        split = self.project.split
        found = self.ask(
            f"select (cutoff >= timestamp '{split.validation_from}')::int"
            f" + (cutoff >= timestamp '{split.test_from}')::int as split, count(*), avg(label)"
            f" from aligned.{labels} group by split order by split"
        )
        return [(int(str(row[1])), round(float(str(row[2])), 3)) for row in found]

    def failures(self, check: str) -> int:
        return run_check(self.store, self.sql.checks[check]).failures


def example(name: str) -> ProjectConfig:
    return load_project(EXAMPLES / name / "nexusflow.yaml")


def show(store: Store, table: str, *, of: str) -> None:
    """Take the raw rows as they are for the validated ones: of these files all are accepted."""
    with store.write() as con:
        con.execute("create schema if not exists validated")
        con.execute(f'create view validated."{table}" as select * exclude (_row) from raw."{of}"')


def tables(name: str, folder: Path, read: Iterable[str], models: Iterable[str]) -> Tables:
    """Some tables of an example and some of its models, in the order they depend on each other."""
    package = str(example(name).raw_folder).removeprefix("package:").partition("/")[0]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"package {package} is not installed; it is in the extra 'examples'")
    project, store = example(name), Store(folder / "store.duckdb")
    sql = load_sql(project)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("NEXUS_RAW", raising=False)
        for table in read:
            read_raw(project, table, store)
            show(store, table, of=table)
    wanted = set(models)
    for model in sql.models.values():
        if model.name in wanted:
            run_model(store, model)
    return Tables(project, sql, store)


@pytest.fixture(scope="module")
def baseball(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    read = ("People", "Teams", "Appearances", "Batting", "AllstarFull", "Salaries")
    folder = tmp_path_factory.mktemp("baseball")
    return tables("baseball", folder, read, (*read, "next_allstar", "next_salary"))


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = tmp_path_factory.mktemp("flights")
    made = tables("flights", folder, ("flights", "airports", "weather"), ("flights", "weather"))
    show(made.store, "departures", of="flights")  # the same file three times
    show(made.store, "arrivals", of="flights")
    for name in ("departures", "arrivals", "late_arrival"):
        run_model(made.store, made.sql.models[name])
    return made


@pytest.mark.parametrize("name", NAMES)
def test_an_example_loads_and_every_model_is_a_table_or_a_tasks_labels(name: str) -> None:
    project = example(name)
    sql = load_sql(project)
    expected = {d.table for d in project.datasets} | {task.sql for task in project.tasks}
    assert set(sql.models) == expected
    assert len(sql.checks) >= 4


@pytest.mark.parametrize("name", NAMES)
def test_an_example_says_where_its_tables_are_from(name: str) -> None:
    told = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
    package = str(example(name).raw_folder).removeprefix("package:").partition("/")[0]
    assert f"`{package}`" in told
    assert "Licence" in told


def test_no_example_ships_its_tables() -> None:
    files = [path.relative_to(EXAMPLES) for path in EXAMPLES.rglob("*.*")]
    shipped = [path for path in files if "data" not in path.parts]  # what a run makes
    assert shipped
    assert not [path for path in shipped if path.suffix in {".csv", ".parquet", ".zip", ".gz"}]


def test_baseball_asks_who_is_an_all_star_as_often_as_counted(baseball: Tables) -> None:
    found = baseball.by_split("next_allstar")
    assert found == [(42_077, 0.063), (10_142, 0.057), (13_811, 0.054)]


def test_a_season_without_a_next_game_is_not_asked_about(baseball: Tables) -> None:
    asked = {row[0] for row in baseball.ask("select year(cutoff) - 1 from aligned.next_allstar")}
    assert asked == set(range(1960, 2024)) - {2019}


def test_baseball_asks_for_the_next_pay_in_log_dollars(baseball: Tables) -> None:
    assert [count for count, _ in baseball.by_split("next_salary")] == [15_390, 6_302, 2_369]
    lowest, highest = baseball.ask("select min(label), max(label) from aligned.next_salary")[0]
    assert 4 < float(str(lowest)) < float(str(highest)) < 7.6


@pytest.mark.parametrize(
    "check",
    [
        "seasons_are_known_before_new_year",
        "a_player_does_not_play_before_his_first_game",
        "rates_are_shares",
        "a_season_has_one_row_per_team",
    ],
)
def test_what_baseball_asserts_of_its_tables_holds(baseball: Tables, check: str) -> None:
    assert baseball.failures(check) == 0


def test_flights_are_asked_about_as_often_as_counted(flights: Tables) -> None:
    found = flights.by_split("late_arrival")
    assert found == [(217_727, 0.256), (55_628, 0.151), (53_991, 0.250)]


def test_the_clock_at_the_destination_says_when_a_flight_arrived(flights: Tables) -> None:
    found = flights.ask(
        "select count(*) from aligned.arrivals as past"
        " inner join validated.flights as told using (time_hour, carrier, flight)"
        " inner join validated.airports as airports on told.dest = airports.faa"
        " where past.arrival_delay is not null and airports.tzone <> 'NA'"
        " and strftime(timezone(airports.tzone, timezone('UTC', past.known_at + interval 5 hour)),"
        " '%H%M')::int <> told.arr_time::int % 2400"
    )
    assert found == [(1,)]  # of 319,952: that one was under way when the clocks changed


@pytest.mark.parametrize(
    "check",
    [
        "no_flight_sees_itself",
        "a_flight_takes_as_long_as_it_is_far",
        "weather_is_known_before_its_flights_leave",
        "a_timetable_tells_no_outcome",
    ],
)
def test_what_flights_assert_of_their_tables_holds(flights: Tables, check: str) -> None:
    assert flights.failures(check) == 0


@pytest.mark.parametrize("column", ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"])
def test_what_a_flight_did_is_read_by_the_past_alone(column: str) -> None:
    models = load_sql(example("flights")).models
    read = {name for name, model in models.items() if re.search(rf"\b{column}\b", model.sql)}
    assert read <= {"departures", "arrivals"}


@pytest.fixture(scope="module")
def retail(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    read = tuple(d.table for d in example("retail").datasets)
    made = tables("retail", tmp_path_factory.mktemp("retail"), read, read)
    for task in made.project.tasks:
        # From the first campaign to the last, which is where its tables reach.
        first, last = dt.datetime(2016, 11, 14), dt.datetime(2017, 12, 28)
        moments = cutoffs_select(plan.grid(made.project, task.name), first, last)
        with made.store.write() as con:
            con.execute(f"create table aligned.cutoffs_{task.name} as {moments}")
        run_model(made.store, made.sql.models[str(task.sql)])
    return made


def test_households_are_asked_about_as_often_as_counted(retail: Tables) -> None:
    assert [count for count, _ in retail.by_split("next_spend")] == [6_276, 1_597, 1_602]
    redeemed = [(2_137, 0.115), (758, 0.109), (1_327, 0.17)]
    assert retail.by_split("next_redemption") == redeemed


@pytest.mark.parametrize("check", sorted(load_sql(example("retail")).checks))
def test_what_retail_asserts_of_its_tables_holds(retail: Tables, check: str) -> None:
    assert retail.failures(check) == 0


def test_retail_says_that_its_households_are_simulated() -> None:
    assert "**The data is simulated**" in (EXAMPLES / "retail/README.md").read_text("utf-8")
