"""Facts, reasons in words, and what an artifact tells of given tables."""

import numpy as np
import pytest
from tiny import tiny_database
from tiny_artifact import CUTOFF, artifact, frames, predictor

from nexus_model.api.former import NexusFormer
from nexus_model.explain.effects import FactReference, Reference, learn_reference
from nexus_model.explain.facts import Fact, gather_facts, standing
from nexus_model.explain.outcome import Asked
from nexus_model.explain.reasons import explain_in_words
from nexus_model.explain.words import describe, told_number
from nexus_model.schema import DataError, TaskKind
from nexus_model.serve.explained import Explained


@pytest.fixture(scope="module")
def tiny():
    return tiny_database()


@pytest.fixture(scope="module")
def asked(tiny):
    return Asked(predictor().model, tiny.recipe.task, tiny.tokenizer.label)


@pytest.fixture(scope="module")
def explained():
    return Explained(predictor(), frames(), CUTOFF)


def value(facts, sample, **fact):
    return facts.value_BK[sample, facts.facts.index(Fact(**fact))]


def test_facts_are_what_the_tables_say(tiny):
    facts = gather_facts(tiny.tokenizer, tiny.tensors, tiny.every_B)
    con, times = tiny.con, tiny.times
    for sample in (20, 41, 55):
        entity, as_of = int(times.entity_B[sample]), int(times.as_of_B[sample])
        seen = con.execute(
            "select total from aligned.orders as own join aligned.links_orders using (_row) "
            "where _fk_0 = ? and epoch_us(_time) <= ? order by _time desc, _row desc limit 5",
            [entity, as_of],
        ).fetchall()
        assert value(facts, sample, table="orders", kind="rows") == len(seen)
        known = [row[0] for row in seen if row[0] is not None]
        mean = value(facts, sample, table="orders", kind="mean", column="total")
        assert mean == pytest.approx(np.mean(known), rel=1e-4) if known else np.isnan(mean)


def test_windows_of_time_hold_each_other(tiny):
    facts = gather_facts(tiny.tokenizer, tiny.tensors, tiny.every_B)
    for sample in tiny.every_B:
        counts = [
            value(facts, sample, table="orders", kind="recent", days=days) for days in (30, 90, 365)
        ]
        assert counts == sorted(counts)
        assert counts[-1] <= value(facts, sample, table="orders", kind="rows")


def test_tables_on_no_path_are_told_through_those_that_reference_them(tiny):
    facts = gather_facts(tiny.tokenizer, tiny.tensors, tiny.every_B)
    assert Fact(table="products", kind="rows") in facts.facts
    assert Fact(table="products", kind="mean", column="price") in facts.facts


@pytest.mark.parametrize(
    ("fact", "number", "rows", "told"),
    [
        ({"kind": "rows"}, 0, 0, "no tickets at all"),
        ({"kind": "recent", "days": 90}, 1, 4, "1 of tickets in the last 90 days"),
        ({"kind": "newest"}, 12.4, 3, "the newest of 3 tickets is 12 days old"),
        ({"kind": "mean", "column": "wait"}, 2.5, 3,
         "wait of tickets is 2.5 on average over 3 rows"),
        ({"kind": "share", "column": "by", "value": "app"}, 0.75, 4, "by is app in 3 of 4 tickets"),
        ({"kind": "own_moment", "column": "joined"}, 18262, 1, "joined is 2020-01-01"),
        ({"kind": "change", "column": "wait"}, -3, 4,
         "wait of tickets fell by 3 from the older half to the newer"),
    ],
)  # fmt: skip
def test_facts_are_told_in_plain_words(fact, number, rows, told):
    assert describe(Fact(table="tickets", **fact), number, rows) == told


def test_a_standing_counts_less_and_more():
    assert standing([1, 2, 3, 4], 3) == (0.5, 0.25)
    assert standing([1, 2, 3, 4], 9) == (1.0, 0.0)


def test_a_reference_survives_json_and_knows_its_facts(tiny, asked):
    found = learn_reference(asked, tiny.tokenizer, tiny.tensors, tiny.every_B)
    assert Reference.model_validate_json(found.model_dump_json()) == found
    orders = next(one for one in found.facts if one.fact == Fact(table="orders", kind="rows"))
    assert list(orders.quantiles) == sorted(orders.quantiles)
    assert len(orders.edges) == len(orders.effects)


def test_what_is_usual_depends_on_the_value():
    one = FactReference(
        fact=Fact(table="t", kind="rows"), quantiles=(0, 5), edges=(0, 2), effects=(-1, 3)
    )
    assert [one.usual(value) for value in (-4, 0, 1.9, 2, 99)] == [-1, -1, -1, 3, 3]


def test_a_reason_says_which_way_and_how_far():
    tiny, model = tiny_database(TaskKind.REGRESSION), predictor(TaskKind.REGRESSION).model
    asked = Asked(model, tiny.recipe.task, tiny.tokenizer.label)
    (reasons,) = explain_in_words(asked, tiny.tokenizer, tiny.tensors, np.array([41]))
    assert reasons
    for reason in reasons:
        word = "raises" if reason.change > 0 else "lowers"
        size = told_number(abs(reason.change))
        assert f"{word} the prediction of again by {size} compared" in reason.text
    sizes = [abs(reason.change) for reason in reasons]
    assert sizes == sorted(sizes, reverse=True)


def test_one_entity_alone_is_explained_against_knowing_nothing(tiny):
    alone = Explained(predictor(), frames(customers=frames()["customers"].slice(3, 1)), CUTOFF)
    (reasons,) = alone.reasons(alone.places())
    assert {reason.against for reason in reasons} <= {"nothing"}
    assert all("knowing nothing of" in reason.text for reason in reasons)


def test_predictions_come_with_reasons_for_each_row():
    former = NexusFormer.of(artifact())
    plain, told = (former.predict(frames(), CUTOFF, explain=ask) for ask in (False, True))
    assert told.column_names == [*plain.column_names, "reasons"]
    assert told.drop(["reasons"]).equals(plain)
    assert all(isinstance(text, str) for row in told["reasons"].to_pylist() for text in row)
    keys = plain["id"].to_pylist()
    some = former.predict(frames(), CUTOFF, entities=[keys[4], keys[1]], explain=True)
    assert some.num_rows == 2


def test_an_artifact_tells_rows_cycles_and_neighbours_by_key(explained):
    keys = explained.keys["id"].to_pylist()
    place = explained.places([keys[5]])
    assert place.tolist() == [5]
    (near,) = explained.nearest(place, 3)
    assert {one.key for one in near} <= set(keys) - {keys[5]}
    assert len(explained.trace(place).scores) == 3
    assert explained.attributions(place).error_B.max() <= 0.01
    assert explained.attention(5)[0].read[0][0] == "customers"


def test_a_key_that_is_not_there_and_labels_that_are_not_are_said(explained):
    with pytest.raises(DataError, match="has no row"):
        explained.places([12345])
    with pytest.raises(DataError, match="importance needs labels"):
        explained.importance()
