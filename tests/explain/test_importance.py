"""Exchange of tables, Shapley importance and interaction, against formulas that are known."""

import numpy as np
import pytest
import torch
from tiny import stirred, tiny_database, tiny_model
from tiny_formula import Planted, truth

from nexus_model.explain.coalitions import Coalitions, mean_estimate
from nexus_model.explain.exchanged import draw_donors, exchanged, own_rows, with_column_of
from nexus_model.explain.importance import column_importance, exact_shapley, table_importance
from nexus_model.explain.integrated_gradients import column_names
from nexus_model.explain.interaction import table_interactions
from nexus_model.explain.outcome import Asked, losses
from nexus_model.schema import TaskKind, TaskSpec
from nexus_model.tokenize.batch import build_batch


@pytest.fixture(scope="module")
def tiny():
    return tiny_database()


@pytest.fixture(scope="module")
def model(tiny):
    return stirred(tiny_model(tiny)).double()


def raw(model, batch):
    with torch.no_grad():
        return model(batch)


def test_samples_with_rows_of_their_own_are_answered_as_before(tiny, model):
    every_B, hops = tiny.every_B, model.config.parent_hops
    own = own_rows(tiny.tensors, every_B, hops)
    shared = raw(model, build_batch(tiny.tensors, every_B, hops))
    torch.testing.assert_close(raw(model, exchanged(own, every_B)), shared, rtol=0, atol=1e-10)


def test_a_sample_with_every_table_of_another_is_answered_as_that_one(tiny, model):
    own = own_rows(tiny.tensors, tiny.every_B, model.config.parent_hops)
    asked_B, donor_B = np.array([3, 41, 7]), np.array([50, 6, 22])
    whole = exchanged(own, asked_B, dict.fromkeys(own.tables, donor_B))
    wanted = raw(model, exchanged(own, donor_B))
    torch.testing.assert_close(raw(model, whole), wanted, rtol=0, atol=1e-10)


def test_an_exchanged_table_changes_nothing_else_of_a_batch(tiny):
    own = own_rows(tiny.tensors, tiny.every_B, 2)
    asked_B, donor_B = np.array([30, 41]), np.array([50, 6])
    before, after = exchanged(own, asked_B), exchanged(own, asked_B, {"tickets": donor_B})
    for name, rows in before.tables.items():
        same = torch.equal(rows.ids_R, after.tables[name].ids_R)
        assert same == (name != "tickets")
    torch.testing.assert_close(after.clock_BF, before.clock_BF)


def test_references_into_an_exchanged_table_stay_inside_the_samples_rows(tiny):
    own = own_rows(tiny.tensors, tiny.every_B, 2)
    asked_B = np.arange(40)
    batch = exchanged(own, asked_B, {"orders": asked_B[::-1].copy(), "shops": asked_B + 5})
    for name, rows in batch.tables.items():
        for column, parent in enumerate(own.references[name]):
            assert (rows.parents_RP[:, column] < len(batch.tables[parent].ids_R)).all()


def test_an_exchanged_column_leaves_rows_keys_and_other_columns_alone(tiny):
    own = own_rows(tiny.tensors, tiny.every_B, 2)
    asked_B = np.arange(40, 60)
    before = exchanged(own, asked_B).tables["orders"]
    after = with_column_of(own, asked_B, asked_B - 20, "orders", 2).tables["orders"]
    assert not torch.equal(before.categorical_RC, after.categorical_RC)
    for name in ("numerical_RC", "present_RC", "temporal_RCF", "parents_RP", "ids_R"):
        assert torch.equal(getattr(before, name), getattr(after, name)), name


def test_donors_are_others_of_the_same_cutoff(tiny):
    chosen_B = tiny.every_B
    donors = draw_donors(tiny.times, chosen_B, 5, seed=3)
    cutoff_B = tiny.times.cutoff_B[chosen_B]
    for donor_B in donors:
        assert (donor_B != np.arange(len(chosen_B))).all()
        assert (cutoff_B[donor_B] == cutoff_B).all()
    assert len(np.unique(donors, axis=0)) == 5


def test_importance_follows_the_strengths_and_is_zero_for_what_is_not_read(tiny):
    asked = Planted(tiny.tensors)
    found = truth(asked, Coalitions(asked, tiny.tensors, tiny.every_B[:40], draws=2))
    importance = table_importance(found, tiny.times.entity_B[:40])
    assert [row.table for row in importance.tables[:2]] == ["orders", "tickets"]
    assert importance["orders"].low > 0
    for row in importance.tables[2:]:
        assert (row.shapley, row.low, row.high) == pytest.approx((0, 0, 0), abs=1e-6)


