"""Where a sample stands among the samples of its cohort: those of one cutoff and ``as_of``.

What is asked of several entities at one moment is often a competition among them, so a number says
more beside the numbers of the others. Only features are compared, never labels.
"""

from collections import Counter

from nexus_model.align.relate import quoted
from nexus_model.schema import SemanticType
from nexus_pipeline.steps.aggregate_paths import Feature

MOST_COMPARED = 20
COHORT = "cohort."

_AMONG = """select
        sample, feature,
        percent_rank() over (partition by cutoff, as_of, feature order by number) as place,
        case when min(number) over same < max(number) over same
            then (number - avg(number) over same) / stddev_pop(number) over same end as score"""
# In order of samples, so that sums round alike however the rows are stored.
_WINDOW = """window same as (
        partition by cutoff, as_of, feature
        order by sample rows between unbounded preceding and unbounded following
    )"""

# Recent form first, then the newest value, then how much there is.
_COMPARED = ("mean_10", "last", "count")


def compared_features(kept: list[Feature]) -> list[Feature]:
    """At most ``MOST_COMPARED`` numbers: by rank, then in turn from every path."""
    turns: Counter[tuple[str, str]] = Counter()
    ranked = []
    for place, feature in enumerate(kept):
        if feature.statistic not in _COMPARED or not _is_number(feature):
            continue
        turn = turns[feature.path, feature.statistic]
        turns[feature.path, feature.statistic] += 1
        order = _COMPARED.index(feature.statistic)
        ranked.append(((feature.rank, order, turn, place), feature))
    return [feature for _, feature in sorted(ranked, key=lambda pair: pair[0])][:MOST_COMPARED]


def cohort_parts(compared: list[Feature]) -> list[str]:
    """Common table expressions, of which ``cohort`` has a percent rank and z-score per feature.

    ``features`` must be one before them. Samples without a value have neither and do not count
    among those that have one; where all have the same value there is no z-score.
    """
    names = [feature.name for feature in compared]
    numbers = _listed([f"cast({quoted(name)} as double) as {quoted(name)}" for name in names])
    apart = []
    for name in names:
        named = f"filter (feature = {_text(name)})"
        apart += [
            f"any_value(place) {named} as {quoted(f'{COHORT}{name}.rank')}",
            f"any_value(score) {named} as {quoted(f'{COHORT}{name}.z')}",
        ]
    told = ", ".join(quoted(name) for name in names)
    return [
        f"numbers as (\n    select\n        sample, cutoff, as_of,\n        {numbers}"
        f"\n    from features\n)",
        f"among as (\n    {_AMONG}"
        f"\n    from (unpivot numbers on {told} into name feature value number)\n    {_WINDOW}\n)",
        f"cohort as (\n    select\n        sample,\n        {_listed(apart)}"
        f"\n    from among\n    group by sample\n)",
    ]


def cohort_selected() -> list[str]:
    """What to select from ``features`` with ``cohort`` joined to it."""
    size = "count(*) over (partition by features.cutoff, features.as_of)"
    return [f"{size} as {quoted(COHORT + 'size')}", "cohort.* exclude (sample)"]


def _listed(items: list[str]) -> str:
    return ",\n        ".join(items)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _is_number(feature: Feature) -> bool:
    return feature.column is None or feature.column.semantic is SemanticType.NUMERICAL
