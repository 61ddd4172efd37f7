"""Integrated gradients, traces, masks, experts, neighbours and attention, on the tiny database."""

import numpy as np
import pytest
import torch
from tiny import stirred, tiny_database, tiny_model

from nexus_model.encode.choose import TableConfig
from nexus_model.encode.tabnet import TabNetConfig
from nexus_model.exchange.refine import RefinementConfig
from nexus_model.explain.attention_flow import attention_flow, attention_patterns
from nexus_model.explain.inside import (
    expert_map,
    mask_importance,
    nearest_samples,
    refinement_trace,
)
from nexus_model.explain.integrated_gradients import column_names, integrated_gradients
from nexus_model.explain.outcome import Asked
from nexus_model.layers.experts.layer import ExpertsConfig
from nexus_model.schema import TaskKind


@pytest.fixture(scope="module")
def tiny():
    return tiny_database()


@pytest.fixture(scope="module")
def asked(tiny):
    return of(tiny, cycles=3)


@pytest.fixture(scope="module")
def columns(tiny):
    return {table.table: column_names(table) for table in tiny.tokenizer.tables}


def of(tiny, **config):
    model = stirred(tiny_model(tiny, **config))
    return Asked(model, tiny.recipe.task, tiny.tokenizer.label)


@pytest.mark.parametrize("kind", list(TaskKind))
def test_shares_of_cells_add_up_to_the_score_less_its_baseline(kind):
    tiny = tiny_database(kind)
    columns = {table.table: column_names(table) for table in tiny.tokenizer.tables}
    found = integrated_gradients(of(tiny), tiny.tensors, tiny.every_B[40:43], columns)
    assert found.error_B.max() <= 0.01
    for sample in range(3):
        way = found.score_B[sample] - found.baseline_B[sample]
        assert sum(found.by_table(sample).values()) == pytest.approx(
            way, abs=0.011 * abs(way) + 1e-5
        )


def test_a_share_does_not_depend_on_who_is_asked_with_it(tiny, asked, columns):
    # The baseline is the mean over the rows read, so the same samples are asked in another order.
    some_B = tiny.every_B[40:44]
    first = integrated_gradients(asked, tiny.tensors, some_B, columns)
    second = integrated_gradients(asked, tiny.tensors, some_B[::-1].copy(), columns)
    for key, share in first.by_column(0).items():
        assert second.by_column(3)[key] == pytest.approx(share, abs=1e-4)


def test_shares_are_addressed_by_table_column_and_row_id(tiny, asked, columns):
    found = integrated_gradients(asked, tiny.tensors, tiny.every_B[40:42], columns)
    place = next(at for at, path in enumerate(tiny.tensors.paths) if path.table == "tickets")
    index = tiny.tensors.indexes[place]
    rows = index.rows_N[index.offsets_B[40] : index.offsets_B[41]].tolist()
    assert sorted(found.by_row(0, "tickets")) == sorted(rows)
    assert {column for table, column in found.by_column(0) if table == "orders"} == set(
        column_names(tiny.tokenizer["orders"])
    )


def test_a_column_the_model_cannot_see_has_no_share(tiny, columns):
    asked = of(tiny)
    with torch.no_grad():
        asked.model.database.tables["tickets"].cells.text.embedding.weight.zero_()
    found = integrated_gradients(asked, tiny.tensors, tiny.every_B[40:42], columns)
    assert found.by_column(0)["tickets", "body"] == 0
    assert any(found.by_column(0).values())


def test_explaining_leaves_the_model_as_it_was(tiny, asked, columns):
    before = {name: weight.clone() for name, weight in asked.model.state_dict().items()}
    integrated_gradients(asked, tiny.tensors, tiny.every_B[40:41], columns)
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in asked.model.modules()]
    assert not any(hooks)
    assert all(weight.grad is None for weight in asked.model.parameters())
    assert all(torch.equal(before[name], w) for name, w in asked.model.state_dict().items())


def test_the_last_step_of_a_trace_is_the_answer(tiny, asked):
    chosen_B = tiny.every_B[40:47]
    trace = refinement_trace(asked, tiny.tensors, chosen_B)
    assert len(trace.scores) == 4
    assert len(trace.changes) == 3
    none = refinement_trace(of(tiny, cycles=0), tiny.tensors, chosen_B)
    assert (len(none.scores), none.changes) == (1, ())
    np.testing.assert_allclose(
        trace.scores[3], refinement_trace(asked, tiny.tensors, chosen_B).scores[-1]
    )
    assert trace.scores[0] != trace.scores[3]


def test_a_cycle_that_does_nothing_is_told_so(tiny):
    model = tiny_model(tiny, refinement=RefinementConfig(relations=()))  # Nobody else is heard.
    for own in (block.own.attend.out for block in model.refine.blocks):
        assert not own.weight.any()  # One's own rows add nothing yet.
    asked = Asked(model, tiny.recipe.task, tiny.tokenizer.label)
    trace = refinement_trace(asked, tiny.tensors, tiny.every_B[40:42])
    assert all(share == pytest.approx(0, abs=1e-6) for share in trace.changes[1])


def test_masks_and_experts_are_shares(tiny, columns):
    asked = of(
        tiny,
        experts=ExpertsConfig(experts=3),
        tables={"orders": TableConfig(encoder=TabNetConfig())},
    )
    masks = mask_importance(asked.model, tiny.tensors, tiny.every_B, columns)
    assert list(masks) == ["orders"]
    assert list(masks["orders"]) == list(columns["orders"])
    (layer,) = expert_map(asked.model, tiny.tensors, tiny.every_B)
    assert sum(layer.load) == pytest.approx(1)
    assert set(layer.by_path) == set(asked.model.path_names)
    assert all(sum(share) == pytest.approx(1, abs=1e-6) for share in layer.by_path.values())


def test_the_nearest_are_other_entities_by_falling_cosine(tiny, asked):
    found = nearest_samples(asked.model, tiny.tensors, tiny.every_B[:5], tiny.every_B, 4)
    entity_B = tiny.times.entity_B
    assert (entity_B[found.sample_BK] != entity_B[:5, None]).all()
    assert (np.diff(found.cosine_BK, axis=1) <= 0).all()
    assert found.cosine_BK.max() <= 1 + 1e-9


def test_attention_of_one_sample_names_every_row_and_sums_to_one(tiny, asked):
    patterns = attention_patterns(asked.model, tiny.tensors, 40)
    assert len(patterns) == 3
    for pattern in patterns:
        heads, readers, read = pattern.weights_HQN.shape
        assert (heads, readers, read) == (2, len(pattern.readers), len(pattern.read))
        np.testing.assert_allclose(pattern.weights_HQN.sum(axis=2), 1, atol=1e-6)
        for place, (path, _) in enumerate(pattern.readers):
            own = [at for at, (name, _) in enumerate(pattern.read) if name == path]
            assert pattern.weights_HQN[:, place, own].max() == 0


def test_attention_in_full_adds_up_to_the_flow(tiny, asked):
    flow = attention_flow(asked.model, tiny.tensors, np.array([40]))
    pattern, paths = attention_patterns(asked.model, tiny.tensors, 40)[0], flow.paths
    total = np.zeros((len(paths), len(paths)))
    for place, (reader, _) in enumerate(pattern.readers):
        for at, (read, _) in enumerate(pattern.read):
            total[paths.index(reader), paths.index(read)] += pattern.weights_HQN[
                :, place, at
            ].mean()
    np.testing.assert_allclose(total / total.sum(1, keepdims=True), flow.cycles[0], atol=1e-6)
