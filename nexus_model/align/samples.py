"""Samples: who is asked about, when, and with which answer; closed windows become history.

``aligned.cutoffs_<task>(cutoff, window_end)`` is the grid of question times,
``aligned.samples_<task>`` the questions, ``aligned.label_history_<task>`` the answers as rows that
become visible when their window closes. A sample is about ``cutoff`` and knows what was known
``as_of`` a moment that is never later.
"""

import datetime as dt
from enum import StrEnum
from typing import TypeAlias

import duckdb

from nexus_model.align.index import DAY_US
from nexus_model.align.relate import quoted
from nexus_model.schema import (
    ColumnSpec,
    ForeignKey,
    Record,
    SemanticType,
    TableSpec,
    TaskSpec,
)

Connection: TypeAlias = duckdb.DuckDBPyConnection


class Split(StrEnum):
    """What a sample is for.

    ``refit``: to learn from once validation has chosen, in place of validation samples whose data
    is frozen; the same questions, asked as training asks.
    """

    TRAIN = "train"
    VALIDATION = "validation"
    REFIT = "refit"
    TEST = "test"


class Regime(StrEnum):
    """What a sample of validation and test may know.

    ``seed_time``: everything up to its own cutoff. ``frozen``: what was known when its split
    began, however long ago that is. Public results mix the two; they are far apart.
    """

    SEED_TIME = "seed_time"
    FROZEN = "frozen"


class Grid(Record):
    """Cutoffs every ``step_days``, laid per split so that no window straddles one.

    Training counts backwards from the window that closes at ``validation_from``, where asked for
    every ``training_step_days`` between as well; validation and test count forward from their
    first moment. ``is_regular`` tells the cutoffs that are steps apart: history is made of those,
    so that it is as dense in every split.
    """

    validation_from: dt.datetime
    test_from: dt.datetime
    step_days: int
    horizon_days: int
    training_step_days: int | None = None


class TimeSplit(Record):
    """Validation from one date on, test from a later one; a window never straddles either.

    ``evaluated_days`` limits how far cutoffs of validation and of test may lie from its start,
    ``most_training`` how many samples train: drawn by a hash of entity and cutoff.
    """

    validation_from: dt.datetime
    test_from: dt.datetime
    evaluated_days: int | None = None
    most_training: int | None = None

    @property
    def until(self) -> tuple[dt.datetime, dt.datetime]:
        """The moments from which on no cutoff of validation, and none of test, is asked at."""
        if self.evaluated_days is None:
            return self.test_from, dt.datetime.max
        span = dt.timedelta(days=self.evaluated_days)
        return min(self.validation_from + span, self.test_from), self.test_from + span


class Knowledge(Record):
    """How old the data of a sample is.

    In a frozen regime samples to learn from are repeated ``stale_copies`` times as of an earlier
    moment, drawn per cutoff from the ``stale_days`` before it: what evaluation will look like.
    """

    regime: Regime = Regime.SEED_TIME
    stale_copies: int = 0
    stale_days: int = 0


class EntitySplit(Record):
    """Shares of entities, drawn by a hash of their key: the same entity always lands alike."""

    validation_size: float
    test_size: float
    seed: int


def history_name(task: TaskSpec) -> str:
    """Name of the table of closed label windows."""
    return f"label_history_{task.name}"


def history_table(task: TaskSpec, entity: TableSpec) -> TableSpec:
    """Closed label windows of ``task`` as a child table of the entity."""
    regression = task.kind.is_number
    semantic = SemanticType.NUMERICAL if regression else SemanticType.CATEGORICAL
    return TableSpec(
        name=history_name(task),
        columns=(ColumnSpec(name="past_label", semantic=semantic),),
        primary_key=(*entity.primary_key, "window_end"),
        foreign_keys=(
            ForeignKey(
                columns=entity.primary_key,
                references_table=entity.name,
                references_columns=entity.primary_key,
            ),
        ),
        time_column="window_end",
    )


