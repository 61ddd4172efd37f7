"""LightGBM as a strong opponent: native categories, early stopping, a small grid by validation."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from nexus_model.evaluate.metrics import Direction, measure, primary_metric
from nexus_model.schema import TaskKind, TaskSpec

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

MOST_TREES = 2000
BLIND_TREES = 200
PATIENCE = 100
MOST_CATEGORIES = 200

# Fixed before any test score was seen; the validation rows choose one.
GRID: tuple[dict[str, float], ...] = (
    {"num_leaves": 15, "feature_fraction": 0.4, "min_data_in_leaf": 20},
    {"num_leaves": 31, "feature_fraction": 0.4, "min_data_in_leaf": 40},
    {"num_leaves": 15, "feature_fraction": 0.8, "min_data_in_leaf": 60, "lambda_l2": 10.0},
)
_ALWAYS = {
    "learning_rate": 0.03,
    "lambda_l2": 1.0,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "min_data_per_group": 50,
    "deterministic": True,
    "force_row_wise": True,
    # Measured beside other work on two cores: one thread 22 s, two spinning ones 198 s.
    "num_threads": 1,
    "verbosity": -1,
}


class Matrix(NamedTuple):
    """Features as numbers, and which columns are codes of categories."""

    values: Array
    categorical: list[int]


class Fitted(NamedTuple):
    """Predictions for every sample, and how the model was chosen."""

    prediction: Array
    trees: int
    config: dict[str, float]


def encode(features: pa.Table, train: Mask) -> Matrix:
    """Numbers as they are; categories as codes fitted on training rows only.

    A category seen once or never in training, or beyond the most frequent, shares one code;
    NULL stays missing.
    """
    columns, categorical = [], []
    for index, column in enumerate(features.itercolumns()):
        values = column.combine_chunks()
        if pa.types.is_string(values.type):
            columns.append(_codes(values, train))
            categorical.append(index)
        else:
            columns.append(pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False))
    if not columns:
        return Matrix(np.zeros((len(train), 1)), [])
    return Matrix(np.column_stack(columns), categorical)


def _codes(values: Any, train: Mask) -> Array:
    counted = pc.value_counts(values.filter(pa.array(train)).drop_null()).to_pylist()
    often = [row for row in counted if row["counts"] > 1]
    often.sort(key=lambda row: (-row["counts"], row["values"]))
    known = pa.array([row["values"] for row in often[:MOST_CATEGORIES]], pa.string())
    code = pc.fill_null(pc.index_in(values, known), len(known))
    code = pc.if_else(pc.is_null(values), None, code)
    found: Array = pc.cast(code, pa.float64()).to_numpy(zero_copy_only=False)
    return found


def boost(
    matrix: Matrix, label: Array, splits: NDArray[np.str_], task: TaskSpec, *, seed: int
) -> Fitted:
    """Fit every configuration of the grid on training rows; the validation rows choose.

    Without validation rows the first configuration gets ``BLIND_TREES`` trees.
    """
    train, validation = splits == "train", splits == "validation"
    if not validation.any():
        blind = _fit(matrix, label, (train, None), _parameters(task, label, GRID[0], seed))
        return blind._replace(config=GRID[0])
    name, direction = primary_metric(task.kind)
    best: tuple[float, Fitted] | None = None
    for config in GRID:
        parameters = _parameters(task, label[validation], config, seed)
        fitted = _fit(matrix, label, (train, validation), parameters)
        score = measure(name, fitted.prediction[validation], label[validation])
        loss = score if direction is Direction.MIN else -score
        # Not defined on validation (one class): the first configuration stands.
        if best is None or loss < best[0]:
            best = loss, fitted._replace(config=config)
    assert best is not None
    return best[1]


def _parameters(
    task: TaskSpec, validation: Array, config: dict[str, float], seed: int
) -> dict[str, Any]:
    both = len(np.unique(validation)) > 1
    match task.kind:
        case TaskKind.REGRESSION:
            chosen: dict[str, Any] = {"objective": "regression_l1", "metric": "l1"}
        case TaskKind.BINARY:
            chosen = {"objective": "binary", "metric": "auc" if both else "binary_logloss"}
        case TaskKind.MULTICLASS:
            chosen = {"objective": "multiclass", "num_class": len(task.classes)}
            chosen["metric"] = "multi_logloss"
    return {**_ALWAYS, **chosen, **config, "seed": seed}


def _fit(
    matrix: Matrix, label: Array, rows: tuple[Mask, Mask | None], parameters: dict[str, Any]
) -> Fitted:
    import lightgbm as lgb

    train, validation = rows
    # Few rows still deserve a split.
    smallest = max(1, min(int(parameters["min_data_in_leaf"]), int(train.sum()) // 20))
    parameters = {**parameters, "min_data_in_leaf": smallest}
    fitting = lgb.Dataset(
        matrix.values[train],
        label[train],
        categorical_feature=matrix.categorical,
        params=parameters,
    )
    if validation is None:
        model = lgb.train(parameters, fitting, num_boost_round=BLIND_TREES)
    else:
        judging = fitting.create_valid(matrix.values[validation], label[validation])
        stop = lgb.early_stopping(PATIENCE, verbose=False)
        model = lgb.train(
            parameters,
            fitting,
            num_boost_round=MOST_TREES,
            valid_sets=[judging],
            callbacks=[stop],
        )
    prediction = np.asarray(model.predict(matrix.values), dtype=np.float64)
    return Fitted(prediction, max(model.best_iteration, 0) or model.current_iteration(), {})
