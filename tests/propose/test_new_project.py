"""From a folder to a project: what is proposed loads, validates unedited, and says why."""

import csv
import datetime as dt
import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from nexus_model.schema import ConfigurationError
from nexus_pipeline import cli
from nexus_pipeline.project import ProjectConfig, load_project
from nexus_pipeline.propose import profile
from nexus_pipeline.propose.new_project import create_from
from nexus_pipeline.propose.problems import find_problems, line_of
from nexus_pipeline.scaffold import write_shop
from nexus_pipeline.steps.align import align_table
from nexus_pipeline.steps.contracts import derive_contract
from nexus_pipeline.steps.read_raw import read_raw
from nexus_pipeline.steps.validate import validate_table
from nexus_pipeline.storage import Store

RENAMED = {
    "customers": {"customer_id": "kd_nr"},
    "orders": {"order_id": "no", "customer_id": "customer"},
    "tickets": {"ticket_id": "tno", "customer_id": "cust_ref"},
}


def validated(project: ProjectConfig, store: Store) -> dict[str, int]:
    """Quarantined rows by table, as ``nexusflow validate`` makes them."""
    tables = [dataset.table for dataset in project.datasets]
    for table in tables:
        read_raw(project, table, store)
    contracts = {table: derive_contract(project, table, store) for table in tables}
    return {t: validate_table(project, c, store).quarantined for t, c in contracts.items()}


def renamed_shop(folder: Path, customers: int = 120) -> None:
    folder.mkdir()
    write_shop(folder, customers)
    for table, names in RENAMED.items():
        head, _, rows = (folder / f"{table}.csv").read_text().partition("\n")
        named = ",".join(names.get(name, name) for name in head.split(","))
        (folder / f"{table}.csv").write_text(f"{named}\n{rows}")


def test_the_clinics_keys_are_found(clinic):
    links = {link.told for link in clinic.proposal.keys.links}
    assert links == {
        "admissions.patient > patients.patient_id",
        "admissions.doctor_id > doctors.doctor_id",
        "diagnoses.adm_no > admissions.adm_no",
        "doctors.station > Stationen.station_code",
        "doctors.manager_id > doctors.doctor_id",
        "lab_results.adm_no > admissions.adm_no",
        "notes.adm_no > admissions.adm_no",
        "prescriptions.adm_no > admissions.adm_no",
        "prescriptions.drug > drugs.atc",
    }
    assert clinic.proposal.keys.primary["diagnoses"].columns == ("adm_no", "seq")


def test_a_proposal_loads_and_validates_without_hand_edits(clinic, tmp_path):
    project = load_project(clinic.folder / "nexusflow.yaml")
    assert "audit_log" not in {dataset.table for dataset in project.datasets}
    assert set(validated(project, Store(tmp_path / "s.duckdb")).values()) == {0}


def test_a_column_filled_only_with_the_answer_is_ignored_with_the_reason(clinic):
    text = (clinic.folder / "nexusflow.yaml").read_text(encoding="utf-8")
    project = load_project(clinic.folder / "nexusflow.yaml")
    assert "readmission_reason" in project["patients"].ignore_columns
    assert "suspected leak: it is filled just where" in text


def test_a_birth_date_is_no_time_of_a_row(clinic):
    project = load_project(clinic.folder / "nexusflow.yaml")
    assert project["patients"].time_column is None
    assert project["admissions"].time_column == "admitted_on"


def test_numbers_written_as_text_are_read_by_an_sql_model(clinic):
    models = clinic.folder / "dbt_like_sql" / "clinic" / "aligned"
    assert {path.stem for path in models.iterdir()} == {"drugs", "lab_results", "prescriptions"}


def test_every_proposed_key_line_has_a_reason(clinic):
    lines = (clinic.folder / "nexusflow.yaml").read_text(encoding="utf-8").splitlines()
    asked = [n for n, line in enumerate(lines) if re.match(r"\s+(primary_key|time_column):", line)]
    assert asked
    assert all("#" in lines[n] or lines[n - 1].lstrip().startswith("#") for n in asked)


def test_the_same_tables_give_the_same_file(tmp_path):
    renamed_shop(tmp_path / "tables", 40)
    texts = set()
    for parent in (tmp_path / "one", tmp_path / "two"):
        parent.mkdir()
        made = create_from(parent, "mine", tmp_path / "tables")
        texts.add((made.folder / "nexusflow.yaml").read_text(encoding="utf-8"))
    assert len(texts) == 1


def test_a_shop_with_other_key_names_is_proposed_and_its_target_guessed(tmp_path):
    renamed_shop(tmp_path / "tables")
    made = create_from(tmp_path, "mine", tmp_path / "tables")
    assert made.proposal.target.told == "customers.churned"
    assert {link.told for link in made.proposal.keys.links} == {
        "orders.customer > customers.kd_nr",
        "tickets.cust_ref > customers.kd_nr",
    }


