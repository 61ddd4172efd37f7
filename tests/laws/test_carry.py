"""Weights of another task's model are carried over where they mean the same, and only there."""

import pytest
import torch
from tiny import stirred, tiny_database, tiny_model

from nexus_model.schema import TaskKind
from nexus_model.train.carry import carry_weights

KIND = "database.tables.customers.cells.categorical.embedding.weight"


@pytest.fixture(scope="module")
def origin():
    """A database, and a model of it that has learned something."""
    tiny = tiny_database()
    return tiny, stirred(tiny_model(tiny, 3)).state_dict()


def reordered(tokenizer, table="customers"):
    """The tokenizer with one table's vocabularies turned round and a value more."""

    def turned(column):
        return column.model_copy(update={"vocabulary": ("never seen", *column.vocabulary[::-1])})

    tables = tuple(
        found.model_copy(update={"categorical": tuple(turned(c) for c in found.categorical)})
        if found.table == table
        else found
        for found in tokenizer.tables
    )
    return tokenizer.model_copy(update={"tables": tables})


def test_a_model_of_the_same_tokenizer_gets_everything_but_the_head(origin):
    tiny, learned = origin
    model = tiny_model(tiny)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    carried = carry_weights(model, tiny.tokenizer, learned, tiny.tokenizer)
    after = model.state_dict()
    assert set(after) - set(carried) == {name for name in after if name.startswith("head.")}
    for name, tensor in after.items():
        kept = before if name.startswith("head.") else learned
        assert torch.equal(tensor, kept[name]), name


def test_vectors_of_categories_follow_their_values(origin):
    tiny, learned = origin
    other = reordered(tiny.tokenizer)
    model = tiny_model(tiny._replace(tokenizer=other))
    fresh = model.state_dict()[KIND].clone()
    carry_weights(model, other, learned, tiny.tokenizer)
    found, start, begun = model.state_dict()[KIND], 0, 0
    for own, known in zip(
        other["customers"].categorical, tiny.tokenizer["customers"].categorical, strict=True
    ):
        assert torch.equal(found[start : start + 2], learned[KIND][begun : begun + 2])
        assert torch.equal(found[start + 2], fresh[start + 2]), "a value it has never seen"
        for value in known.vocabulary:
            at = start + 2 + own.vocabulary.index(value)
            assert torch.equal(found[at], learned[KIND][begun + 2 + known.vocabulary.index(value)])
        start, begun = start + own.size, begun + known.size


def test_cells_of_a_table_with_other_columns_stay_fresh(origin):
    tiny, learned = origin
    theirs = tiny.tokenizer
    renamed = theirs["orders"].numerical[0].model_copy(update={"name": "another"})
    orders = theirs["orders"].model_copy(
        update={"numerical": (renamed, *theirs["orders"].numerical[1:])}
    )
    changed = tuple(orders if table.table == "orders" else table for table in theirs.tables)
    model = tiny_model(tiny)
    carried = carry_weights(
        model, tiny.tokenizer, learned, theirs.model_copy(update={"tables": changed})
    )
    assert not any(name.startswith("database.tables.orders.cells.") for name in carried)
    assert any(name.startswith("database.tables.customers.cells.") for name in carried)


def test_a_task_of_another_kind_can_be_begun_from(origin):
    _, learned = origin
    other = tiny_database(TaskKind.REGRESSION)
    model = tiny_model(other)
    assert carry_weights(model, other.tokenizer, learned, origin[0].tokenizer)


def test_the_weights_given_stay_as_they_are(origin):
    tiny, learned = origin
    before = {name: tensor.clone() for name, tensor in learned.items()}
    model = tiny_model(tiny)
    carry_weights(model, tiny.tokenizer, learned, tiny.tokenizer)
    stirred(model)
    assert all(torch.equal(before[name], learned[name]) for name in before)
