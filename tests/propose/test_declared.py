"""Keys that SQLite and DuckDB files declare, names with umlauts, ids that are called alike."""

import csv
import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from nexus_model.schema import ConfigurationError
from nexus_pipeline.project import load_project
from nexus_pipeline.propose.new_project import NewProject, create_from

ROWS = 60


def sqlite_file(folder: Path, *, kept: bool = True) -> Path:
    """Two tables whose columns' names say nothing; ``kept`` False repeats a declared key."""
    folder.mkdir()
    with closing(sqlite3.connect(folder / "shop.sqlite")) as con:
        con.execute("create table Kunde (Nr integer, Art text, Neu integer, primary key (nr))")
        con.execute("create table Kauf (Nummer integer primary key, Wer integer references KUNDE)")
        rows = [(i + 1, "ab"[i % 2], i % 2) for i in range(ROWS)]
        con.executemany("insert into Kunde values (?, ?, ?)", rows)
        buyers = [(i + 500, i % ROWS + (1 if kept else 9000)) for i in range(90)]
        con.executemany("insert into Kauf values (?, ?)", buyers)
        con.commit()
    return folder


def test_keys_a_sqlite_file_declares_are_believed(tmp_path):
    made = create_from(tmp_path, "mine", sqlite_file(tmp_path / "in"), "Kunde.Neu")
    assert {link.told for link in made.proposal.keys.links} == {"Kauf.Wer > Kunde.Nr"}
    assert "declared in shop.sqlite" in (made.folder / "nexusflow.yaml").read_text()


def test_a_declared_key_that_the_rows_do_not_keep_is_not_believed(tmp_path):
    made = create_from(tmp_path, "mine", sqlite_file(tmp_path / "in", kept=False), "Kunde.Neu")
    assert made.proposal.keys.links == ()


def test_keys_of_several_columns_a_duckdb_file_declares_are_believed(tmp_path):
    (tmp_path / "in").mkdir()
    with duckdb.connect(str(tmp_path / "in" / "lab.duckdb")) as con:
        con.execute("create table probes (a text, b int, ok boolean, primary key (a, b))")
        con.execute(
            "create table seen (x text, y int, mg double, foreign key (x, y) "
            "references probes (a, b))"
        )
        con.execute("insert into probes select 's' || (i % 9), i, i % 2 = 0 from range(60) r(i)")
        con.execute("insert into seen select 's' || (i % 9), i, i / 7 from range(60) r(i)")
    made = create_from(tmp_path, "mine", tmp_path / "in", "probes.ok")
    assert made.proposal.keys.primary["probes"].columns == ("a", "b")
    assert {link.told for link in made.proposal.keys.links} == {"seen.x+y > probes.a+b"}


def written(folder: Path, **tables: list[tuple[object, ...]]) -> Path:
    folder.mkdir()
    for name, rows in tables.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as text:
            csv.writer(text).writerows(rows)
    return folder


def umlauts(tmp_path: Path) -> NewProject:
    members = [("id", "größe", "gekündigt"), *((i, 170 + i % 9, i % 2) for i in range(1, 61))]
    visits = [("nr", "mitglied_id"), *((900 + i, i % 60 + 1) for i in range(150))]
    folder = written(tmp_path / "in", Mitgliederübersicht=members, Besuche=visits)
    return create_from(tmp_path, "verein", folder, "Mitgliederuebersicht.gekündigt")


def test_names_with_umlauts_become_names_of_tables_and_tasks(tmp_path):
    project = load_project(umlauts(tmp_path).folder / "nexusflow.yaml")
    assert {d.table for d in project.datasets} >= {"Mitgliederuebersicht"}
    assert project.task_names == ("gekuendigt",)


def test_an_id_that_repeats_names_the_one_table_with_such_a_key(tmp_path):
    patients = [("id", "sex", "status"), *((i, "mf"[i % 2], i % 3) for i in range(1, 61))]
    visits = [("id", "day", "bili"), *((i % 50 + 1, i, i / 7) for i in range(200))]
    folder = written(tmp_path / "in", patients=patients, visits=visits)
    made = create_from(tmp_path, "trial", folder, "patients.status")
    assert {link.told for link in made.proposal.keys.links} == {"visits.id > patients.id"}


def test_a_column_of_a_child_table_that_repeats_the_answer_is_left_out(tmp_path):
    patients = [("id", "sex", "died"), *((i, "mf"[i % 2], i * 7 % 3 // 2) for i in range(1, 91))]
    visits = [("id", "day", "end", "bili")]
    visits += [(i % 90 + 1, i, (i % 90 + 1) * 7 % 3 // 2, i / 7) for i in range(300)]
    folder = written(tmp_path / "in", patients=patients, visits=visits)
    made = create_from(tmp_path, "trial", folder, "patients.died")
    assert [(leak.table, leak.column) for leak in made.proposal.leaks] == [("visits", "end")]
    project = load_project(made.folder / "nexusflow.yaml")
    assert "end" in project["visits"].ignore_columns


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Straßen", "write name: Strassen and path: Straßen"),
        ("links_orders", "something we make has this name"),
        ("database", "something we make has this name"),
    ],
)
def test_a_table_that_cannot_have_its_name_is_refused_with_what_to_do(tmp_path, name, said):
    (tmp_path / "nexusflow.yaml").write_text(
        "project_name: mine\ntarget: {target_table: orders, target_column: late}\n"
        f"datasets: [{{name: orders, primary_key: id}}, {{name: {name}}}]\n",
        encoding="utf-8",
    )
    with pytest.raises(ConfigurationError, match=said):
        load_project(tmp_path / "nexusflow.yaml")