def cutoffs_select(grid: Grid, first: dt.datetime, last: dt.datetime) -> str:
    """Cutoffs of all splits after ``first`` whose window has closed by ``last``.

    Columns ``cutoff``, ``window_end`` and ``is_regular``.
    """
    step, horizon = grid.step_days * DAY_US, grid.horizon_days * DAY_US
    low, validation, test, high = (
        _microseconds(moment) for moment in (first, grid.validation_from, grid.test_from, last)
    )
    newest = validation - horizon
    dense = (grid.training_step_days or grid.step_days) * DAY_US
    spans = (
        (newest, step, -((newest - low) // step), min(0, (high - validation) // step)),
        (newest, dense, -((newest - low) // dense), min(0, (high - validation) // dense)),
        (validation, step, 0, (min(high, test) - horizon - validation) // step),
        (test, step, 0, (high - horizon - test) // step),
    )
    every = " union all ".join(
        f"select {start} + i * {apart} as moment, {apart == step} as is_regular "
        f"from range({begin}, {end + 1}) as steps(i)"
        for start, apart, begin, end in spans
    )
    return (
        "select make_timestamp(moment) as cutoff, "
        f"make_timestamp(moment + {horizon}) as window_end, bool_or(is_regular) as is_regular "
        f"from ({every}) where moment >= {low} group by moment order by cutoff"
    )


def samples_select(
    task: TaskSpec,
    entity: TableSpec,
    labels: str,
    split: TimeSplit,
    knowledge: Knowledge | None = None,
    closes: str | None = None,
) -> str:
    """Samples of a temporal task in order of cutoff and entity; a straddling window is left out.

    ``closes`` is the SQL of when a label's window closes; by itself after the task's horizon.
    """
    keys = ", ".join(f"entity.{quoted(column)}" for column in entity.primary_key)
    on = " and ".join(
        f"labels.{quoted(column)} = entity.{quoted(column)}" for column in entity.primary_key
    )
    own = ", ".join(quoted(column) for column in entity.primary_key)
    draw = f"partition by split order by md5(concat_ws('|', {own}, cutoff))"
    most = split.most_training
    drawn = f"qualify split <> 'train' or row_number() over ({draw}) <= {most}" if most else ""
    known = knowledge or Knowledge()
    copies, as_of = _known_as_of(known, split)
    again = "union all select * replace ('refit' as split) from drawn where split = 'validation'"
    again = again if known.regime is Regime.FROZEN else ""
    return f"""
    with labeled as (
        select {keys}, labels.cutoff, cast(labels.label as double) as label,
            {closes or f"labels.cutoff + interval {task.horizon_days} day"} as window_end,
            entity._row as entity_row
        from ({labels}) as labels
        inner join aligned.{quoted(entity.name)} as entity on {on}
        where labels.label is not null
    ),
    placed as (
        select *, {_split_of(split)} as split from labeled
    ),
    drawn as (
        select * from placed where split is not null {drawn}
    ),
    used as (
        select * from drawn {again}
    ),
    asked as (
        select used.*, {as_of} as as_of
        from used
        cross join range({copies + 1}) as copies(copy)
        where split in ('train', 'refit') or copy = 0
    )
    select row_number() over (order by cutoff, as_of desc, split, entity_row) - 1 as sample, *
    from asked
    order by sample
    """


def _split_of(split: TimeSplit) -> str:
    """The SQL of a sample's split; NULL for a window that straddles two."""
    validation, test = (_literal(at) for at in (split.validation_from, split.test_from))
    last_validation, last_test = (_literal(at) for at in split.until)
    return f"""case when window_end <= {validation} then 'train'
            when cutoff >= {validation} and cutoff < {last_validation}
                and window_end <= {test} then 'validation'
            when cutoff >= {test} and cutoff < {last_test} then 'test' end"""


def _known_as_of(knowledge: Knowledge, split: TimeSplit) -> tuple[int, str]:
    """How often a training sample is repeated, and the SQL of what moment a sample's data is."""
    validation, test = (_literal(at) for at in (split.validation_from, split.test_from))
    if knowledge.regime is Regime.SEED_TIME:
        return 0, "cutoff"
    # Each copy draws from a span of its own, so no two are of the same moment.
    days, copies = knowledge.stale_days, max(1, knowledge.stale_copies)
    draw = "cast('0x' || substr(md5(copy || '|' || cutoff), 1, 13) as bigint)"
    first, last = f"({days} * (copy - 1) // {copies} + 1)", f"({days} * copy // {copies})"
    drawn = f"{first} + {draw} % greatest({last} - {first} + 1, 1)"
    return (
        knowledge.stale_copies,
        f"case split when 'validation' then {validation} when 'test' then {test} "
        f"else cutoff - to_days(cast(if(copy = 0, 0, {drawn}) as integer)) end",
    )


def static_samples_select(task: TaskSpec, entity: TableSpec, split: EntitySplit) -> str:
    """Samples of a static task: one per entity row with a label, without a cutoff."""
    keys = ", ".join(f"entity.{quoted(column)}" for column in entity.primary_key)
    text = " || '|' || ".join(f"cast(entity.{quoted(c)} as varchar)" for c in entity.primary_key)
    target, label = f"entity.{quoted(task.target_column or '')}", label_sql(task)
    train = 1 - split.validation_size - split.test_size
    return f"""
    with labeled as (
        select {keys}, cast(null as timestamp) as cutoff, {label} as label,
            cast(null as timestamp) as window_end, cast(null as timestamp) as as_of,
            entity._row as entity_row,
            cast('0x' || substr(md5('{split.seed}|' || {text}), 1, 13) as bigint)
                / 4503599627370496.0 as draw
        from aligned.{quoted(entity.name)} as entity
        where {target} is not null
    )
    select row_number() over (order by entity_row) - 1 as sample, labeled.* exclude (draw),
        case when draw < {train} then 'train'
            when draw < {train + split.validation_size} then 'validation'
            else 'test' end as split
    from labeled
    order by sample
    """


def label_sql(task: TaskSpec) -> str:
    """The label of a static task, from its entity's row ``entity``."""
    target = f"entity.{quoted(task.target_column or '')}"
    if task.kind.is_number:
        return f"cast({target} as double)"
    cases = " ".join(
        f"when '{value.replace(chr(39), chr(39) * 2)}' then {index}"
        for index, value in enumerate(task.classes)
    )
    return f"cast(case cast({target} as varchar) {cases} end as double)"


def history_select(task: TaskSpec, entity: TableSpec, labels: str, cutoffs: str) -> str:
    """Closed windows: one row per entity and window, dated by the moment the window closed.

    Windows are those of the table ``aligned.<cutoffs>`` that are steps apart.
    """
    regular = f"select cutoff from aligned.{quoted(cutoffs)} where is_regular"
    keys = ", ".join(f"labels.{quoted(column)}" for column in entity.primary_key)
    past = "label" if task.kind.is_number else "cast(cast(label as int) as varchar)"
    return (
        f"select {keys}, labels.cutoff + interval {task.horizon_days} day as window_end, "
        f"{past} as past_label from ({labels}) as labels "
        f"where labels.label is not null and labels.cutoff in ({regular})"
    )


def _literal(moment: dt.datetime) -> str:
    return f"timestamp '{moment}'"


def _microseconds(moment: dt.datetime) -> int:
    return (moment - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1)
