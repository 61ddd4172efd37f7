"""The project file's keys about the model: each of them changes what is built."""

import pytest
from pydantic import ValidationError

from nexus_model.encode.choose import CustomConfig
from nexus_model.encode.registry import TransformerFactory
from nexus_pipeline.project import ProjectConfig, encoder_files
from nexus_pipeline.settings.architecture import ArchitectureConfig
from nexus_pipeline.settings.dataset import ENCODER_KEYS, DatasetConfig
from nexus_pipeline.steps.model_plan import load_encoders, model_config

ARCHITECTURE = {
    "global_embed_dim": 32,
    "heads": 2,
    "encoder_blocks": 2,
    "summary_tokens": 3,
    "dropout": 0.3,
    "table_dropout": 0.1,
    "refinement_iterations": 3,
    "share_refinement_weights": False,
    "recycle_sampling": True,
    "convergence_threshold": 0.01,
    "cross_attention": False,
    "relation": "commnet, sage",
    "top_k_contexts": 1,
    "pair_dim": 4,
    "fusion": "gated",
    "head_members": 4,
    "cohort_attention": True,
    "parent_hops": 1,
    "activation": "gelu",
    "norm": "rms",
    "initialiser": "kaiming_normal",
    "stochastic_depth": 0.1,
    "use_moe": True,
}
TABLE = {
    "transformer_type": "ft_transformer",
    "complexity": "large",
    "embed_dim": 16,
    "heads": 2,
    "blocks": 3,
    "numerical_embedding": "piecewise",
    "use_moe": True,
    "gradient_checkpointing": True,
    "context_weight": 0.5,
}
OF_ONE_ENCODER = {
    "num_decision_steps": ("tabnet", {"num_decision_steps": 2}),
    "feature_selection": ("tabnet", {"feature_selection": False}),
    "sequence_model": ("timeseries", {"sequence_model": "ssm"}),
    "pattern": ("timeseries", {"sequence_model": "hybrid", "pattern": "ssm,attn"}),
    "position": ("timeseries", {"position": "rotary"}),
}


def project(architecture=None, **table):
    """A project of two tables."""
    return ProjectConfig(
        project_name="shop",
        datasets=[{"name": "customers", "primary_key": "id", **table}, {"name": "orders"}],
        target={"target_table": "customers", "target_column": "churned"},
        architecture=architecture or {},
    )


def test_every_key_of_the_architecture_is_tried():
    under_experts = {"num_experts", "experts_per_token"}
    assert {*ARCHITECTURE} | under_experts == {*ArchitectureConfig.model_fields}


@pytest.mark.parametrize("key", ARCHITECTURE)
def test_a_key_of_the_architecture_changes_the_model(key):
    assert model_config(project({key: ARCHITECTURE[key]})) != model_config(project())


@pytest.mark.parametrize("key", ["num_experts", "experts_per_token"])
def test_a_key_of_the_experts_changes_the_model(key):
    asked = {"use_moe": True}
    assert model_config(project(asked | {key: 3})) != model_config(project(asked))


def test_every_key_of_a_table_is_tried():
    assert {*TABLE, *OF_ONE_ENCODER, "num_experts"} == ENCODER_KEYS
    assert {*DatasetConfig.model_fields} >= ENCODER_KEYS


@pytest.mark.parametrize("key", TABLE)
def test_a_key_of_a_table_changes_that_table_alone(key):
    found, plain = model_config(project(**{key: TABLE[key]})), model_config(project())
    assert found.tables["customers"] != plain.tables["customers"]
    assert found.tables["orders"] == plain.tables["orders"]


@pytest.mark.parametrize("key", OF_ONE_ENCODER)
def test_a_key_of_one_encoder_changes_it_and_is_refused_for_others(key):
    kind, keys = OF_ONE_ENCODER[key]
    found = model_config(project(transformer_type=kind, **keys))
    assert found != model_config(project(transformer_type=kind))
    with pytest.raises(ValidationError, match=f"belongs to transformer_type {kind}"):
        project(transformer_type="mlp", **keys)


def test_complexity_is_width_heads_and_blocks_and_explicit_keys_win():
    table = model_config(project(complexity="medium")).tables["customers"]
    assert (table.width, table.encoder.heads, table.encoder.blocks) == (256, 4, 2)
    table = model_config(project(complexity="medium", embed_dim=64, blocks=5)).tables["customers"]
    assert (table.width, table.encoder.heads, table.encoder.blocks) == (64, 4, 5)


def test_one_table_has_experts_and_the_other_none():
    tables = model_config(project(use_moe=True, num_experts=4)).tables
    assert tables["customers"].experts.experts == 4
    assert tables["orders"].experts is None


def test_a_misspelt_encoder_is_answered_with_the_nearest():
    with pytest.raises(ValidationError, match="did you mean 'ft_transformer'"):
        project(transformer_type="ft_transfomer")


OWN = """
import torch
from nexus_model.encode.registry import ContextualEncoder, TransformerFactory

class Largest(ContextualEncoder):
    def __init__(self, input_dim, embed_dim):
        super().__init__(input_dim, embed_dim)
        self.line = torch.nn.Linear(embed_dim, embed_dim)
    def forward(self, cells_RCD):
        return self.line(cells_RCD.amax(1))

TransformerFactory.register_encoder("widest", Largest)
"""


def test_an_encoder_of_ones_own_is_named_in_the_file(tmp_path):
    (tmp_path / "mine.py").write_text(OWN, encoding="utf-8")
    with pytest.raises(ValidationError, match="'widest'"):
        project(transformer_type="widest")
    given = ProjectConfig(
        project_name="shop",
        datasets=[{"name": "customers", "primary_key": "id", "transformer_type": "widest"}],
        target={"target_table": "customers", "target_column": "churned"},
        encoder_modules="mine.py",
        root=tmp_path,
    )
    load_encoders(given)
    load_encoders(given)
    assert "widest" in TransformerFactory.registered()
    assert model_config(given).tables["customers"].encoder == CustomConfig(name="widest")
    assert len(encoder_files(given)["mine.py"]) == 64
