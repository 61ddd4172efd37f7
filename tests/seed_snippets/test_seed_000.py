"""The first document's code runs, on data of our own and smaller sizes."""

import math

import pytest
import torch
from seed_snippets.shop import SMALL, TABLES, TASK, TRAINING, child, fitted, frames
from torch import nn

import nexus_model
import nexusflow
from nexus_model import (
    ContextualEncoder,
    CrossContextualAttention,
    NexusFormer,
    StandardTabularEncoder,
    TextEncoder,
    TimeSeriesEncoder,
    TransformerFactory,
)
from nexus_model.layers.attention.reference import attention_weights
from nexus_model.schema import ConfigurationError, TrainingError


def test_block_01_each_table_gets_an_encoder_of_its_own():
    encoders = {
        "demographics.csv": StandardTabularEncoder(input_dim=10, complexity="medium"),
        "transactions.csv": TimeSeriesEncoder(input_dim=8, complexity="large"),
        "support_tickets.csv": TextEncoder(input_dim=384, complexity="small"),
    }
    widths = {"demographics.csv": 256, "transactions.csv": 512, "support_tickets.csv": 128}
    for name, encoder in encoders.items():
        numbers_RC = torch.randn(5, encoder.input_dim)
        assert encoder.build()(numbers_RC).shape == (5, widths[name])
    history = encoders["transactions.csv"].build_history(dropout=0.0)
    rows_BLD, age_BL = torch.randn(2, 3, 512), torch.tensor([[9.0, 5.0, 1.0]] * 2)
    assert history(rows_BLD, age_BL, torch.ones(2, 3, dtype=torch.bool)).shape == (2, 3, 512)


def test_block_02_cross_contextual_attention_takes_a_query_and_its_contexts():
    attend = CrossContextualAttention(16, heads=2)
    nn.init.normal_(attend.attend.out.weight)
    query_repr, contexts = torch.randn(3, 2, 16), [torch.randn(3, n, 16) for n in (4, 5)]
    read = attend(query_repr, contexts)
    assert read.shape == query_repr.shape
    torch.testing.assert_close(read, attend(query_repr, contexts[::-1]), atol=1e-5, rtol=0)
    assert not torch.equal(read, attend(query_repr, contexts[:1]))


def test_block_04_every_table_reads_all_others_in_every_iteration():
    cross_attention = CrossContextualAttention(16, heads=2)
    nn.init.normal_(cross_attention.attend.out.weight, std=0.1)
    outputs = [torch.randn(1, n, 16) for n in (2, 3, 4)]
    before = [output.clone() for output in outputs]
    for _ in range(3):
        for i in range(len(outputs)):
            context_reprs = [outputs[j] for j in range(len(outputs)) if j != i]
            outputs[i] = cross_attention(outputs[i], context_reprs)
    for old, new in zip(before, outputs, strict=True):
        assert new.shape == old.shape
        assert not torch.allclose(new, old)


def test_block_06_attention_is_the_published_formula():
    q, k = (torch.randn(1, 2, n, 8, dtype=torch.float64) for n in (3, 5))
    other_tables = torch.tensor([[[True, False, True, True, False]] * 3])
    kept = k[:, :, [0, 2, 3]]
    expected = (q @ kept.transpose(-1, -2) / math.sqrt(8)).softmax(-1)
    found = attention_weights(q, k, other_tables)
    torch.testing.assert_close(found[..., [0, 2, 3]], expected, atol=1e-12, rtol=0)
    assert (found[..., [1, 4]] == 0).all()


def test_block_09_a_stored_model_is_loaded_moved_and_predicts(tmp_path):
    fitted().save(tmp_path / "production_model.nxf")
    model = nexusflow.load_model(tmp_path / "production_model.nxf")
    model.to("cpu")
    batch_data = frames(seed=1, customers=5)
    predictions = model.predict(batch_data)
    assert predictions.equals(fitted().predict(batch_data))
    assert predictions["customer_id"].to_pylist() == [1, 2, 3, 4, 5]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_block_09_predictions_agree_across_devices(tmp_path):
    fitted().save(tmp_path / "m.nxf")
    model, batch_data = nexusflow.load_model(tmp_path / "m.nxf"), frames(seed=1, customers=5)
    exact = torch.tensor(model.predict(batch_data)["prediction"].to_pylist())
    moved = torch.tensor(model.to("cuda").predict(batch_data)["prediction"].to_pylist())
    torch.testing.assert_close(moved, exact, atol=1e-4, rtol=0)


def test_block_10_the_flow_between_tables_is_shown_and_summarised(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = fitted()
    page = model.visualize_flow().read_text(encoding="utf-8")
    assert all(f"{name} reads " in page for name in ("customers", "transactions"))
    assert "://" not in page
    flow_summary = model.get_attention_summary()
    assert flow_summary["top_broadcaster"] in flow_summary["tables"]
    assert flow_summary["top_pairs"][0][2] == max(pair[2] for pair in flow_summary["top_pairs"])
    assert flow_summary == model.get_attention_summary()


class CustomEncoder(ContextualEncoder):
    """Fifteen lines of a user's own."""

    def __init__(self, input_dim, embed_dim, **kwargs):
        super().__init__(input_dim, embed_dim)
        self.mix = nn.Linear(embed_dim, embed_dim)

    def forward(self, x):
        return self.mix(x.sum(dim=1))


class Misshapen(ContextualEncoder):
    """Gives a vector per cell instead of one per row."""

    def forward(self, x):
        return x


def test_block_11_a_registered_encoder_is_trained_stored_and_loaded(tmp_path):
    TransformerFactory.register_encoder("custom", CustomEncoder, override=True)
    model = NexusFormer({"customers": "custom"}, **SMALL)
    model.fit(frames(), TABLES, TASK, training=TRAINING)
    model.save(tmp_path / "own.nxf")
    loaded = nexus_model.load_model(tmp_path / "own.nxf")
    assert isinstance(loaded.model.database.tables["customers"].rows, CustomEncoder)
    assert loaded.predict(frames(seed=2)).equals(model.predict(frames(seed=2)))


def test_block_11_a_name_is_taken_once_and_shapes_are_checked():
    TransformerFactory.register_encoder("custom", CustomEncoder, override=True)
    with pytest.raises(ConfigurationError, match="custom"):
        TransformerFactory.register_encoder("custom", CustomEncoder)
    TransformerFactory.register_encoder("misshapen", Misshapen, override=True)
    table = child("orders", "order_id")
    with pytest.raises(TrainingError, match="Misshapen"):
        nexus_model.create_encoder("misshapen", table)
