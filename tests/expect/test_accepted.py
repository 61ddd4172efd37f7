"""Accepted files: proposed as a diff, written only when asked, read strictly."""

import datetime as dt

import numpy as np
import pytest
from typer.testing import CliRunner

from nexus_model.schema import ConfigurationError, TaskKind
from nexus_pipeline import cli
from nexus_pipeline.expect.accepted import accepted_folder, read_accepted
from nexus_pipeline.expect.problem import Check
from nexus_pipeline.expect.proposed import propose
from nexus_pipeline.expect.strength import strength_of_category, strength_of_number
from nexus_pipeline.expect.unexpected import find_unexpected
from nexus_pipeline.expect.written import difference


def asked(shop, *words):
    done = CliRunner().invoke(
        cli.app, ["expect", "-p", str(shop.folder / "nexusflow.yaml"), *words]
    )
    assert done.exit_code == 0, done.output
    return done.output


def test_nothing_is_written_unless_accepted(planted):
    file = accepted_folder(planted.project) / "orders.yaml"
    file.unlink()
    shown = asked(planted, "--table", "orders")
    assert "+++ dbt_like_sql/shop/validated/orders.yaml" in shown
    assert "+  amount: {type: DOUBLE, nulls: 0" in shown
    assert not file.exists()
    assert "accepted: dbt_like_sql/shop/validated/orders.yaml" in asked(planted, "--accept")
    assert file.exists()
    assert "the data is as it was accepted" in asked(planted)


def test_a_severity_a_person_gave_outlives_the_next_proposal(planted):
    file = accepted_folder(planted.project) / "orders.yaml"
    text = file.read_text("utf-8").replace("rows: {", "rows: {severity: error, ")
    file.write_text(text.replace("least: ", "least: 1", 1), encoding="utf-8")
    (proposal,) = propose(planted.project, planted.store, "orders")
    lines = difference(planted.project, proposal).splitlines()
    assert "severity: error" in next(line for line in lines if line.startswith("+rows"))
    assert len([line for line in lines if line.startswith(("+", "-"))]) == 4


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("columns: {amount: {type: DOUBLE, mots: 3}}", r"columns\.amount\.mots"),
        ("rows: [", "not valid YAML"),
        ("rejected: {most: 3}", "rejected.most"),
    ],
)
def test_a_file_that_cannot_be_expected_is_refused(planted, text, told):
    (accepted_folder(planted.project) / "orders.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=told):
        read_accepted(planted.project)


def test_a_file_of_no_table_is_refused_with_the_nearest(planted):
    (accepted_folder(planted.project) / "ordres.yaml").write_text("", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="did you mean 'orders'"):
        read_accepted(planted.project)


def test_finished_history_stays_fresh_unless_compared_with_the_present(planted):
    file = accepted_folder(planted.project) / "orders.yaml"
    later = dt.datetime(2040, 1, 1)

    def late():
        accepted = read_accepted(planted.project).values()
        found = find_unexpected(planted.project, planted.store, accepted, [Check.NEWEST], later)
        return [problem.table for problem in found]

    assert late() == []
    text = file.read_text("utf-8").replace("newest: {", "newest: {behind: now, ")
    file.write_text(text, encoding="utf-8")
    assert late() == ["orders"]


def test_chance_is_not_strength():
    rng = np.random.default_rng(0)
    label_N = (rng.random(300) < 0.2).astype(float)
    names_N = np.arange(300)
    assert strength_of_category(names_N, label_N, TaskKind.BINARY) < 0.6
    assert strength_of_category(np.zeros(300, int), label_N, TaskKind.BINARY) < 0.6
    assert strength_of_number(rng.normal(size=300), label_N, TaskKind.BINARY) < 0.6
    assert strength_of_category(names_N, rng.integers(0, 4, 300), TaskKind.MULTICLASS) < 0.2
    assert strength_of_number(label_N[:20], label_N[:20], TaskKind.BINARY) == 0.0


@pytest.mark.parametrize("kind", [TaskKind.BINARY, TaskKind.MULTICLASS, TaskKind.REGRESSION])
def test_the_label_itself_is_as_strong_as_can_be(kind):
    label_N = np.random.default_rng(0).integers(0, 2 if kind is TaskKind.BINARY else 5, 300)
    assert strength_of_number(-label_N.astype(float), label_N, kind) == pytest.approx(1.0)
    assert strength_of_category(label_N, label_N, kind) == pytest.approx(1.0)
