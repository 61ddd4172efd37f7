"""Every row encoder and the history encoder through the same facts."""

import copy
import math

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from tiny import stirred

from nexus_model.encode.cells import CellEmbedding, NumericalCells, TextCells
from nexus_model.encode.choose import (
    EncoderConfig,
    FTTransformerConfig,
    StandardConfig,
    TimeSeriesConfig,
    build_history_encoder,
    build_row_encoder,
)
from nexus_model.encode.table_encoder import part_name
from nexus_model.encode.time_series import TimeSeriesEncoder
from nexus_model.tokenize.batch import TableRows
from nexus_model.tokenize.statistics import CategoricalColumn, TableTokenizer

ROWS, COLUMNS, WIDTH, HEADS = 11, 5, 8, 2
CONFIGS = [
    StandardConfig(blocks=2),
    FTTransformerConfig(blocks=2, heads=HEADS),
    TimeSeriesConfig(blocks=2, heads=HEADS),
]
every_config = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)


def row_encoder(config, columns=COLUMNS):
    """A row encoder none of whose weights is zero."""
    return stirred(build_row_encoder(config, columns, WIDTH, 0.0)).eval()


def history_encoder(blocks=2):
    """A history encoder none of whose weights is zero."""
    return stirred(TimeSeriesEncoder(WIDTH, HEADS, blocks, 0.0)).eval()


def histories(samples=7, steps=13):
    """Rows, ages (oldest first) and keep of samples with 0, 1, 2, ... rows."""
    rows_BLD, age_BL = torch.randn(samples, steps, WIDTH), torch.rand(samples, steps) * 900
    keep_BL = torch.arange(steps) < torch.arange(samples)[:, None] * 2
    return rows_BLD, age_BL.sort(dim=1, descending=True).values, keep_BL


def without_gradient(module):
    """Names of the parameters that got no gradient at all."""
    return [n for n, p in module.named_parameters() if p.grad is None or not p.grad.any()]


@every_config
def test_a_row_is_encoded_the_same_whoever_shares_its_batch(config):
    encoder, cells_RCD = row_encoder(config), torch.randn(ROWS, COLUMNS, WIDTH)
    torch.testing.assert_close(encoder(cells_RCD)[3:4], encoder(cells_RCD[3:4]))


@every_config
def test_rows_come_out_in_the_order_they_went_in(config):
    encoder, cells_RCD = row_encoder(config), torch.randn(ROWS, COLUMNS, WIDTH)
    mixed = torch.randperm(ROWS)
    torch.testing.assert_close(encoder(cells_RCD[mixed]), encoder(cells_RCD)[mixed])


@every_config
@pytest.mark.parametrize(("rows", "columns"), [(0, COLUMNS), (ROWS, 0), (0, 0), (1, 1)])
def test_tables_without_rows_or_columns_are_accepted(config, rows, columns):
    found = row_encoder(config, columns)(torch.randn(rows, columns, WIDTH))
    assert found.shape == (rows, WIDTH)
    assert torch.isfinite(found).all()


@every_config
def test_the_cells_are_left_alone(config):
    cells_RCD = torch.randn(ROWS, COLUMNS, WIDTH)
    before = cells_RCD.clone()
    row_encoder(config)(cells_RCD)
    assert torch.equal(cells_RCD, before)


@every_config
def test_a_gradient_reaches_every_parameter(config):
    encoder = row_encoder(config)
    encoder(torch.randn(ROWS, COLUMNS, WIDTH)).pow(3).sum().backward()
    assert without_gradient(encoder) == []


@every_config
def test_every_cell_is_read(config):
    encoder, cells_RCD = row_encoder(config), torch.randn(1, COLUMNS, WIDTH)
    changed = cells_RCD.repeat(COLUMNS, 1, 1)
    changed[range(COLUMNS), range(COLUMNS)] = torch.randn(COLUMNS, WIDTH)
    assert ((encoder(changed) - encoder(cells_RCD)).abs().amax(1) > 1e-4).all()


@every_config
def test_the_same_seed_gives_the_same_rows(config):
    cells_RCD, found = torch.randn(ROWS, COLUMNS, WIDTH), []
    for _ in range(2):
        torch.manual_seed(5)
        found.append(build_row_encoder(config, COLUMNS, WIDTH, 0.0)(cells_RCD))
    assert torch.equal(*found)


