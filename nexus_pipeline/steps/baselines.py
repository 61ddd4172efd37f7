"""What NexusFormer has to beat, from a constant to boosted trees on point-in-time aggregates.

Every baseline sees what a sample may see at its ``as_of``, is fitted on training rows, and is
chosen on validation rows; for test rows boosting is fitted on the validation rows as well. Test
labels are never read.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from nexus_model.align.relate import quoted
from nexus_model.align.samples import history_name
from nexus_model.schema import DatabaseSpec, DataError, TaskKind, TaskSpec
from nexus_pipeline.steps.aggregate_paths import is_static
from nexus_pipeline.steps.aggregates import aggregate_features, entity_features, linked_rows
from nexus_pipeline.steps.boosting import Fitted, boost, encode

Array = NDArray[np.float64]

_BOOSTED = ("lightgbm_entity", "lightgbm_aggregates")
_NO_HISTORY = "%s need closed label windows, which this task has not"
_OF_ENTITY = "entity_last and entity_mean"
_QUANTILES_OF_ENTITY = "entity_last and entity_quantiles"


@dataclass(frozen=True)
class Baseline:
    """Predictions for all samples in order, by run ``[runs, samples, ...]``, and what they cost.

    Only boosting differs from run to run; what is constant has one run.
    """

    name: str
    by_run: Array
    seconds: float
    cpu_seconds: float
    note: str

    @property
    def prediction(self) -> Array:
        """Mean over the runs."""
        return np.asarray(self.by_run.mean(axis=0))


@dataclass(frozen=True)
class Asked:
    """Labels and splits of all samples in order, test labels masked, and where they come from."""

    con: duckdb.DuckDBPyConnection
    database: DatabaseSpec
    task: TaskSpec
    label: Array
    split: NDArray[np.str_]

    @property
    def train(self) -> NDArray[np.bool_]:
        """Which samples are for training."""
        return np.asarray(self.split == "train")

    @property
    def has_history(self) -> bool:
        """Whether closed label windows are a table that samples may read."""
        return not is_static(self.task) and history_name(self.task) in self.database.names

    @property
    def classes(self) -> Array:
        """Label values of a classification."""
        return np.arange(max(len(self.task.classes), 2), dtype=np.float64)


def run_baselines(
    con: duckdb.DuckDBPyConnection,
    database: DatabaseSpec,
    task: TaskSpec,
    *,
    seed: int = 0,
    runs: int = 1,
    refit: bool = True,
) -> list[Baseline]:
    """Every baseline that is defined for the task, the simplest first.

    Boosting is run with the seeds ``seed``, ``seed + 1``, ... ``seed + runs - 1``; ``refit`` says
    whether what it tells of test rows is fitted on the validation rows as well.

    Raises:
        DataError: the task has no training sample.
    """
    boosting = partial(boost, seeds=range(seed, seed + runs), refit=refit)
    asked = _ask(con, database, task)
    work = _plain_quantiles(asked) if task.kind is TaskKind.QUANTILE else _plain(asked)
    work |= {
        "lightgbm_entity": partial(_boosted, entity_features, boosting),
        "lightgbm_aggregates": partial(_boosted, aggregate_features, boosting),
    }
    return [_timed(name, one, asked) for name, one in work.items()]


def _plain(asked: Asked) -> dict[str, Callable[[Asked], tuple[Array, str]]]:
    """Baselines without a model."""
    if asked.has_history:
        return {
            "majority_or_mean": _constant,
            "entity_last": _entity_last,
            "entity_mean": _entity_mean,
        }
    return {"majority_or_mean": _constant}


def _plain_quantiles(asked: Asked) -> dict[str, Callable[[Asked], tuple[Array, str]]]:
    """Of a quantile task: none of them crosses, each being quantiles of one set of numbers."""
    if asked.has_history:
        return {
            "training_quantiles": _training_quantiles,
            "entity_last": _last_and_change,
            "entity_quantiles": _entity_quantiles,
        }
    return {"training_quantiles": _training_quantiles}


def _timed(name: str, work: Callable[[Asked], tuple[Array, str]], asked: Asked) -> Baseline:
    wall, cpu = time.perf_counter(), time.process_time()
    prediction, note = work(asked)
    return Baseline(
        name=name,
        by_run=prediction if name in _BOOSTED else prediction[None],
        seconds=time.perf_counter() - wall,
        cpu_seconds=time.process_time() - cpu,
        note=note,
    )


def _ask(con: duckdb.DuckDBPyConnection, database: DatabaseSpec, task: TaskSpec) -> Asked:
    samples = f"aligned.{quoted('samples_' + task.name)}"
    rows = con.sql(
        f"select case when split <> 'test' then label end as label, split "
        f"from {samples} order by sample"
    ).to_arrow_table()
    label = rows["label"].to_numpy().astype(np.float64)
    asked = Asked(con, database, task, label, np.array(rows["split"].to_pylist(), dtype=np.str_))
    if not asked.train.any():
        raise DataError("has no training sample", table=f"samples_{task.name}", column="split")
    return asked


def _constant(asked: Asked) -> tuple[Array, str]:
    rows, note = len(asked.label), _without_history(asked, _OF_ENTITY)
    if asked.task.kind is TaskKind.REGRESSION:
        value, told = _middle(asked)
        return np.full(rows, value), f"training {told}, the better on validation{note}"
    prediction = _as_prediction(np.tile(_prior(asked), (rows, 1)), asked.task)
    return prediction, f"training class shares{note}"


def _without_history(asked: Asked, baselines: str) -> str:
    return "" if asked.has_history else f"; {_NO_HISTORY % baselines}"


def _middle(asked: Asked) -> tuple[float, str]:
    """Mean or median of the training labels, whichever is nearer to the validation labels."""
    train, validation = asked.label[asked.train], asked.label[asked.split == "validation"]
    middles = {"median": float(np.median(train)), "mean": float(train.mean())}
    if not len(validation):
        return middles["median"], "median"
    far = {told: np.abs(validation - middle).mean() for told, middle in middles.items()}
    told = min(far, key=lambda name: far[name])
    return middles[told], told


def _shares(label: Array, classes: Array, prior: Array) -> Array:
    """Class shares of these labels, with ``prior`` counted as one further label."""
    counts = (label[:, None] == classes[None, :]).sum(axis=0)
    return np.asarray((counts + prior) / (len(label) + 1))


def _prior(asked: Asked) -> Array:
    even = np.full(len(asked.classes), 1 / len(asked.classes))
    return _shares(asked.label[asked.train], asked.classes, even)


def _as_prediction(shares: Array, task: TaskSpec) -> Array:
    return np.ascontiguousarray(shares[:, 1]) if task.kind is TaskKind.BINARY else shares


def _closed_windows(asked: Asked) -> dict[str, Array]:
    """For each sample its last closed label, how many are closed, their sum, class
    counts and quantiles.
    """
    con, database, task = asked.con, asked.database, asked.task
    history = database[history_name(task)]
    keys = [key.references_table for key in history.foreign_keys]
    key = f"_fk_{keys.index(task.entity_table)}"
    label = f"try_cast({quoted(history.columns[0].name)} as double)"
    running = {"n": "count(*)", "total": "sum(label)"}
    running |= {f"class_{k:g}": f"count(*) filter (label = {k})" for k in asked.classes}
    running |= {
        f"quantile_{at}": f"quantile_cont(label, {level})"
        for at, level in enumerate(task.quantiles)
    }
    made = ", ".join(f"{value} over known as {name}" for name, value in running.items())
    table = con.sql(f"""
    with closed as (
        select {key} as key, _time as moment, _row as place, {label} as label
        from {linked_rows(con, history.name)}
        where {key} is not null and _time is not null and {label} is not null
    ),
    known as (
        select key, moment, label as last, {made}
        from closed
        window known as (partition by key order by moment, place
            rows between unbounded preceding and current row)
        qualify lead(moment) over known is distinct from moment
    )
    select known.* exclude (key, moment)
    from aligned.{quoted("samples_" + task.name)} as samples
    asof left join known on samples.entity_row = known.key and samples.as_of >= known.moment
    order by samples.sample
    """).to_arrow_table()
    return {name: table[name].to_numpy().astype(np.float64) for name in table.column_names}


def _entity_last(asked: Asked) -> tuple[Array, str]:
    last = _closed_windows(asked)["last"]
    if asked.task.kind is TaskKind.REGRESSION:
        middle, told = _middle(asked)
        return np.where(np.isnan(last), middle, last), f"without history: training {told}"
    prior = _prior(asked)
    shares = np.tile(prior, (len(last), 1))
    for same in (np.isnan(last), *(last == value for value in asked.classes)):
        shares[same] = _shares(asked.label[asked.train & same], asked.classes, prior)
    note = "training class shares of samples with that last label"
    return _as_prediction(shares, asked.task), note


def _entity_mean(asked: Asked) -> tuple[Array, str]:
    closed = _closed_windows(asked)
    count = np.nan_to_num(closed["n"])
    if asked.task.kind is TaskKind.REGRESSION:
        middle, told = _middle(asked)
        mean = closed["total"] / np.maximum(count, 1)
        return np.where(count > 0, mean, middle), f"without history: training {told}"
    counts = np.nan_to_num(np.column_stack([closed[f"class_{k:g}"] for k in asked.classes]))
    shares = (counts + _prior(asked)) / (count[:, None] + 1)
    note = "class shares of closed labels, the training shares counted once"
    return _as_prediction(shares, asked.task), note


def _training_quantiles(asked: Asked) -> tuple[Array, str]:
    found = np.quantile(asked.label[asked.train], asked.task.quantiles)
    note = f"quantiles of training labels{_without_history(asked, _QUANTILES_OF_ENTITY)}"
    return np.tile(found, (len(asked.label), 1)), note


def _last_and_change(asked: Asked) -> tuple[Array, str]:
    """The last label, and quantiles of how far training labels were from theirs."""
    last, (usual, _) = _closed_windows(asked)["last"], _training_quantiles(asked)
    known = asked.train & np.isfinite(last)
    if not known.any():
        return usual, "no training sample has a last label: quantiles of training labels"
    change = np.quantile((asked.label - last)[known], asked.task.quantiles)
    found = np.where(np.isnan(last)[:, None], usual, last[:, None] + change)
    return found, "quantiles of training changes; without history: of training labels"


def _entity_quantiles(asked: Asked) -> tuple[Array, str]:
    """An entity with fewer labels than there are quantiles gets those of training labels."""
    closed, levels = _closed_windows(asked), asked.task.quantiles
    own = np.column_stack([closed[f"quantile_{at}"] for at in range(len(levels))])
    enough = np.nan_to_num(closed["n"]) >= len(levels)
    usual, _ = _training_quantiles(asked)
    note = f"with fewer than {len(levels)} closed labels: quantiles of training labels"
    return np.where(enough[:, None], own, usual), note


def _boosted(
    features_of: Callable[[duckdb.DuckDBPyConnection, DatabaseSpec, TaskSpec], pa.Table],
    boosting: Callable[..., Fitted],
    asked: Asked,
) -> tuple[Array, str]:
    features = features_of(asked.con, asked.database, asked.task)
    matrix = encode(features, asked.train)
    fitted = boosting(matrix, asked.label, asked.split, asked.task)
    config = "; ".join(
        ", ".join(f"{key} {value:g}" for key, value in one.items()) for one in fitted.configs
    )
    trees = "/".join(str(count) for count in fitted.trees)
    return fitted.by_seed, f"{features.num_columns} features, {trees} trees, {config}"
