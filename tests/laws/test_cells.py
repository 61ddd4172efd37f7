"""Cells: numbers as lines, waves or pieces, categories, texts; columns never mix."""

import copy

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from tiny import stirred

from nexus_model.encode.cells import CategoricalCells, CellEmbedding
from nexus_model.encode.choose import TableConfig
from nexus_model.encode.numbers import (
    LinearCells,
    NumbersConfig,
    PeriodicNumbers,
    PiecewiseCells,
    PiecewiseNumbers,
    PlainNumbers,
    build_numbers,
)
from nexus_model.encode.text_cells import AttentiveTextCells, TextCells, TextConfig
from nexus_model.tokenize.batch import TableRows
from nexus_model.tokenize.columns import encode_numerical, fit_numerical
from nexus_model.tokenize.statistics import CategoricalColumn, NumericalScaling, TableTokenizer

WIDTH = 8
NUMBERS = [PlainNumbers(), PeriodicNumbers(frequencies=3), PiecewiseNumbers()]
every_number = pytest.mark.parametrize("config", NUMBERS, ids=lambda config: config.kind)


def table_rows(numbers=2, times=1, categories=2, texts=1):
    """Seven rows of a table with so many columns of each kind."""
    some = torch.Generator().manual_seed(3)
    return TableRows(
        numerical_RC=torch.randn(7, numbers, generator=some),
        present_RC=torch.rand(7, numbers + times, generator=some) < 0.5,
        categorical_RC=torch.randint(0, 4, (7, categories), generator=some),
        temporal_RCF=torch.randn(7, times, 5, generator=some),
        text_RCL=torch.randint(0, 257, (7, texts, 3), generator=some),
        vectors_RCZ=torch.zeros(7, 0, 0),
        parents_RP=torch.zeros(7, 0, dtype=torch.int64),
        ids_R=torch.arange(7),
    )


def table_tokenizer():
    """The tokenizer of such a table."""
    known = {"mean": 0.0, "std": 1.0}
    return TableTokenizer.model_validate(
        {
            "table": "t",
            "timed": False,
            "numerical": [{"name": "a", **known}, {"name": "b", **known}],
            "temporal": [{"name": "c", **known}],
            "categorical": [CategoricalColumn(name=n, vocabulary=("x", "y")) for n in "de"],
            "text": [{"name": "f", "length": 3, "subwords": {}}],
        }
    )


def embedding_of():
    """The embedding of such a table."""
    return CellEmbedding(table_tokenizer(), TableConfig(), WIDTH)


def test_a_cell_depends_on_its_own_column_alone():
    embedding, rows = stirred(embedding_of()), table_rows()
    numbers = rows.numerical_RC.clone()
    numbers[:, 1] += 1
    present = torch.ones_like(rows.present_RC)
    rows = rows._replace(present_RC=present)
    moved = embedding(rows) - embedding(rows._replace(numerical_RC=numbers))
    assert (moved.abs().amax((0, 2)) > 0).tolist() == [False, True, False, False, False, False]


def test_equal_ids_of_two_columns_are_two_vectors():
    embedding = stirred(embedding_of())
    cells_RCD = embedding(table_rows()._replace(categorical_RC=torch.full((7, 2), 2)))
    assert not torch.allclose(cells_RCD[:, 3], cells_RCD[:, 4])


def test_a_missing_number_is_a_vector_of_its_own_whatever_stands_there():
    cells, here = stirred(LinearCells(2, WIDTH)), torch.tensor([[True, False]])
    first = cells(torch.tensor([[[0.0], [0.0]]]), here)
    second = cells(torch.tensor([[[0.0], [9.0]]]), here)
    assert torch.equal(first, second)
    assert not torch.allclose(first[0, 1], cells(torch.zeros(1, 2, 1), ~here)[0, 1])


def test_padding_of_a_text_is_not_read():
    cells = stirred(TextCells(1, 16, WIDTH))
    short, long = torch.tensor([[[3, 5]]]), torch.tensor([[[3, 5, 0, 0]]])
    torch.testing.assert_close(cells(short), cells(long))


def columns(count=2):
    """Fitted statistics of normal columns."""
    some = np.random.default_rng(0)
    return tuple(
        fit_numerical(f"x{at}", some.normal(size=500), NumericalScaling.STANDARD)
        for at in range(count)
    )


def numbers_of(config, count=2):
    """An embedding of numbers none of whose weights is zero."""
    return stirred(build_numbers(config, columns(count), WIDTH))


@every_number
def test_a_number_is_embedded_by_itself(config):
    embed, values_RC = numbers_of(config), torch.randn(7, 2)
    here = torch.ones(7, 2, dtype=torch.bool)
    torch.testing.assert_close(embed(values_RC, here)[3:4], embed(values_RC[3:4], here[3:4]))
    other = values_RC.clone()
    other[:, 1] += 0.3
    moved = (embed(other, here) - embed(values_RC, here)).abs().amax((0, 2))
    assert (moved > 1e-4).tolist() == [False, True]


@every_number
def test_a_missing_number_is_one_vector_whatever_stands_there(config):
    embed, gone = numbers_of(config), torch.zeros(2, 2, dtype=torch.bool)
    found = embed(torch.tensor([[1.0, 2.0], [-3.0, 0.0]]), gone)
    assert torch.equal(found[0], found[1])
    assert found.abs().min() > 0


