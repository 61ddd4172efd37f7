"""When an asset is made by itself: its data changed, its checks passed, nothing is in flight.

Dagster's ``eager()`` asks for less: it fires on identical data and past a failed blocking check.
"""

import dagster as dg


def when_its_data_changed() -> dg.AutomationCondition:  # type: ignore[type-arg]
    """Data of something upstream changed, or the asset was never made; and all of it is sound.

    A change is remembered until the asset was made or asked for, since its checks end later than
    the tick that sees it.
    """
    changed = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed())
    due = (changed | dg.AutomationCondition.newly_missing()).since_last_handled()
    return (
        due
        & dg.AutomationCondition.all_deps_blocking_checks_passed()
        & ~dg.AutomationCondition.any_deps_missing()
        & ~dg.AutomationCondition.any_deps_in_progress()
        & ~dg.AutomationCondition.in_progress()
    ).with_label("its data changed, checks passed, nothing in flight")


def condition_sensor(project_name: str) -> dg.AutomationConditionSensorDefinition:
    """Evaluates the conditions of every asset; somebody has to switch it on."""
    return dg.AutomationConditionSensorDefinition(
        name=f"{project_name}_data_changed",
        target=dg.AssetSelection.all(),
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Makes an asset when data it is made from changed and its checks passed.",
    )
