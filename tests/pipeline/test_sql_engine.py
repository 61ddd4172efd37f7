"""SQL models are single SELECTs over known tables, run in order, with their lineage read."""

from pathlib import Path

import polars as pl
import pytest

from nexus_model.schema import ConfigurationError, DataError
from nexus_pipeline.sql import (
    SqlModel,
    column_lineage,
    load_checks,
    load_models,
    result_columns,
    run_check,
    run_model,
    run_order,
)
from nexus_pipeline.storage import Store

KNOWN = ("validated.races", "validated.results", "aligned.cutoffs_dnf")
COLUMNS = {
    "validated.races": ("id", "heldOn", "order"),
    "validated.results": ("raceId", "driverId", "points"),
    "aligned.cutoffs_dnf": ("cutoff", "window_end"),
}
F1 = Path(__file__).parents[2] / "dbt_like_sql" / "f1"


def models(folder: Path, **texts: str) -> dict[str, SqlModel]:
    """Load models from files of these texts."""
    for name, text in texts.items():
        (folder / f"{name}.sql").write_text(text)
    return load_models(folder, known_tables=KNOWN)


def model(folder: Path, text: str) -> SqlModel:
    """One model named m."""
    return models(folder, m=text)["m"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store.duckdb")
    store.replace(
        "validated.races", pl.DataFrame({"id": [2, 1, 3], "heldOn": [5, 5, 4], "order": [1, 2, 3]})
    )
    store.replace(
        "validated.results",
        pl.DataFrame({"raceId": [1, 1, 2], "driverId": ["a", "b", "a"], "points": [10, 6, 8]}),
    )
    return store


def test_a_model_is_its_text_its_tables_and_its_columns(tmp_path: Path) -> None:
    text = (
        "-- what it is\nselect r.id, c.cutoff as at from validated.races r, Aligned.Cutoffs_DNF c"
    )
    found = model(tmp_path, f"{text} ; -- the end\n")
    assert found.sql == text
    assert found.depends_on == ("aligned.cutoffs_dnf", "validated.races")
    assert (found.columns, found.table) == (("id", "at"), "aligned.m")


def test_a_model_round_trips_through_json(tmp_path: Path) -> None:
    found = model(tmp_path, "select id from validated.races")
    assert SqlModel.model_validate_json(found.model_dump_json()) == found


def test_a_project_without_sql_has_no_models(tmp_path: Path) -> None:
    assert load_models(tmp_path / "nowhere", known_tables=KNOWN) == {}
    assert load_checks(tmp_path / "nowhere") == {}


def test_names_of_ctes_are_not_tables(tmp_path: Path) -> None:
    text = "with races as (select id from validated.races) select id from races"
    assert model(tmp_path, text).depends_on == ("validated.races",)


def test_tables_in_subqueries_are_dependencies(tmp_path: Path) -> None:
    text = "select id from validated.races where id in (select raceId from validated.results)"
    assert model(tmp_path, text).depends_on == ("validated.races", "validated.results")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "must be one SELECT, got 0 statements"),
        ("-- nothing\n", "must be one SELECT, got 0 statements"),
        ("select 1 as a; select 2 as b", "must be one SELECT, got 2 statements"),
        ("create table x as select 1 as a", "must be a SELECT, got CREATE"),
        ("drop table validated.races", "must be a SELECT, got DROP"),
        ("copy validated.races to 'x.csv'", "must be a SELECT, got COPY"),
        ("selec id from validated.races", "not DuckDB SQL"),
        ("select id from validated.race", "'validated.race'; did you mean validated.races"),
        ("select id from raw.races", "reads 'raw.races'; did you mean validated.races"),
        ("select id from races", "reads 'races'; did you mean validated.races"),
        ("select id from 'races.parquet'", "reads 'races.parquet'; known: aligned.cutoffs_dnf"),
        ("select a from read_csv('x.csv')", "only tables can be read"),
        ("select a from glob('*')", "only tables can be read"),
        ("select id from other.validated.races", "reads 'other.validated.races'"),
        ("select count(*) from validated.races", r"column 1 needs a name"),
        ("select id, heldOn as ID from validated.races", r"\['ID', 'id'\] come more than once"),
    ],
)
def test_a_file_that_is_not_one_select_over_known_tables_is_named(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"(?s)m\.sql: .*{told}"):
        model(tmp_path, text)


