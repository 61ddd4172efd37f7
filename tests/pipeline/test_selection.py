"""Which assets a run of one task makes."""

from pathlib import Path

import pytest

from nexus_pipeline.defs.making import ENSEMBLE, EVERYTHING, STAGES
from nexus_pipeline.project import ProjectConfig, load_project
from nexus_pipeline.run import _selected
from nexus_pipeline.settings.ensemble import EnsembleConfig

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def project() -> ProjectConfig:
    """The default project, its retirements asked in both regimes."""
    found = load_project(ROOT / "nexusflow.yaml")
    both = {task["name"]: task for task in found.model_dump()["tasks"]}
    both["dnf"]["regimes"] = ("seed_time", "frozen")
    changed = found.model_dump() | {"tasks": tuple(both.values()), "ensemble": EnsembleConfig()}
    return ProjectConfig(**changed, root=found.root)


@pytest.mark.parametrize("task", ["dnf", "dnf_frozen"])
def test_a_regime_is_made_with_what_both_share_and_without_the_other(project, task):
    names = {key.path[-1] for key in _selected(project, STAGES, task, EVERYTHING)}
    assert {"driver_dnf", "cutoffs_dnf", f"samples_{task}", f"index_{task}", task} <= names
    other = ({"dnf", "dnf_frozen"} - {task}).pop()
    assert not names & {other, f"samples_{other}", f"champion_{other}", "samples_top3"}
    assert not names & {"driver_top3", "cutoffs_top3"}


def test_a_job_makes_its_own_assets_only(project):
    names = [key.path[-1] for key in _selected(project, STAGES, "dnf_frozen", ENSEMBLE)]
    assert names == ["ensemble_dnf_frozen"]
    everything = {key.path[-1] for key in _selected(project, STAGES, None, EVERYTHING)}
    assert not any(name.startswith("ensemble") for name in everything)
