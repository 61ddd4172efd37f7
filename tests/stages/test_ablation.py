"""The ablation: which variants there are, what one changes, and how its table reads."""

import numpy as np
import pytest
import torch
from tiny import stirred, tiny_database, tiny_model

from nexus_model.evaluate.bootstrap import mean_paired_difference, paired_difference
from nexus_model.schema import ConfigurationError
from nexus_model.tokenize.batch import build_batch
from nexus_model.tokenize.without import without_table
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.settings.ablation import AblationConfig, AblationGroup
from nexus_pipeline.steps.ablate_task import Ablated, Ablation, as_markdown, verdict
from nexus_pipeline.steps.model_plan import model_config
from nexus_pipeline.steps.variants import DEFAULT, variants


def project(**ablation):
    """A project of two tables and its ablation; its model learns a further label."""
    target = {"target_table": "customers", "target_column": "churned", "also_predict": "age"}
    return ProjectConfig(
        project_name="shop",
        datasets=[{"name": "customers", "primary_key": "id"}, {"name": "orders"}],
        target=target,
        ablation=AblationConfig(**ablation) if ablation else None,
    )


def test_every_variant_is_another_model_or_leaves_a_table_out():
    found = variants(project(), "churned")
    plain = model_config(project())
    assert found[0].name == DEFAULT
    for variant in found[1:]:
        other_data = variant.without or variant.pretrained or variant.label_share < 1
        other_data = other_data or variant.own_label_only
        assert other_data or model_config(variant.of(project())) != plain, variant.name
    names = [variant.name for variant in found]
    assert len(set(names)) == len(names)


def test_every_group_has_variants_and_the_default_is_in_none():
    found = variants(project(), "churned")
    assert {variant.group for variant in found[1:]} == set(AblationGroup)
    cycles = [v.name for v in found if v.group is AblationGroup.CYCLES]
    assert cycles == ["0 cycles", "1 cycles", "3 cycles", "4 cycles", "6 cycles"]
    assert [v.without for v in found if v.without] == ["orders"]


def test_pretraining_is_compared_with_the_same_labels_without_it():
    found = variants(project(groups="pretraining"), "churned")[1:]
    told = [(v.name, v.label_share, v.pretrained, v.against) for v in found]
    assert told == [
        ("1% of labels", 0.01, False, DEFAULT),
        ("1% of labels, pretrained", 0.01, True, "1% of labels"),
        ("10% of labels", 0.1, False, DEFAULT),
        ("10% of labels, pretrained", 0.1, True, "10% of labels"),
        ("100% of labels, pretrained", 1.0, True, DEFAULT),
    ]


def test_a_model_that_learns_one_label_is_not_tried_without_others():
    alone = project(groups="labels")
    assert [variant.name for variant in variants(alone, "churned")[1:]] == ["its own label only"]
    target = alone.target.model_copy(update={"also_predict": ()})
    assert not variants(alone.model_copy(update={"target": target}), "churned")[1:]


def test_only_the_variants_named_are_tried_beside_what_they_are_compared_with():
    asked = {"groups": "blocks, pretraining", "only": ["pair track", "10% of labels, pretrained"]}
    names = [variant.name for variant in variants(project(**asked), "churned")]
    assert names == [DEFAULT, "pair track", "10% of labels", "10% of labels, pretrained"]
    with pytest.raises(ConfigurationError, match=r"called 'pear track'; they are .*pair track"):
        variants(project(groups="blocks", only="pear track"), "churned")


def test_only_the_groups_asked_for_are_tried():
    found = variants(project(groups="experts, relations"), "churned")
    assert {variant.group for variant in found[1:]} == {
        AblationGroup.EXPERTS, AblationGroup.RELATIONS
    }  # fmt: skip


@pytest.mark.parametrize("table", ["orders", "products", "brands", "tickets"])
def test_nothing_of_a_table_left_out_is_read(table):
    tiny = tiny_database()
    net = stirred(tiny_model(tiny))
    left = without_table(tiny.tensors, table)
    other = left.tables[table]
    moved = other._replace(
        numerical_RC=other.numerical_RC + 1, categorical_RC=np.minimum(other.categorical_RC, 1),
        text_RCL=np.minimum(other.text_RCL, 1),
    )  # fmt: skip
    changed = left._replace(tables={**left.tables, table: moved})
    before = net(build_batch(left, tiny.every_B, 2))
    assert torch.equal(net(build_batch(changed, tiny.every_B, 2)), before)
    whole = net(build_batch(tiny.tensors, tiny.every_B, 2))
    assert (whole - before).abs().max() > 1e-4


def test_the_table_of_those_asked_about_cannot_be_left_out():
    tensors = tiny_database().tensors
    for name, told in (("customers", "cannot be left out"), ("custmers", "no table 'custmers'")):
        with pytest.raises(ValueError, match=told):
            without_table(tensors, name)


def test_the_mean_of_one_training_is_that_training():
    some = np.random.default_rng(0)
    label, a, b = some.random(80) < 0.4, some.random(80), some.random(80)
    assert mean_paired_difference("auroc", [a], [b], label, None) == paired_difference(
        "auroc", a, b, label, None
    )
    both = mean_paired_difference("auroc", [a, b], [b, a], label, None)
    assert both.estimate == pytest.approx(0)


def test_a_difference_counts_if_its_interval_does_and_in_the_metrics_direction():
    some = np.random.default_rng(1)
    label = some.random(400)
    near, far = label + 0.01 * some.random(400), label + 1.0
    worse = paired_difference("mae", far, near, label, None)
    assert verdict(worse, higher_is_better=False) == "worse"
    same = paired_difference("mae", near, near, label, None)
    assert verdict(same, higher_is_better=False) == "no difference seen"
    rows = [
        Ablated(group="", name=DEFAULT, score=0.1, scores=(0.1,), difference=None, seconds=1,
                parameters=10),
        Ablated(group="blocks", name="far", score=1.0, scores=(1.0,), difference=worse, seconds=2,
                parameters=20),
    ]  # fmt: skip
    text = as_markdown(
        Ablation(project="p", task="t", metric="mae", higher_is_better=False, samples=400, seeds=1,
                 rows=tuple(rows))
    )  # fmt: skip
    assert "| blocks | far | 1.0000 | +0.99" in text
    assert "| worse | 2 | 20 |" in text