@every_config
def test_float64_agrees_with_float32(config):
    encoder, cells_RCD = row_encoder(config), torch.randn(ROWS, COLUMNS, WIDTH)
    exact = copy.deepcopy(encoder).double()(cells_RCD.double())
    torch.testing.assert_close(encoder(cells_RCD).double(), exact, atol=2e-5, rtol=0)


@every_config
def test_a_configuration_comes_back_from_json_as_it_was(config):
    adapter = TypeAdapter(EncoderConfig)
    assert adapter.validate_json(config.model_dump_json()) == config


def test_a_configuration_of_no_kind_or_with_an_unknown_key_is_refused():
    for wrong in ({"kind": "oracle"}, {"kind": "standard", "depth": 2}, {"blocks": 1}):
        with pytest.raises(ValidationError):
            TypeAdapter(EncoderConfig).validate_python(wrong)


@every_config
def test_no_block_is_dead(config):
    encoder, cells_RCD = row_encoder(config), torch.randn(ROWS, COLUMNS, WIDTH)
    for name, module in encoder.named_children():
        for index, block in enumerate(module if isinstance(module, torch.nn.ModuleList) else [0]):
            other = copy.deepcopy(encoder)
            part = other.get_submodule(name)
            stirred(part[index] if block else part, seed=9)
            moved = (other(cells_RCD) - encoder(cells_RCD)).abs().max()
            assert moved > 1e-3, f"{name}[{index}]"


def ft_formula(encoder, cells_RCD):
    """Gorishniy et al. 2021, section 3.3, pre-norm with SwiGLU, written out in float64."""
    w = {name: tensor.double() for name, tensor in encoder.state_dict().items()}

    def norm(x, name):
        shifted = x - x.mean(-1, keepdim=True)
        scale = (shifted.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return shifted / scale * w[f"{name}.weight"] + w[f"{name}.bias"]

    def line(x, name):
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0)

    cls_R1D = w["cls_D"].expand(len(cells_RCD), 1, WIDTH)
    x = torch.cat([cls_R1D, cells_RCD.double()], dim=1)
    for block in range(CONFIGS[1].blocks):
        normed, read = norm(x, f"norms.{block}"), []
        q, k, v = (line(normed, f"attention.{block}.{part}") for part in ("query", "key", "value"))
        for head in torch.arange(WIDTH).split(WIDTH // HEADS):
            scores = q[..., head] @ k[..., head].transpose(1, 2) / math.sqrt(len(head))
            read.append((scores.exp() / scores.exp().sum(-1, keepdim=True)) @ v[..., head])
        x = x + line(torch.cat(read, -1), f"attention.{block}.out")
        gate, up = line(norm(x, f"forwards.{block}.norm"), f"forwards.{block}.up").chunk(2, -1)
        x = x + line(gate / (1 + (-gate).exp()) * up, f"forwards.{block}.down")
    return norm(x[:, 0], "norm")


def test_the_ft_transformer_is_its_formula():
    encoder, cells_RCD = row_encoder(CONFIGS[1]), torch.randn(ROWS, COLUMNS, WIDTH)
    exact = encoder.double()(cells_RCD.double())
    torch.testing.assert_close(exact, ft_formula(encoder, cells_RCD), atol=1e-10, rtol=0)


def test_only_the_time_series_reads_histories():
    kinds = [type(build_history_encoder(config, WIDTH, 0.0)) for config in CONFIGS]
    assert kinds == [type(None), type(None), TimeSeriesEncoder]


def test_a_history_is_encoded_the_same_whoever_shares_its_batch():
    encoder, asked = history_encoder(), histories()
    alone = encoder(*(x[4:5] for x in asked))
    torch.testing.assert_close(encoder(*asked)[4:5], alone)


def test_a_history_is_encoded_the_same_however_far_it_is_padded():
    encoder, (rows_BLD, age_BL, keep_BL) = history_encoder(), histories()
    longest = int(keep_BL.sum(1).max())
    short = encoder(rows_BLD[:, :longest], age_BL[:, :longest], keep_BL[:, :longest])
    torch.testing.assert_close(encoder(rows_BLD, age_BL, keep_BL)[:, :longest], short)


def test_what_stands_in_the_padding_is_not_read():
    encoder, (rows_BLD, age_BL, keep_BL) = history_encoder(), histories()
    junk_BLD = torch.where(keep_BL[..., None], rows_BLD, torch.tensor(1e4))
    junk_BL = torch.where(keep_BL, age_BL, torch.tensor(1e6))
    found = encoder(junk_BLD, junk_BL, keep_BL)
    assert torch.equal(found, encoder(rows_BLD, age_BL, keep_BL))
    assert not found[~keep_BL].any()


def test_a_history_depends_on_the_gaps_between_its_rows():
    encoder, (rows_BLD, age_BL, keep_BL) = history_encoder(), histories()
    stretched = encoder(rows_BLD, age_BL * 3, keep_BL)
    assert ((stretched - encoder(rows_BLD, age_BL, keep_BL)).abs().amax((1, 2)) > 1e-4)[1:].all()


def test_a_history_does_not_depend_on_how_long_ago_it_was():
    encoder, (rows_BLD, age_BL, keep_BL) = history_encoder(), histories()
    later = encoder(rows_BLD, age_BL + 512, keep_BL)
    torch.testing.assert_close(later, encoder(rows_BLD, age_BL, keep_BL), atol=1e-4, rtol=0)


def test_a_gradient_reaches_every_parameter_of_the_history_encoder():
    encoder = history_encoder()
    encoder(*histories()).pow(3).sum().backward()
    assert without_gradient(encoder) == []


def test_the_history_encoder_leaves_its_inputs_alone_and_agrees_with_float64():
    encoder, asked = history_encoder(), histories()
    before = [x.clone() for x in asked]
    found = encoder(*asked)
    assert all(torch.equal(x, y) for x, y in zip(asked, before, strict=True))
    exact = encoder.double()(asked[0].double(), asked[1].double(), asked[2])
    torch.testing.assert_close(found.double(), exact, atol=2e-5, rtol=0)


def table_rows(numbers=2, times=1, categories=2, texts=1):
    """Seven rows of a table with so many columns of each kind."""
    some = torch.Generator().manual_seed(3)
    return TableRows(
        numerical_RC=torch.randn(7, numbers, generator=some),
        present_RC=torch.rand(7, numbers + times, generator=some) < 0.5,
        categorical_RC=torch.randint(0, 4, (7, categories), generator=some),
        temporal_RCF=torch.randn(7, times, 5, generator=some),
        text_RCL=torch.randint(0, 2048, (7, texts, 3), generator=some),
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
            "text": [{"name": "f", "length": 3}],
        }
    )