def test_a_file_whose_name_is_no_sql_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "my-model.sql").write_text("select 1 as a")
    with pytest.raises(ConfigurationError, match="my-model"):
        load_models(tmp_path, known_tables=KNOWN)


def test_counting_functions_and_unions_may_be_read(tmp_path: Path) -> None:
    assert model(tmp_path, "select i from range(3) t(i) union all select 9").columns == ("i",)
    text = "select u.x from validated.races, unnest([1, 2]) as u(x)"
    assert model(tmp_path, text).depends_on == ("validated.races",)


def test_models_run_after_the_models_they_read(tmp_path: Path) -> None:
    found = models(
        tmp_path,
        a="select id from aligned.c",
        b="select id from validated.races",
        c="select id from aligned.d",
        d="select id from validated.races",
    )
    assert run_order(found) == ("b", "d", "c", "a")


def test_a_circle_of_models_names_its_files(tmp_path: Path) -> None:
    found = models(tmp_path, a="select id from aligned.b", b="select id from aligned.a")
    with pytest.raises(ConfigurationError, match=r"a\.sql -> b\.sql -> a\.sql|b\.sql -> a\.sql"):
        run_order(found)


def test_a_model_that_reads_itself_is_a_circle(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"m\.sql -> m\.sql"):
        run_order({"m": model(tmp_path, "select id from aligned.m")})


def test_lineage_goes_through_ctes_joins_windows_and_aggregates(tmp_path: Path) -> None:
    text = """
    with scored as (
        select raceId, driverId, sum(points) as points, count(*) as n
        from validated.results group by all
    )
    select
        scored.driverId as driver,
        scored.points / nullif(scored.n, 0) as mean_points,
        scored.n,
        row_number() over (partition by races."order" order by scored.points) as place,
        races.heldOn + 1 as known_at,
        1 as one
    from scored join validated.races as races on races.id = scored.raceId
    """
    assert column_lineage(model(tmp_path, text), COLUMNS) == {
        "driver": (("validated.results", "driverId"),),
        "mean_points": (("validated.results", "points"),),
        "n": (),
        "place": (("validated.races", "order"), ("validated.results", "points")),
        "known_at": (("validated.races", "heldOn"),),
        "one": (),
    }


def test_lineage_expands_stars_and_places_bare_names(tmp_path: Path) -> None:
    text = (
        "with r as (select * from validated.results) "
        "select r.*, heldOn as at from r join validated.races on id = raceId"
    )
    found = model(tmp_path, text)
    assert found.columns == ()
    assert result_columns(found, COLUMNS) == ("raceId", "driverId", "points", "at")
    assert column_lineage(found, COLUMNS)["points"] == (("validated.results", "points"),)
    assert column_lineage(found, COLUMNS)["at"] == (("validated.races", "heldOn"),)


def test_lineage_of_a_union_names_both_sides(tmp_path: Path) -> None:
    text = "select id as x from validated.races union all select raceId from validated.results"
    expected = (("validated.races", "id"), ("validated.results", "raceId"))
    assert column_lineage(model(tmp_path, text), COLUMNS) == {"x": expected}


def test_lineage_without_known_columns_still_follows_qualified_names(tmp_path: Path) -> None:
    text = "select races.heldOn as at from validated.races as races"
    found = column_lineage(model(tmp_path, text), {})
    assert found == {"at": (("validated.races", "heldOn"),)}


