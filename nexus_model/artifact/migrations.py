"""Older model files as this version has them: one function per step from a minor version.

A step takes the parsed JSON members of its version and gives those of the next. Weights are left
alone: what needs other numbers is another model, and says so.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from nexus_model.artifact.manifest import MINOR
from nexus_model.schema import ArtifactError

Members: TypeAlias = dict[str, Any]
Step: TypeAlias = Callable[[Members], Members]


def from_1_0(members: Members) -> Members:
    """1.0 was in use before it was specified, and its recipes came to differ.

    The first ones laid cutoffs around one anchor; now they are laid per split. What the recipe
    needs them for, the label history, reads the same moments either way.

    Raises:
        ArtifactError: the network of configuration version 1 is no longer built, or the cutoffs
            cannot be laid per split.
    """
    config, recipe = members["config.json"], members["recipe.json"]
    if isinstance(config, dict) and config.get("version") == 1:
        raise ArtifactError("its network (configuration version 1) is no longer built: train again")
    if not isinstance(recipe, dict) or not isinstance(recipe.get("grid"), dict):
        return members
    if "anchor" not in recipe["grid"]:
        return members
    try:
        grid, task = _grid_per_split(recipe["grid"]), recipe["task"]["name"]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ArtifactError(f"its cutoffs cannot be read: {error!r}: train again") from error
    changed = recipe | {"grid": grid, "cutoffs": f"cutoffs_{task}"}
    return members | {"recipe.json": changed}


def _grid_per_split(grid: dict[str, Any]) -> dict[str, Any]:
    """The same moments: training counts back from the anchor, test on from a step after it.

    >>> moved = _grid_per_split({"anchor": "2020-06-29", "step_days": 30, "horizon_days": 60})
    >>> moved["validation_from"], moved["test_from"]
    ('2020-08-28T00:00:00', '2020-07-29T00:00:00')
    """
    step, horizon = grid["step_days"], grid["horizon_days"]
    if step >= 2 * horizon:
        raise ValueError("the step is twice the horizon or more")
    anchor = dt.datetime.fromisoformat(grid["anchor"])
    return {
        "validation_from": (anchor + dt.timedelta(days=horizon)).isoformat(),
        "test_from": (anchor + dt.timedelta(days=step)).isoformat(),
        "step_days": step,
        "horizon_days": horizon,
    }


STEPS: Mapping[int, Step] = {0: from_1_0}


def migrate(members: Members, minor: int, steps: Mapping[int, Step] = STEPS) -> Members:
    """The members of version 1.``minor`` as those of this version; newer ones are left alone.

    >>> migrate({"a.json": 1}, 7)
    {'a.json': 1}
    """
    for step in range(minor, max(steps, default=-1) + 1):
        members = steps[step](members)
    return members


# Every older minor version has its step.
assert sorted(STEPS) == list(range(MINOR))