def test_shares_of_importance_add_up_to_what_all_tables_save(tiny, model):
    asked = Asked(model.float(), tiny.recipe.task, tiny.tokenizer.label)
    found = Coalitions(asked, tiny.tensors, tiny.every_B[40:52])
    importance = table_importance(found)
    assert not importance.exact
    model.double()
    total = sum(row.shapley for row in importance.tables)
    assert total == pytest.approx(importance.total, abs=1e-6)


def test_a_shapley_share_is_what_the_definition_says():
    rng, tables = np.random.default_rng(0), ("a", "b", "c")
    sets = [frozenset(s) for s in ("", "a", "b", "c", "ab", "ac", "bc", "abc")]
    value = {key: rng.normal(size=2) for key in sets}
    orders = ["abc", "acb", "bac", "bca", "cab", "cba"]
    wanted = np.zeros((3, 2))
    for order in orders:
        for at, name in enumerate(order):
            gain = value[frozenset(order[: at + 1])] - value[frozenset(order[:at])]
            wanted["abc".index(name)] += gain / len(orders)
    np.testing.assert_allclose(exact_shapley(tables, value), wanted, atol=1e-12)


def test_the_planted_pair_is_found_and_no_other(tiny):
    asked = Planted(tiny.tensors, pair=2.0)
    found = truth(asked, Coalitions(asked, tiny.tensors, tiny.every_B, draws=3), noise=0.1)
    pairs = table_interactions(found).pairs
    assert set(pairs[0].tables) == {"customers", "orders"}
    assert [pair.found for pair in pairs] == [True] + [False] * (len(pairs) - 1)
    assert all(pair.strength < 1e-5 for pair in pairs[1:])


def test_a_parent_read_through_a_key_is_importance_of_the_parents_table(tiny):
    asked = Planted(tiny.tensors, parent=5.0, orders=0.0, tickets=0.0)
    found = truth(asked, Coalitions(asked, tiny.tensors, tiny.every_B[:40]))
    importance = table_importance(found)
    assert importance["shops"].permutation > 0
    assert importance["orders"].permutation > 0
    assert importance["tickets"].permutation == 0


def test_the_column_that_decides_is_the_one_that_costs(tiny):
    asked = Planted(tiny.tensors, pair=2.0, orders=0.0, tickets=0.0)
    found = truth(asked, Coalitions(asked, tiny.tensors, tiny.every_B, draws=2))
    columns = {table.table: column_names(table) for table in tiny.tokenizer.tables}
    rows = column_importance(found, columns)
    assert {(row.table, row.column) for row in rows[:2]} == {
        ("customers", "age"),
        ("orders", "total"),
    }
    assert all(row.permutation == 0 for row in rows[2:])


def test_an_interval_holds_the_mean_and_draws_whole_clusters():
    value_B = np.repeat([0.0, 10.0], 50)
    loose = mean_estimate(value_B, np.repeat([0, 1], 50))
    tight = mean_estimate(value_B, None)
    assert loose.low <= loose.value <= loose.high
    assert tight.high - tight.low < 0.6 * (loose.high - loose.low)
    assert np.isnan(mean_estimate(value_B, np.zeros(100)).low)


@pytest.mark.parametrize("kind", list(TaskKind))
def test_a_loss_is_least_where_the_prediction_is_right(kind):
    task = TaskSpec(
        name="t", kind=kind, entity_table="e",
        classes=("a", "b", "c") if kind is TaskKind.MULTICLASS else (),
        quantiles=(0.1, 0.5, 0.9) if kind is TaskKind.QUANTILE else (),
    )  # fmt: skip
    right, wrong, label_B = {
        TaskKind.BINARY: ([0.99], [0.2], [1.0]),
        TaskKind.MULTICLASS: ([[0, 0, 1.0]], [[0.5, 0.3, 0.2]], [2.0]),
        TaskKind.REGRESSION: ([3.0], [7.0], [3.0]),
        TaskKind.QUANTILE: ([[3.0, 3.0, 3.0]], [[7.0, 8.0, 9.0]], [3.0]),
    }[kind]
    least, more = (losses(task, np.array(said), np.array(label_B))[0] for said in (right, wrong))
    assert least < 0.02 < more