def test_a_model_replaces_its_table_in_its_own_order(store: Store, tmp_path: Path) -> None:
    text = "select id, heldOn from validated.races order by heldOn desc -- ties by id"
    assert run_model(store, model(tmp_path, text)) == 3
    assert store.frame("aligned.m").to_pydict() == {"id": [1, 2, 3], "heldOn": [5, 5, 4]}


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("select id from validated.races", [1, 2, 3]),
        ("select id from validated.races -- no order", [1, 2, 3]),
        ("select id, heldOn from validated.races order by all", [1, 2, 3]),
        ("select id from validated.races order by id desc limit 2", [3, 2]),
        ("select id from validated.races limit 3", [1, 2, 3]),
        ("select id from validated.races union all select 0 order by id desc", [3, 2, 1, 0]),
        ("with x as (select * from validated.races) select * from x order by heldOn", [3, 1, 2]),
    ],
)
def test_the_order_of_a_result_never_varies(
    store: Store, tmp_path: Path, text: str, ids: list[int]
) -> None:
    run_model(store, model(tmp_path, text))
    assert store.frame("aligned.m")["id"].to_pylist() == ids


def test_a_model_with_many_ties_has_the_same_hash_with_any_number_of_threads(
    tmp_path: Path,
) -> None:
    text = "select id % 7 as k, count(*) as n, id from validated.races group by all order by k"
    hashes = set()
    for threads in (1, 2, 4):
        store = Store(tmp_path / f"{threads}.duckdb", threads=threads)
        store.replace("validated.races", "SELECT i AS id FROM range(200000) AS t(i)")
        run_model(store, model(tmp_path, text))
        hashes.add(store.content_hash("aligned.m"))
    assert len(hashes) == 1


def test_a_column_that_is_not_there_names_the_file(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"(?s)m\.sql: .*held_on"):
        run_model(store, model(tmp_path, "select held_on from validated.races"))


def test_a_value_that_cannot_be_cast_leaves_the_old_table(store: Store, tmp_path: Path) -> None:
    run_model(store, model(tmp_path, "select id from validated.races"))
    broken = model(tmp_path, "select cast(driverId as integer) as id from validated.results")
    with pytest.raises(DataError, match=r"aligned\.m: m\.sql"):
        run_model(store, broken)
    assert store.rows("aligned.m") == 3


def test_a_check_passes_when_it_finds_no_rows(store: Store, tmp_path: Path) -> None:
    (tmp_path / "no_late_race.sql").write_text("select id from validated.races where heldOn > 9;")
    result = run_check(store, load_checks(tmp_path)["no_late_race"])
    assert result.passed
    assert (result.failures, result.examples) == (0, ())


def test_a_check_that_finds_rows_counts_them_and_shows_some(store: Store, tmp_path: Path) -> None:
    (tmp_path / "no_race.sql").write_text('select id, "order" as o from validated.races -- all')
    check = load_checks(tmp_path, known_tables=KNOWN)["no_race"]
    result = run_check(store, check)
    assert not result.passed
    assert (result.failures, result.examples[0]) == (3, "id=2, o=1")
    assert check.reads == ("validated.races",)


def test_a_check_of_an_unknown_table_or_column_names_its_file(store: Store, tmp_path: Path) -> None:
    (tmp_path / "c.sql").write_text("select idd from validated.racess")
    with pytest.raises(ConfigurationError, match=r"c\.sql: reads 'validated.racess'; did you"):
        load_checks(tmp_path, known_tables=KNOWN)
    with pytest.raises(ConfigurationError, match=r"(?s)c\.sql: .*racess"):
        run_check(store, load_checks(tmp_path)["c"])


def test_the_f1_models_load_and_have_an_order() -> None:
    tables = "races circuits drivers constructors race_results qualifying_results"
    tables += " driver_standings constructor_standings"
    known = {f"validated.{name}" for name in tables.split()}
    known |= {f"aligned.cutoffs_{task}" for task in ("position", "dnf", "top3")}
    found = load_models(F1 / "aligned", known_tables=known)
    order = run_order(found)
    assert order.index("races") < order.index("race_results") < order.index("driver_dnf")
    assert all(found[name].columns for name in order)
