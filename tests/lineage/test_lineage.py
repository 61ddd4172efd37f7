"""Lineage from records alone, told as a tree, and what two models do not share."""

import datetime as dt
from types import SimpleNamespace

import pytest

from nexus_model.schema import ConfigurationError
from nexus_pipeline.lineage.compare import compare, told_comparison
from nexus_pipeline.lineage.model_lineage import (
    Figure,
    ModelLineage,
    asset_of,
    commit_of,
    raw_files,
    walk,
)
from nexus_pipeline.lineage.trace import Found, find, told_lineage
from nexus_pipeline.steps.records import MadeRecord, Records
from nexus_pipeline.steps.registry import RegisteredVersion
from nexus_pipeline.steps.stored import Stored

KEYS = {
    "shop/raw/orders": (),
    "shop/raw/people": (),
    "shop/aligned/database": ("shop/raw/orders", "shop/raw/people"),
    "shop/optimized/churned": ("shop/aligned/database",),
    "shop/evaluated/churned": ("shop/optimized/churned", "shop/aligned/database"),
}


@pytest.fixture
def records(tmp_path):
    kept = Records(tmp_path)
    for key, upstream in KEYS.items():
        facts = {"file_sha256": key[-6:] * 8} if "/raw/" in key else {}
        kept.write(
            MadeRecord(
                key=key,
                fingerprint=f"of {key}",
                stored=Stored(location=key, sha256=f"{key}!" * 4, rows=7, facts=facts),
                run_id="dagster-1",
                code_version="c1",
                config={"seed": 3, "optimizer": {"lr": 0.1}} if "optimized" in key else {},
                upstream={one: (f"{one}!" * 4)[:32] for one in upstream},
                commit="a" * 40,
            )
        )
    return kept


class Project(SimpleNamespace):
    """As much of a project as raw files need."""

    def __getitem__(self, table):
        return SimpleNamespace(path=f"tables/{table}.csv")

    def raw_path(self, table):
        return self.root / f"tables/{table}.csv"


@pytest.fixture
def lineage(records, tmp_path):
    found = walk(records, ("shop/optimized/churned", "shop/evaluated/churned"))
    project = Project(project_name="shop", root=tmp_path, raw_folder=None)
    return ModelLineage(
        project="shop", task="churned", name="shop-churned", version="2", parent_version="1",
        artifact_sha256="f" * 64, commit="a" * 40, written=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        packages={"torch": "2.13.0"}, raw=raw_files(project, found.values()),
        assets=tuple(asset_of(record) for record in found.values()),
        metrics={"validation": {"auroc": Figure(estimate=0.7, low=0.6, high=0.8)}},
    )  # fmt: skip


def found(lineage, asked="shop-churned/2", **tags):
    version = RegisteredVersion(
        name="shop-churned", version=asked[-1], aliases=(), gate=None, parameters={}, run_id="r",
        created=dt.datetime(2026, 1, 1, tzinfo=dt.UTC), tags=tags, metrics={"auroc": 0.7},
    )  # fmt: skip
    return Found(asked, lineage, None, version)


def test_everything_on_the_way_is_walked_once_sources_first(records):
    assert list(walk(records, ("shop/optimized/churned", "shop/evaluated/churned"))) == list(KEYS)


def test_lineage_is_told_down_to_files_and_commit(lineage):
    told = told_lineage(found(lineage, git_commit="b" * 40))
    assert told.splitlines()[0].startswith("shop-churned version 2 (not judged)")
    for table in ("orders", "people"):
        [line] = [line for line in told.splitlines() if f"tables/{table}.csv" in line]
        assert f"sha256 {table * 8}, 7 rows" in line
    assert told.count("shop/aligned/database (above)") == 1
    assert "commit aaaaaaaaaaaa, after version 1" in told
    assert "torch 2.13.0" in told


def test_what_was_made_anew_below_is_no_lineage(records):
    record = records.read("shop/raw/orders")
    other = record.stored.model_copy(update={"sha256": "0" * 64})
    records.write(record.model_copy(update={"stored": other}))
    with pytest.raises(ConfigurationError, match="orders was made anew after shop/aligned"):
        walk(records, ("shop/optimized/churned",))


def test_a_record_of_before_is_named(records):
    record = records.read("shop/raw/orders")
    records.write(record.model_copy(update={"code_version": ""}))
    with pytest.raises(ConfigurationError, match="shop/raw/orders was made before lineage"):
        walk(records, ("shop/optimized/churned",))


def test_two_models_differ_where_data_code_configuration_and_figures_do(lineage):
    raw = (lineage.raw[0].model_copy(update={"sha256": "9" * 64, "rows": 8}), lineage.raw[1])
    assets = tuple(
        one.model_copy(update={"code_version": "c2", "config": {"seed": 3, "optimizer": {"lr": 1}}})
        if one.key == "shop/optimized/churned"
        else one
        for one in lineage.assets
    )
    other = lineage.model_copy(
        update={
            "raw": raw,
            "assets": assets,
            "metrics": {"validation": {"auroc": Figure(estimate=0.75, low=0.7, high=0.8)}},
        }
    )
    compared = compare(found(lineage), found(other, "shop-churned/3"))
    assert set(compared.data) == {"orders"}
    assert compared.configuration == {"optimized/churned: optimizer.lr": (0.1, 1)}
    assert compared.code == {"optimized/churned": ("c1", "c2")}
    assert compared.packages == {}
    told = told_comparison(compared)
    assert "orders: 7 rows, sha256 ordersorders -> 8 rows, sha256 999999999999" in told
    assert "validation auroc: 0.7000 (0.6000 to 0.8000) -> 0.7500 (0.7000 to 0.8000)" in told


def test_a_model_is_the_same_as_itself(lineage):
    told = told_comparison(compare(found(lineage), found(lineage))).splitlines()
    assert len(told) == 6
    assert all(line.endswith(": the same") for line in told[1:])


def test_a_version_without_lineage_is_compared_by_its_tags(lineage):
    compared = compare(found(None, "m/1", git_commit="a"), found(lineage, "m/2", git_commit="b"))
    assert compared.by_tags == {"git_commit": ("a", "b")}
    assert "m/1 has no lineage" in told_comparison(compared)


def test_a_file_without_lineage_beside_it_is_told(records, tmp_path):
    (tmp_path / "m.nxf").write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"lineage.json is not there"):
        find(Project(task_names=()), records, None, str(tmp_path / "m.nxf"))


def test_outside_a_repository_the_commit_is_unknown(tmp_path):
    assert commit_of(tmp_path) == "unknown"
