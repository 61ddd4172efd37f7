"""Forms of saying a model agree, and what cannot be is refused."""

import pytest
import torch
from seed_snippets.shop import SMALL, TABLES, prepared, untrained

import nexus_model
import nexusflow
from nexus_model import FTTransformerEncoder, NexusFormer, create_encoder
from nexus_model.api.encoders import MLPEncoder
from nexus_model.api.encoders import fitted as fitted_table
from nexus_model.config import NexusConfig
from nexus_model.encode.choose import FTTransformerConfig, StandardConfig, TableConfig
from nexus_model.encode.tabnet import TabNetConfig
from nexus_model.schema import ColumnSpec, ConfigurationError, SemanticType
from nexus_model.tokenize.batch import TableRows

NAMES = ["ft_transformer", "tabnet", "standard"]


def shapes(former):
    """Names and shapes of the parameters of the bound network."""
    ready = prepared()
    network = former.bind(ready.tokenizer, ready.recipe.paths, ready.recipe.task)
    return {name: tuple(weight.shape) for name, weight in network.named_parameters()}


def test_list_mapping_and_configuration_say_the_same_model():
    encoders = (FTTransformerConfig(), TabNetConfig(), StandardConfig())
    tables = {t.name: TableConfig(encoder=e) for t, e in zip(TABLES, encoders, strict=True)}
    named = {f"{table.name}.csv": name for table, name in zip(TABLES, NAMES, strict=True)}
    keys = {"cross_attention": True, "moe_experts": 4}
    listed = shapes(NexusFormer(encoders=NAMES, **keys, **SMALL))
    assert shapes(NexusFormer(encoders=named, **keys, **SMALL)) == listed
    config = NexusConfig(tables=tables, **SMALL)
    assert shapes(NexusFormer(config=config, **keys)) == listed
    assert shapes(NexusFormer(encoders=NAMES[::-1], **keys, **SMALL)) != listed


def test_cross_attention_and_its_other_name_are_one_switch():
    assert shapes(NexusFormer(collaborative_intelligence=True)) == shapes(NexusFormer())
    alone = shapes(NexusFormer(cross_attention=False))
    assert shapes(NexusFormer(collaborative_intelligence=False)) == alone
    assert alone.keys() < shapes(NexusFormer()).keys()


@pytest.mark.parametrize("encoders", [["tabnet"], ["tabnet"] * 4, {"shops": "tabnet"}])
def test_encoders_that_do_not_fit_the_tables_are_refused(encoders):
    with pytest.raises(ConfigurationError, match="tables"):
        NexusFormer(encoders).config_for([table.name for table in TABLES])


def test_unknown_encoders_sizes_and_settings_are_refused():
    with pytest.raises(ConfigurationError, match="tabnett"):
        NexusFormer(["tabnett"])
    with pytest.raises(ConfigurationError, match="complexity"):
        FTTransformerEncoder(complexity="huge")
    with pytest.raises(ValueError, match="experts_count"):
        NexusFormer(experts_count=3)
    with pytest.raises(ConfigurationError, match="input_dim"):
        FTTransformerEncoder().build()


def test_an_encoder_of_a_schema_reads_all_kinds_of_columns():
    columns = tuple(ColumnSpec(name=kind, semantic=kind) for kind in SemanticType)
    table = TABLES[0].model_copy(update={"columns": columns})
    encode = FTTransformerEncoder(table, complexity="large").build()
    rows = TableRows(
        numerical_RC=torch.randn(5, 1), present_RC=torch.rand(5, 2) > 0.5,
        categorical_RC=torch.randint(0, 2, (5, 1)), temporal_RCF=torch.randn(5, 1, 5),
        text_RCL=torch.randint(0, 9, (5, 1, 4)), vectors_RCZ=torch.zeros(5, 0, 0),
        parents_RP=torch.zeros(5, 0, dtype=torch.int64), ids_R=torch.arange(5),
    )  # fmt: skip
    assert encode(rows).shape == (5, 512)


def test_an_encoder_of_numbers_reads_each_row_alone_and_knows_gaps():
    encode = MLPEncoder(input_dim=4, embed_dim=8).build(dropout=0.0).double().eval()
    numbers_RC = torch.randn(6, 4, dtype=torch.float64)
    numbers_RC[2, 1] = torch.nan
    found = encode(numbers_RC)
    assert found.isfinite().all()
    torch.testing.assert_close(found[1:4], encode(numbers_RC[1:4]), atol=1e-10, rtol=0)
    assert not torch.allclose(encode(numbers_RC.nan_to_num(0))[2], found[2])


def test_create_encoder_gives_what_the_network_uses():
    network, _ = untrained()
    for table in prepared().tokenizer.tables:
        own = network.database.tables[table.table]
        alone = create_encoder("standard", table)
        assert [type(part) for part in alone.modules()] == [type(part) for part in own.modules()]


def test_both_packages_give_the_same_objects():
    assert nexusflow.__all__ == nexus_model.__all__
    for name in nexus_model.__all__:
        assert getattr(nexusflow, name) is getattr(nexus_model, name)
    with pytest.raises(AttributeError, match="nothing"):
        nexusflow.nothing  # noqa: B018


def test_a_table_nothing_was_fitted_on_knows_no_category():
    columns = (ColumnSpec(name="region", semantic=SemanticType.CATEGORICAL),)
    table = TABLES[0].model_copy(update={"columns": columns})
    assert fitted_table(table).categorical[0].vocabulary == ()