def test_keys_of_another_type_are_made_alike(tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    with (folder / "clients.csv").open("w") as text:
        csv.writer(text).writerows([("client_id", "won"), *((i, i % 2) for i in range(60))])
    with (folder / "calls.csv").open("w") as text:
        rows = ((f"c{i}", i % 60 if i % 9 else "NA") for i in range(150))
        csv.writer(text).writerows([("call_id", "client_id"), *rows])
    made = create_from(tmp_path, "sales", folder)
    project = load_project(made.folder / "nexusflow.yaml")
    assert set(validated(project, Store(tmp_path / "s.duckdb")).values()) == {0}


def test_a_target_in_a_table_without_a_key_gets_row_numbers(tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    with (folder / "visits.csv").open("w") as text:
        csv.writer(text).writerows([("kind", "late"), *((f"k{i % 3}", i % 2) for i in range(60))])
    made = create_from(tmp_path, "visits", folder, "visits.late")
    project = load_project(made.folder / "nexusflow.yaml")
    assert project["visits"].primary_key == ("row_number",)
    assert validated(project, Store(tmp_path / "s.duckdb")) == {"visits": 0}


def test_rows_later_than_the_row_asked_about_are_warned_of(tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    with (folder / "orders.csv").open("w") as text:
        rows = ((i + 500, f"2024-01-{i % 28 + 1:02d}", i % 2) for i in range(60))
        csv.writer(text).writerows([("order_id", "ordered_at", "returned"), *rows])
    with (folder / "parcels.csv").open("w") as text:
        rows = ((i, i % 60 + 500, f"2024-02-{i % 9 + 1:02d}") for i in range(90))
        csv.writer(text).writerows([("parcel_id", "order_id", "sent_at"), *rows])
    made = create_from(tmp_path, "mine", folder, "orders.returned")
    assert "Look out: 100% of the rows of parcels are later" in (
        made.folder / "nexusflow.yaml"
    ).read_text(encoding="utf-8")


def test_a_time_written_as_text_becomes_the_time_column_by_an_sql_model(tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    days = [f"{day:%b %d, %Y}" for day in some_days(60)]
    with (folder / "orders.csv").open("w") as text:
        rows = ((900 + i, day if i else "n/a", i % 7, i % 2) for i, day in enumerate(days))
        csv.writer(text).writerows([("order_id", "ordered", "items", "returned"), *rows])
    made = create_from(tmp_path, "mine", folder, "orders.returned")
    project, store = load_project(made.folder / "nexusflow.yaml"), Store(tmp_path / "s.duckdb")
    assert project["orders"].time_column == "known_at"
    assert validated(project, store) == {"orders": 0}
    sql = (project.sql_folder / "aligned" / "orders.sql").read_text(encoding="utf-8")
    align_table(project, "orders", sql, store)
    with store.read() as con:
        found = con.sql("select min(_time), count(_time) from aligned.orders").fetchall()
    assert found == [(dt.datetime(2024, 1, 2), 59)]


def some_days(count: int) -> list[dt.date]:
    return [dt.date(2024, 1, 1) + dt.timedelta(days=day) for day in range(count)]


def test_a_large_table_is_profiled_by_a_sample_which_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(profile, "MOST_ROWS", 100)
    monkeypatch.setattr(profile, "SAMPLED", 80)
    renamed_shop(tmp_path / "tables")
    made = create_from(tmp_path, "mine", tmp_path / "tables", "customers.churned")
    text = (made.folder / "nexusflow.yaml").read_text(encoding="utf-8")
    assert "profiled by 80 rows drawn from them" in text
    assert {link.parent for link in made.proposal.keys.links} == {"customers"}
    assert made.proposal.keys.primary["customers"].columns == ("kd_nr",)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("patient.readmitted", "did you mean patients.readmitted"),
        ("patients.readmited", "did you mean 'readmitted'"),
        ("readmitted", "must be table.column"),
    ],
)
def test_a_target_that_is_not_there_is_refused_with_the_nearest(tmp_path, target, said):
    folder = tmp_path / "tables"
    folder.mkdir()
    people = "patient_id,readmitted\n" + "".join(f"{i},{i % 2}\n" for i in range(40))
    (folder / "patients.csv").write_text(people)
    with pytest.raises(ConfigurationError, match=said):
        create_from(tmp_path, "clinic", folder, target)
    assert [path.name for path in tmp_path.iterdir()] == ["tables"]


def test_init_from_a_folder_says_what_it_found_and_what_is_next(clinic, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    renamed_shop(tmp_path / "tables")
    shown = CliRunner().invoke(cli.app, ["init", "mine", "--from", "tables"])
    assert shown.exit_code == 0, shown.output
    assert "orders: " in shown.output
    assert "cd mine && nexusflow validate" in shown.output


def test_a_problem_names_table_column_count_examples_and_line(clinic, tmp_path):
    file = tmp_path / "nexusflow.yaml"
    text = (clinic.folder / "nexusflow.yaml").read_text(encoding="utf-8")
    file.write_text(text.replace("[adm_no, seq]", "adm_no"), encoding="utf-8")
    project = ProjectConfig(**yaml.safe_load(file.read_text("utf-8")), root=clinic.folder)
    store = Store(tmp_path / "s.duckdb")
    quarantined = validated(project, store)["diagnoses"]
    repeated, orphans = sorted(
        find_problems(project, store, file), key=lambda p: p.table != "diagnoses"
    )[:2]
    assert (repeated.column, repeated.rows) == ("adm_no", quarantined)
    assert len(repeated.examples) == 5
    assert "primary_key: adm_no" in file.read_text("utf-8").splitlines()[repeated.line - 1]
    assert (orphans.table, orphans.column) == ("admissions", "doctor_id")


def test_a_dataset_written_on_one_line_has_that_line():
    text = "datasets:\n  - {name: a.csv, primary_key: x}\n  - name: b.csv\n"
    assert line_of(text, "a.csv", "time_column") == 2
    assert line_of(text, "b.csv", "primary_key") == 3
