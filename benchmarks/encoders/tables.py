"""The two public tables, their splits and their tokens, made by the library's own codecs.

B samples, R rows (a sample is a row), C columns.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from nexus_model.schema import TaskKind, TaskSpec
from nexus_model.tokenize.batch import TableRows
from nexus_model.tokenize.columns import (
    bin_edges,
    encode_categorical,
    encode_numerical,
    fit_categorical,
    fit_numerical,
    numbers,
)
from nexus_model.tokenize.statistics import (
    LabelScale,
    NumericalColumn,
    NumericalScaling,
    TableTokenizer,
)

Array = np.ndarray
HOUSING = (
    "longitude", "latitude", "age", "rooms", "bedrooms", "population", "households", "income",
    "value",
)  # fmt: skip
ADULT_NUMBERS = (
    "age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week",
)  # fmt: skip
ADULT_CLASSES = (
    "workclass", "education", "marital-status", "occupation", "relationship", "race", "sex",
    "native-country",
)  # fmt: skip


class Table(NamedTuple):
    """A table as read: columns, labels, and the row numbers of train, val and test."""

    task: TaskSpec
    numbers: dict[str, Array]
    classes: dict[str, pa.Array]
    label_B: Array
    split: dict[str, Array]


class Tokens(NamedTuple):
    """The same as the model's input; everything was fitted on the rows of train."""

    tokenizer: TableTokenizer
    rows: TableRows
    label_B: Tensor
    scale: LabelScale


def read_table(folder: Path, name: str, split_seed: int) -> Table:
    """One of the two tables, by name."""
    match name:
        case "california":
            return _california(folder / "california_housing" / "cal_housing.data", split_seed)
        case "adult":
            return _adult(folder / "adult", split_seed)
        case _:
            raise ValueError(f"table must be california or adult, got {name}")


def _california(file: Path, split_seed: int) -> Table:
    """The eight columns scikit-learn makes of the raw ones; the label in 100,000 dollars."""
    raw = dict(zip(HOUSING, np.loadtxt(file, delimiter=",").T, strict=True))
    found = {
        "income": raw["income"],
        "age": raw["age"],
        "rooms": raw["rooms"] / raw["households"],
        "bedrooms": raw["bedrooms"] / raw["households"],
        "population": raw["population"],
        "occupancy": raw["population"] / raw["households"],
        "latitude": raw["latitude"],
        "longitude": raw["longitude"],
    }
    task = TaskSpec(name="california", kind=TaskKind.REGRESSION, entity_table="california")
    rest, test = train_test_split(
        np.arange(len(raw["value"])), test_size=0.2, random_state=split_seed
    )
    train, val = train_test_split(rest, test_size=0.2, random_state=split_seed)
    split = {"train": train, "val": val, "test": test}
    return Table(task, found, {}, raw["value"] / 1e5, split)


def _adult(folder: Path, split_seed: int) -> Table:
    """The official test rows; a fifth of the others validates; ``?`` is missing."""
    parts = [_adult_part(folder / name) for name in ("adult.data", "adult.test")]
    both = pa.concat_tables(parts)
    found = {name: numbers(both[name].combine_chunks()) for name in ADULT_NUMBERS}
    classes = {name: both[name].combine_chunks() for name in ADULT_CLASSES}
    rich = [label.startswith(">50K") for label in both["salary"].to_pylist()]
    task = TaskSpec(name="adult", kind=TaskKind.BINARY, entity_table="adult")
    known = len(parts[0])
    train, val = train_test_split(np.arange(known), test_size=0.2, random_state=split_seed)
    split = {"train": train, "val": val, "test": np.arange(known, len(both))}
    return Table(task, found, classes, np.array(rich, np.float64), split)


def _adult_part(file: Path) -> pa.Table:
    lines = [line.split(",") for line in file.read_text(encoding="utf-8").splitlines() if line]
    cells = [[cell.strip() for cell in line] for line in lines]
    columns = zip(*cells[1:], strict=True)
    return pa.table(
        {
            name: pa.array([None if cell == "?" else cell for cell in column], pa.string())
            for name, column in zip(cells[0], columns, strict=True)
        }
    )


def with_bins(column: NumericalColumn, values_R: Array, bins: int) -> NumericalColumn:
    """The column with so many of the library's bins."""
    scaled_R, _ = encode_numerical(values_R[~np.isnan(values_R)], column)
    return column.model_copy(update={"edges": bin_edges(scaled_R, bins)})


def tokenize(table: Table, scaling: NumericalScaling, bins: int | None = None) -> Tokens:
    """Codecs fitted on the rows of train, applied to all rows."""
    train = table.split["train"]
    fitted = [fit_numerical(name, x_R[train], scaling) for name, x_R in table.numbers.items()]
    if bins is not None:
        fitted = [with_bins(column, table.numbers[column.name][train], bins) for column in fitted]
    known = [fit_categorical(name, x.take(pa.array(train))) for name, x in table.classes.items()]
    encoded = [encode_numerical(table.numbers[column.name], column) for column in fitted]
    ids = [encode_categorical(table.classes[column.name], column) for column in known]
    rows = len(table.label_B)
    ids_RC = np.stack(ids, axis=1) if ids else np.zeros((rows, 0))
    tokens = TableRows(
        numerical_RC=torch.from_numpy(np.stack([values for values, _ in encoded], axis=1)),
        present_RC=torch.from_numpy(np.stack([present for _, present in encoded], axis=1)),
        categorical_RC=torch.from_numpy(ids_RC.astype(np.int64)),
        temporal_RCF=torch.zeros(rows, 0, 5),
        text_RCL=torch.zeros(rows, 0, 0, dtype=torch.int64),
        vectors_RCZ=torch.zeros(rows, 0, 0),
        parents_RP=torch.zeros(rows, 0, dtype=torch.int64),
        ids_R=torch.arange(rows),
    )
    tokenizer = TableTokenizer(
        table=table.task.name, timed=False, numerical=tuple(fitted), categorical=tuple(known)
    )
    scale = LabelScale()
    if table.task.kind.is_number:
        label_B = table.label_B[train]
        scale = LabelScale(center=float(label_B.mean()), spread=float(label_B.std()))
    return Tokens(tokenizer, tokens, torch.from_numpy(table.label_B).float(), scale)


def chosen_rows(rows: TableRows, at: Tensor) -> TableRows:
    """Some of the rows."""
    return TableRows(*(field[at] for field in rows))
