"""The same findings as asset checks: there only where accepted, as severe as their worst line."""

from types import SimpleNamespace

import dagster as dg
import polars as pl
import pytest

from nexus_pipeline.assembly import build_definitions
from nexus_pipeline.defs.expected import expected_checks
from nexus_pipeline.defs.resources import ProgressResource
from nexus_pipeline.expect.accepted import accepted_folder, read_accepted
from nexus_pipeline.expect.problem import OF_A_TABLE, OF_ALL
from nexus_pipeline.settings.validation import AcceptedLeak
from nexus_pipeline.storage.resource import StoreResource

LEAK_CHECKS = {
    "shop/aligned/samples_churned: no_entity_is_in_two_splits",
    "shop/aligned/index_churned: no_sample_sees_a_later_row",
    "shop/aligned/index_churned: nothing_tells_the_label_alone",
}


def named(project):
    specs = [spec for check in expected_checks(project) for spec in check.check_specs]
    return {f"{spec.asset_key.to_user_string()}: {spec.name}": spec.blocking for spec in specs}


def looked(shop, name, project=None):
    """The result of one check of the shop."""
    project = project or shop.project
    checks = {
        f"{spec.asset_key.to_user_string()}: {spec.name}": check
        for check in expected_checks(project)
        for spec in check.check_specs
    }
    store = StoreResource(database=str(shop.store.path))
    progress = ProgressResource(file=str(shop.folder / "log"))
    # The body itself: of the run it asks nothing but its id.
    context = SimpleNamespace(run=SimpleNamespace(run_id="looked"))
    return checks[name].node_def.compute_fn.decorated_fn(context, store=store, progress=progress)


def test_a_project_without_accepted_files_has_the_leak_checks_only(planted):
    for file in accepted_folder(planted.project).iterdir():
        file.unlink()
    assert named(planted.project) == dict.fromkeys(LEAK_CHECKS, True)


def test_checks_are_there_where_a_file_is_accepted(planted):
    for file in accepted_folder(planted.project).iterdir():
        if file.stem != "orders":
            file.unlink()
    found = named(planted.project)
    assert {name for name in found if "/validated/" in name} == {
        f"shop/validated/orders: {check}" for check in OF_A_TABLE
    }
    assert {f"shop/aligned/database: {check}" for check in OF_ALL} < set(found)
    assert [name for name, blocking in found.items() if not blocking] == [
        "shop/aligned/database: great_expectations_agree"
    ]
    dg.Definitions.validate_loadable(build_definitions(planted.project))


NAME = "shop/validated/orders: columns_are_as_accepted"


@pytest.mark.parametrize(
    ("change", "severity"),
    [
        (lambda t: t.drop("channel"), dg.AssetCheckSeverity.ERROR),
        (lambda t: t.with_columns(note=pl.lit("x")), dg.AssetCheckSeverity.WARN),
    ],
)
def test_a_breaking_change_blocks_and_another_warns(planted, change, severity):
    assert looked(planted, NAME).passed
    planted.change("orders", change)
    (planted.folder / "data/records").mkdir(exist_ok=True)
    for record in (planted.folder / "data/records").rglob("*columns_are*"):
        record.unlink()
    result = looked(planted, NAME)
    assert (result.passed, result.severity) == (False, severity)
    told = result.metadata["problems"].value
    mine = [p.model_dump(mode="json") for p in planted.unexpected() if p.check.value in NAME]
    assert told == mine


def test_a_line_may_say_how_severe_it_is(planted):
    file = accepted_folder(planted.project) / "orders.yaml"
    text = file.read_text("utf-8")
    line = next(line for line in text.splitlines() if line.startswith("  channel:"))
    file.write_text(text.replace(line, line.replace("}", ", severity: warn}")), encoding="utf-8")
    planted.change("orders", lambda t: t.drop("channel"))
    result = looked(planted, NAME)
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)


def test_an_accepted_leak_passes_with_its_reason(accepted_shop):
    name = "shop/aligned/index_churned: nothing_tells_the_label_alone"
    project = accepted_shop.project
    strict = project.validation.model_copy(update={"too_good": 0.55})
    project = project.model_copy(update={"validation": strict})
    leaks = looked(accepted_shop, name, project).metadata["leaks"].value
    assert leaks
    excused = tuple(AcceptedLeak(name=leak["name"], reason="known") for leak in leaks)
    known = strict.model_copy(update={"accepted_leaks": excused})
    result = looked(accepted_shop, name, project.model_copy(update={"validation": known}))
    assert result.passed
    assert result.metadata["accepted"].value == [f"{leak['name']}: known" for leak in leaks]


def test_files_of_expectations_are_no_models(accepted_shop):
    assert len(read_accepted(accepted_shop.project)) == len(accepted_shop.project.datasets)
    assert build_definitions(accepted_shop.project).resolve_all_asset_keys()


@pytest.mark.slow
def test_great_expectations_finds_the_same_and_leaves_pages(planted):
    name = "shop/aligned/database: great_expectations_agree"
    clean = looked(planted, name)
    assert clean.passed
    assert clean.metadata["data_docs_url"].value.startswith("file:///")
    planted.change("products", lambda t: t.with_columns(pl.col("price") * 100))
    for record in (planted.folder / "data/records").rglob("*great_expectations*"):
        record.unlink()
    broken = looked(planted, name)
    assert (broken.passed, broken.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert broken.metadata["failed"].value == [
        "products: expect_column_values_to_be_between(price)"
    ]
    assert (planted.project.root / broken.metadata["data_docs"].value).is_file()
