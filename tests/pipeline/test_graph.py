"""The asset graph of the default project: a snapshot catches every accidental change.

Regenerate after an intended one: ``python tests/pipeline/test_graph.py``, then review the diff.
"""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster import AssetKey

from nexus_pipeline.assembly import all_makings, build_definitions
from nexus_pipeline.defs.making import STAGES
from nexus_pipeline.project import load_project
from nexus_pipeline.settings.ablation import AblationConfig

ROOT = Path(__file__).resolve().parents[2]
SNAPSHOT = Path(__file__).parent / "graph_snapshot.json"


def definitions() -> dg.Definitions:
    return build_definitions(load_project(ROOT / "nexusflow.yaml"))


def described(found: dg.Definitions) -> dict[str, Any]:
    specs = sorted(found.resolve_all_asset_specs(), key=lambda spec: spec.key.path)
    checks = [spec for check in found.asset_checks or () for spec in check.check_specs]
    return {
        "assets": {
            spec.key.to_user_string(): {
                "group": spec.group_name,
                "kinds": sorted(spec.kinds),
                "deps": sorted(dep.asset_key.to_user_string() for dep in spec.deps),
            }
            for spec in specs
        },
        "checks": {
            f"{spec.asset_key.to_user_string()}: {spec.name}": spec.blocking
            for spec in sorted(checks, key=lambda spec: (spec.asset_key.path, spec.name))
        },
        "jobs": [job.name for job in found.jobs or ()],
        "schedules": {s.name: s.default_status.value for s in found.schedules or ()},
        "sensors": {s.name: s.default_status.value for s in found.sensors or ()},
        "made by themselves": sorted(
            spec.key.to_user_string() for spec in specs if spec.automation_condition is not None
        ),
    }


@pytest.fixture(scope="module")
def found() -> dg.Definitions:
    return definitions()


def test_the_definitions_are_loadable(found):
    dg.Definitions.validate_loadable(found)


def test_the_graph_is_the_one_we_know(found):
    assert described(found) == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_the_groups_are_the_eight_stage_words(found):
    assert {spec.group_name for spec in found.resolve_all_asset_specs()} == set(STAGES)


def test_every_asset_says_what_it_is_and_which_code_makes_it(found):
    bare = [
        spec.key
        for spec in found.resolve_all_asset_specs()
        if not (spec.description and spec.kinds and spec.code_version)
    ]
    assert bare == []


TASKS = ("position", "dnf", "top3")
DAILY = {
    AssetKey(["f1", *where.split("/")])
    for task in TASKS
    for where in (f"served/predictions_daily_{task}", f"aligned/labels_daily_{task}")
}


def test_the_schedule_asks_for_a_run_of_everything_but_single_days(found, tmp_path):
    schedule = next(s for s in found.schedules if s.name == "f1_retraining")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 3 * * 1", "UTC")
    job = found.resolve_job_def(schedule.job_name)
    every = {spec.key for spec in found.resolve_all_asset_specs()}
    assert set(job.asset_layer.selected_asset_keys) == every - DAILY
    assert every >= DAILY
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        repository = found.get_repository_def()
        with dg.build_schedule_context(instance, repository_def=repository) as context:
            assert len(schedule.evaluate_tick(context).run_requests) == 1


def test_an_ablation_that_is_asked_for_stands_aside_of_everything():
    project = load_project(ROOT / "nexusflow.yaml")
    found = build_definitions(project.model_copy(update={"ablation": AblationConfig()}))
    aside = {AssetKey(["f1", "evaluated", f"ablation_{task}"]) for task in TASKS}
    every = {spec.key for spec in found.resolve_all_asset_specs()}
    job = found.resolve_job_def("f1_everything")
    assert set(job.asset_layer.selected_asset_keys) == every - aside - DAILY
    ablation = found.resolve_job_def("f1_ablation")
    assert set(ablation.asset_layer.selected_asset_keys) == aside


def test_nothing_depends_on_a_later_stage():
    makings = all_makings(load_project(ROOT / "nexusflow.yaml"))
    backwards = [
        (making.key, key)
        for making in makings
        for key in making.upstream
        if STAGES.index(key.split("/")[1]) > STAGES.index(making.stage)
    ]
    assert backwards == []


def test_every_upstream_is_an_asset():
    makings = all_makings(load_project(ROOT / "nexusflow.yaml"))
    known = {making.key for making in makings}
    assert {key for making in makings for key in making.upstream} <= known


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(described(definitions()), indent=1) + "\n", encoding="utf-8")
