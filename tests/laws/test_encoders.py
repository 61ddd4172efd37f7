"""Every row encoder through the same facts; the history encoder has its own file."""

import copy
import math

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from tiny import stirred

from nexus_model.encode.choose import (
    CustomConfig,
    EncoderConfig,
    FTTransformerConfig,
    MLPConfig,
    StandardConfig,
    TableConfig,
    build_history_encoder,
    build_row_encoder,
)
from nexus_model.encode.registry import ContextualEncoder, TransformerFactory
from nexus_model.encode.table_encoder import part_name
from nexus_model.encode.tabnet import TabNetConfig
from nexus_model.encode.text_cells import TextConfig
from nexus_model.encode.time_series import TimeSeriesConfig, TimeSeriesEncoder
from nexus_model.layers.experts.layer import ExpertsConfig
from nexus_model.schema import ConfigurationError, TrainingError

ROWS, COLUMNS, WIDTH, HEADS = 11, 5, 8, 2


class MeanEncoder(ContextualEncoder):
    """A custom encoder: a line over the mean cell and the number of cells."""

    def __init__(self, input_dim, embed_dim, **options):
        super().__init__(input_dim, embed_dim)
        self.line = torch.nn.Linear(embed_dim, embed_dim)
        self.scale = options.get("scale", 1.0)

    def forward(self, cells_RCD):
        total_RD = cells_RCD.sum(1) / max(1, self.input_dim)
        return self.line(total_RD * self.scale)


TransformerFactory.register_encoder("mean", MeanEncoder, override=True)
FT = TableConfig(encoder=FTTransformerConfig(blocks=2, heads=HEADS))
EXPERTS = ExpertsConfig(experts=4)
CONFIGS = [
    TableConfig(encoder=StandardConfig(blocks=2, heads=HEADS)),
    FT,
    TableConfig(encoder=MLPConfig(blocks=2)),
    TableConfig(encoder=TabNetConfig()),
    TableConfig(encoder=TextConfig(heads=HEADS)),
    TableConfig(encoder=TimeSeriesConfig(blocks=2, heads=HEADS)),
    TableConfig(encoder=CustomConfig(name="mean", options={"scale": 2.0})),
    TableConfig(encoder=StandardConfig(heads=HEADS), experts=EXPERTS),
    TableConfig(encoder=FTTransformerConfig(heads=HEADS), experts=EXPERTS),
    TableConfig(encoder=MLPConfig(), experts=EXPERTS),
]


def name(config):
    return config.encoder.kind + ("-experts" if config.experts else "")


every_config = pytest.mark.parametrize("config", CONFIGS, ids=name)


def row_encoder(config, columns=COLUMNS):
    """A row encoder none of whose weights is zero."""
    return stirred(build_row_encoder(config, columns, WIDTH, 0.0)).eval()


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
    assert TableConfig.model_validate_json(config.model_dump_json()) == config


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
            if not any(True for _ in part.parameters()):
                continue
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
    for block in range(FT.encoder.blocks):
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
    encoder, cells_RCD = row_encoder(FT), torch.randn(ROWS, COLUMNS, WIDTH)
    exact = encoder.double()(cells_RCD.double())
    torch.testing.assert_close(exact, ft_formula(encoder, cells_RCD), atol=1e-10, rtol=0)


def test_only_the_time_series_reads_histories():
    for config in CONFIGS:
        found = build_history_encoder(config, WIDTH, 0.0)
        is_history = isinstance(config.encoder, TimeSeriesConfig)
        assert isinstance(found, TimeSeriesEncoder) is is_history


def test_two_columns_that_mean_something_together_only_are_learned():
    """XOR: neither column alone says anything (A05)."""
    torch.manual_seed(0)
    values = torch.randint(0, 2, (512, 2)).float() * 2 - 1
    cells_RCD = torch.stack([values * k for k in range(1, WIDTH + 1)], -1) / WIDTH
    encoder = build_row_encoder(CONFIGS[0], 2, WIDTH, 0.0)
    head = torch.nn.Linear(WIDTH, 1)
    learn = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=0.01)
    for _ in range(150):
        logit = head(encoder(cells_RCD))[:, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            logit, (values.prod(1) > 0).float()
        )
        learn.zero_grad()
        loss.backward()
        learn.step()
    assert loss < 0.05


def test_a_custom_encoder_is_registered_once_unless_replaced():
    with pytest.raises(ConfigurationError, match="override=True"):
        TransformerFactory.register_encoder("mean", MeanEncoder)
    with pytest.raises(ConfigurationError, match="ContextualEncoder"):
        TransformerFactory.register_encoder("line", torch.nn.Linear)
    assert "mean" in TransformerFactory.registered()


def test_an_encoder_nobody_registered_is_refused_by_name():
    with pytest.raises(ConfigurationError, match=r"'meen' is not registered; known: \[.*'mean'"):
        build_row_encoder(TableConfig(encoder=CustomConfig(name="meen")), 2, WIDTH, 0.0)


def test_an_encoder_of_the_wrong_shape_is_caught_when_it_is_built():
    class Flat(ContextualEncoder):
        def forward(self, cells_RCD):
            return cells_RCD.flatten(1)

    TransformerFactory.register_encoder("flat", Flat, override=True)
    with pytest.raises(TrainingError, match=r"Flat must give \[rows, 8\]"):
        build_row_encoder(TableConfig(encoder=CustomConfig(name="flat")), 2, WIDTH, 0.0)


@pytest.mark.parametrize("name", ["items", "a.b", "keys", "training", "%", "items%", "_modules"])
def test_any_table_name_can_name_a_module(name):
    modules = torch.nn.ModuleDict({part_name(name): torch.nn.Identity()})
    assert part_name(name) in modules


def test_two_table_names_never_name_one_module():
    names = ["items", "items%", "items%25", "a.b", "a%2Eb", "ab"]
    assert len({part_name(name) for name in names}) == len(names)