def test_a_cell_depends_on_its_own_column_alone():
    embedding, rows = stirred(CellEmbedding(table_tokenizer(), WIDTH)), table_rows()
    numbers = rows.numerical_RC.clone()
    numbers[:, 1] += 1
    present = torch.ones_like(rows.present_RC)
    rows = rows._replace(present_RC=present)
    moved = embedding(rows) - embedding(rows._replace(numerical_RC=numbers))
    assert (moved.abs().amax((0, 2)) > 0).tolist() == [False, True, False, False, False, False]


def test_equal_ids_of_two_columns_are_two_vectors():
    embedding = stirred(CellEmbedding(table_tokenizer(), WIDTH))
    cells_RCD = embedding(table_rows()._replace(categorical_RC=torch.full((7, 2), 2)))
    assert not torch.allclose(cells_RCD[:, 3], cells_RCD[:, 4])


def test_a_missing_number_is_a_vector_of_its_own_whatever_stands_there():
    cells, here = stirred(NumericalCells(2, WIDTH)), torch.tensor([[True, False]])
    first = cells(torch.tensor([[[0.0], [0.0]]]), here)
    second = cells(torch.tensor([[[0.0], [9.0]]]), here)
    assert torch.equal(first, second)
    assert not torch.allclose(first[0, 1], cells(torch.zeros(1, 2, 1), ~here)[0, 1])


def test_padding_of_a_text_is_not_read():
    cells = stirred(TextCells(1, 16, WIDTH))
    short, long = torch.tensor([[[3, 5]]]), torch.tensor([[[3, 5, 0, 0]]])
    torch.testing.assert_close(cells(short), cells(long))


@pytest.mark.parametrize("name", ["items", "a.b", "keys", "training", "%", "items%", "_modules"])
def test_any_table_name_can_name_a_module(name):
    modules = torch.nn.ModuleDict({part_name(name): torch.nn.Identity()})
    assert part_name(name) in modules


def test_two_table_names_never_name_one_module():
    names = ["items", "items%", "items%25", "a.b", "a%2Eb", "ab"]
    assert len({part_name(name) for name in names}) == len(names)
