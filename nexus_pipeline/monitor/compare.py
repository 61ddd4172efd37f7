"""Two samples of the same tables, compared column by column: findings, and which of them moved.

Every test of a run is one family: p-values are corrected over all of them together (``correction``)
and a finding has moved only if its size is over the bound too. A million rows make any p-value
small, and fifty rows make any size large.
"""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from nexus_pipeline.monitor.classifier import tell_apart
from nexus_pipeline.monitor.correction import holm
from nexus_pipeline.monitor.design import (
    Groups,
    category_effects,
    number_effects,
    of_known,
    own_groups,
)
from nexus_pipeline.monitor.distances import (
    Array,
    Binned,
    Tested,
    association,
    bin_categories,
    bin_numbers,
    kolmogorov,
    missing_change,
    stability_index,
    unseen_share,
    volume_change,
)
from nexus_pipeline.monitor.record import INPUT, Distribution, Finding, Measure, Part
from nexus_pipeline.monitor.windows import TableRows
from nexus_pipeline.settings.monitoring import MonitoringConfig

FEWEST_GROUPS = 10


def compare_column(
    config: MonitoringConfig,
    about: tuple[Part, str, str],
    reference: Array,
    current: Array,
    groups: tuple[Groups, ...] = (),
) -> Iterator[Finding]:
    """Tests of one column, numbers or objects; ``about`` is its part, table and name.

    ``groups`` say which rows belong together.

    Numbers have one test of the known values and, where any is missing, one of the share missing.
    Nothing is tested where a side has no rows.
    """
    part, table, column = about
    rows = {"reference_rows": len(reference), "current_rows": len(current)}
    said = {"part": part, "table": table, "column": column, **rows, "psi_bound": config.psi}
    if not len(reference) or not len(current):
        return
    if reference.dtype == object:
        binned = bin_categories(list(reference), list(current))
        effects = category_effects(reference, current, groups)
        yield Finding(
            **_tested(association(binned, effects), Measure.CATEGORIES, config.cramers_v, binned),
            unseen=unseen_share(list(reference), list(current)),
            **said,
        )
        return
    lost = [~np.isfinite(side) for side in (reference, current)]
    known = reference[~lost[0]], current[~lost[1]]
    binned = bin_numbers(reference, current)
    found = kolmogorov(*known, number_effects(*known, of_known(groups, (~lost[0], ~lost[1]))))
    yield Finding(
        **_tested(found, Measure.NUMBERS, config.ks, binned)
        | {"psi": stability_index(bin_numbers(*known))},
        **said,
    )
    if lost[0].any() or lost[1].any():
        said.pop("psi_bound")
        found = missing_change(lost[0], lost[1], number_effects(lost[0], lost[1], groups))
        sized = {"measure": Measure.MISSING, "size": found.size, "bound": config.missing}
        yield Finding(**said, **sized, p=found.p, distribution=_shown(binned))


def _tested(found: Tested, measure: Measure, bound: float, binned: Binned) -> dict[str, object]:
    return {
        "measure": measure,
        "size": found.size,
        "bound": bound,
        "p": found.p,
        "psi": stability_index(binned),
        "distribution": _shown(binned),
    }


def _shown(binned: Binned) -> Distribution:
    counts = ([int(count) for count in side] for side in (binned.reference, binned.current))
    reference, current = counts
    return Distribution(names=binned.names, reference=tuple(reference), current=tuple(current))


def compare_tables(
    config: MonitoringConfig,
    reference: Mapping[str, TableRows],
    current: Mapping[str, TableRows],
) -> Iterator[Finding]:
    """Tests of every column of every table on both sides, of each table's rows, of its volume."""
    for name, then in reference.items():
        if name not in current:
            continue
        now = current[name]
        before, after = _shared(then, now)
        groups = own_groups(then.sample, now.sample)
        for column in before:
            about: tuple[Part, str, str] = (INPUT, name, column)
            yield from compare_column(config, about, before[column], after[column], groups)
        yield from _as_a_whole(config, name, (then, now), groups)
        if then.daily and now.daily:
            found = volume_change(np.array(then.daily), np.array(now.daily))
            yield Finding(
                part=INPUT, table=name, column="", measure=Measure.VOLUME, size=found.size,
                bound=config.volume, p=found.p, reference_rows=then.rows, current_rows=now.rows,
            )  # fmt: skip


def _shared(then: TableRows, now: TableRows) -> tuple[dict[str, Array], dict[str, Array]]:
    """Columns that are there on both sides, as the same kind."""
    before, after = then.arrays(), now.arrays()
    shared = [
        column
        for column in before
        if column in after and (before[column].dtype == object) == (after[column].dtype == object)
    ]
    return {name: before[name] for name in shared}, {name: after[name] for name in shared}


def _as_a_whole(
    config: MonitoringConfig,
    name: str,
    sides: tuple[TableRows, TableRows],
    groups: tuple[Groups, ...],
) -> Iterator[Finding]:
    """Whether a classifier tells the rows apart; not tried with a handful of groups."""
    then, now = sides
    coarsest = min(groups, key=lambda one: one.fewest, default=None)
    if coarsest is not None and coarsest.fewest < FEWEST_GROUPS:
        return
    found = tell_apart(*_shared(then, now), coarsest)
    if found is not None:
        yield Finding(
            part=INPUT, table=name, column="", measure=Measure.CLASSIFIER, size=found.tested.size,
            bound=config.auroc, p=found.tested.p, reference_rows=then.rows, current_rows=now.rows,
            low=found.low, high=found.high, by=found.by,
        )  # fmt: skip


def decide(config: MonitoringConfig, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings with p-values corrected over all of them, and whether each has moved."""
    found = list(findings)
    corrected = holm([one.p for one in found])
    return tuple(
        one.model_copy(update={"corrected": p, "moved": bool(one.is_far and p < config.alpha)})
        for one, p in zip(found, corrected, strict=True)
    )