@every_number
def test_a_gradient_reaches_every_trained_parameter_and_float64_agrees(config):
    embed, values_RC = numbers_of(config), torch.randn(40, 2)
    here = torch.rand(40, 2) < 0.7
    embed(values_RC, here).pow(3).sum().backward()
    trained = [(n, p) for n, p in embed.named_parameters() if p.requires_grad]
    assert [n for n, p in trained if p.grad is None or not p.grad.any()] == []
    exact = copy.deepcopy(embed).double()(values_RC.double(), here)
    torch.testing.assert_close(embed(values_RC, here).double(), exact, atol=2e-5, rtol=0)


@every_number
def test_a_choice_of_numbers_comes_back_from_json_as_it_was(config):
    assert TypeAdapter(NumbersConfig).validate_json(config.model_dump_json()) == config


def test_pieces_are_equation_one_of_the_paper():
    column = columns(1)[0]
    pieces, edges = PiecewiseCells([column], WIDTH), np.array(column.edges)
    for value in (edges[0] - 1, edges[3], (edges[5] + edges[6]) / 2, edges[-1] + 2):
        share = (value - edges[:-1]) / np.diff(edges)
        exact = np.clip(share, 0, 1)
        exact[0] = min(share[0], 1)
        exact[-1] = max(share[-1], 0)
        found = pieces.features(torch.tensor([[value]], dtype=torch.float32))
        np.testing.assert_allclose(found[0, 0].numpy(), exact, atol=2e-3)


@pytest.mark.parametrize("values", [[], [3.0], [3.0] * 9, [1.0, 2.0], [np.nan] * 4])
def test_columns_without_spread_have_pieces_too(values):
    column = fit_numerical("x", np.array(values, np.float64), NumericalScaling.STANDARD)
    embed = build_numbers(PiecewiseNumbers(), (column,), WIDTH)
    assert torch.isfinite(embed(torch.tensor([[0.5]]), torch.ones(1, 1).bool())).all()


@pytest.mark.parametrize("scaling", list(NumericalScaling))
def test_bins_hold_equally_many_fitted_rows_where_no_two_are_alike(scaling):
    values = np.random.default_rng(1).normal(size=3200)
    column = fit_numerical("x", values, scaling)
    scaled, _ = encode_numerical(values, column)
    counts = np.histogram(scaled, bins=np.array(column.edges))[0]
    assert len(counts) == 32
    assert counts.min() >= 95
    assert counts.max() <= 105


def test_rare_values_keep_bins_of_their_own_beside_a_common_one():
    rare = np.random.default_rng(1).lognormal(size=300)
    column = fit_numerical("x", np.concatenate([np.zeros(2700), rare]), NumericalScaling.STANDARD)
    assert len(column.edges) >= 32


def test_waves_learn_what_a_line_cannot():
    """A high-frequency column: the sign of a sine with eight periods (V08)."""
    losses = {}
    for config in (PlainNumbers(), PeriodicNumbers(sigma=2.0)):
        torch.manual_seed(0)
        values_RC = torch.rand(512, 1) * 4 - 2
        label = ((values_RC[:, 0] * 4 * torch.pi).sin() > 0).float()
        net = torch.nn.Sequential(torch.nn.Linear(WIDTH, 32), torch.nn.ReLU())
        embed, head = build_numbers(config, columns(1), WIDTH), torch.nn.Linear(32, 1)
        parts = torch.nn.ModuleList([embed, net, head])
        learn = torch.optim.Adam(parts.parameters(), lr=0.01)
        for _ in range(200):
            logit = head(net(embed(values_RC, torch.ones(512, 1).bool())[:, 0]))[:, 0]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, label)
            learn.zero_grad()
            loss.backward()
            learn.step()
        losses[config.kind] = float(loss.detach())
    assert losses["periodic"] < 0.25
    assert losses["plain"] > 0.5


def test_unknown_categories_are_learned_from_hidden_ones():
    cells = CategoricalCells((5,), WIDTH, unknown_rate=0.3).train()
    torch.manual_seed(0)
    cells(torch.full((400, 1), 3)).sum().backward()
    assert cells.embedding.weight.grad[1].any()
    cells.eval()
    ids_RC = torch.full((400, 1), 3)
    assert torch.equal(cells(ids_RC)[:, 0], cells.embedding.weight[3].expand(400, -1))


def attentive(length=6):
    """Attention over sub-words, none of whose weights is zero."""
    config = TextConfig(heads=2)
    return stirred(AttentiveTextCells((2, 16, length), WIDTH, config, 0.0)).eval()


def test_the_order_of_words_counts_for_the_text_encoder_and_not_for_a_mean():
    first, second = torch.tensor([[[3, 5, 7], [1, 2, 0]]]), torch.tensor([[[7, 5, 3], [1, 2, 0]]])
    cells = attentive()
    moved = (cells(first) - cells(second)).abs().amax(-1)[0]
    assert moved[0] > 1e-3
    assert moved[1] < 1e-6
    mean = stirred(TextCells(2, 16, WIDTH))
    torch.testing.assert_close(mean(first), mean(second))


def test_texts_are_encoded_alone_whatever_their_padding_and_empty_ones_too():
    cells, ids_RCL = attentive(), torch.randint(1, 16, (5, 2, 6))
    ids_RCL[2:, :, 3:] = 0
    torch.testing.assert_close(cells(ids_RCL)[2:], cells(ids_RCL[2:, :, :3]))
    torch.testing.assert_close(cells(ids_RCL)[4:], cells(ids_RCL[4:]))
    empty = cells(torch.zeros(1, 2, 6, dtype=torch.long))
    torch.testing.assert_close(empty[0], cells.bias_CD)


def test_a_gradient_reaches_every_parameter_of_the_text_encoder():
    cells = attentive()
    cells(torch.randint(0, 16, (50, 2, 6))).pow(3).sum().backward()
    assert [n for n, p in cells.named_parameters() if p.grad is None or not p.grad.any()] == []
