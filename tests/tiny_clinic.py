"""A dirty folder of tables: a clinic with text dates, several encodings, orphans and free text.

Composite key, ids with a decimal point, a self-reference, half the visits without results, a
column that is filled only when the answer is known, and a table nobody refers to.
"""

import csv
import datetime as dt
import gzip
from pathlib import Path

import numpy as np

WORDS = [
    "patient",
    "stable",
    "reports",
    "pain",
    "severe",
    "mild",
    "fever",
    "discharged",
    "follow",
    "up",
    "good",
    "worse",
]
FIRST_DAY = dt.date(2023, 1, 1)


def write_clinic(folder: Path, patients: int = 200, seed: int = 3) -> None:
    """Nine files; same seed, same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    wards = [
        (f"W{i:02d}", name, 5 + i) for i, name in enumerate(["Kardiologie", "Pädiatrie", "Notfall"])
    ]
    doctors = [
        (1000 + 7 * i, f"Dr. {i}", wards[i % 3][0], "" if i < 5 else 1000 + 7 * (i % 5))
        for i in range(40)
    ]
    drugs = [(f"A{i:03d}", f"${rng.gamma(2, 300):,.2f}") for i in range(60)]
    severity = rng.normal(size=patients)
    people, visits, diagnoses, results, given, notes = [], [], [], [], [], []
    for patient, severe in enumerate(severity):
        key = f"P-{100000 + 3 * patient}"
        count = int(rng.poisson(1.2))
        for _ in range(count):
            visit = 50000 + 3 * len(visits)
            doctor = 999999 if rng.random() < 0.03 else doctors[int(rng.integers(0, 40))][0]
            visits.append((visit, key, doctor, a_day(rng, "%d.%m.%Y"), int(rng.gamma(2, 2))))
            codes = range(int(rng.poisson(1.5)))
            diagnoses += [(visit, k + 1, str(rng.choice(["I10", "E11", "J45"]))) for k in codes]
            if rng.random() < 0.5:
                value = f"{100 + 20 * severe:.1f}" if rng.random() > 0.1 else "NA"
                when = f"{a_day(rng, '%Y-%m-%d')} 08:30:00"
                results.append((len(results) + 1, f"{visit}.0", value, when))
            given.append((visit, drugs[int(rng.integers(0, 60))][0], f"{rng.integers(1, 2500):,}"))
            text = " ".join(rng.choice(WORDS, int(rng.integers(6, 20))))
            notes.append((len(notes) + 1, visit, text))
        back = rng.random() < 1 / (1 + np.exp(-(1.5 * severe + 0.3 * count)))
        born, age = a_day(rng, "%d/%m/%Y"), int(rng.integers(1, 95))
        reason = "sepsis" if back else ""
        people.append((key, born, f"p{patient}@mail.example", age, "yes" if back else "no", reason))
    heads = ["patient_id", "birth_dt", "email", "age", "readmitted", "readmission_reason"]
    rows_to(folder / "patients.csv", heads, people)
    rows_to(folder / "Stationen.csv", ["station_code", "Name", "Betten"], wards, "cp1252", ";")
    rows_to(folder / "doctors.csv", ["doctor_id", "name", "station", "manager_id"], doctors)
    visit_heads = ["adm_no", "patient", "doctor_id", "admitted_on", "los_days"]
    rows_to(folder / "admissions.tsv", visit_heads, visits, delimiter="\t")
    rows_to(folder / "diagnoses.csv", ["adm_no", "seq", "icd"], diagnoses)
    rows_to(
        folder / "lab_results.csv", ["lab_id", "adm_no", "value", "taken_at"], results, "utf-16"
    )
    rows_to(folder / "drugs.csv", ["atc", "list_price"], drugs)
    rows_to(folder / "notes.csv", ["note_id", "adm_no", "body"], notes)
    rows_to(
        folder / "audit_log.csv",
        ["ts", "message"],
        [("2024-01-01", f"x{i % 7}") for i in range(50)],
    )
    with gzip.open(folder / "prescriptions.csv.gz", "wt", encoding="utf-8", newline="") as text:
        csv.writer(text).writerows([("adm_no", "drug", "units"), *given])


def a_day(rng: np.random.Generator, form: str) -> str:
    """Some day of two years, written so."""
    return (FIRST_DAY + dt.timedelta(days=int(rng.integers(0, 700)))).strftime(form)


def rows_to(
    file: Path, head: list[str], rows: list, encoding: str = "utf-8", delimiter: str = ","
) -> None:
    """A file of rows, written as somebody else would."""
    with file.open("w", encoding=encoding, newline="") as text:
        csv.writer(text, delimiter=delimiter).writerows([head, *rows])
