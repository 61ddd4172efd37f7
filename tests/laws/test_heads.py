"""Heads of every task, one or an ensemble of them, and the layers that members share."""

import pytest
import torch
import torch.nn.functional as F
from tiny import stirred, tiny_database, tiny_model
from torch import nn

from nexus_model.apply import predict_samples
from nexus_model.config import NexusConfig
from nexus_model.layers.batch_ensemble import BatchEnsemble, MemberLinear, MemberScale
from nexus_model.predict.heads import build_head, prediction
from nexus_model.predict.losses import pinball, task_loss
from nexus_model.schema import TaskKind, TaskSpec
from nexus_model.tokenize.statistics import LabelScale

SAMPLES, WIDTH, CLOCK, MEMBERS = 7, 8, 3, 5
SCALE = LabelScale(center=10.0, spread=4.0)
CLASSES, QUANTILES = ("none", "one", "more"), (0.1, 0.5, 0.9)
every_kind = pytest.mark.parametrize("kind", list(TaskKind))
every_count = pytest.mark.parametrize("members", [1, MEMBERS])


def task_of(kind):
    """A task of a kind."""
    return TaskSpec(
        name="t", kind=kind, entity_table="customers",
        classes=CLASSES if kind is TaskKind.MULTICLASS else (),
        quantiles=QUANTILES if kind is TaskKind.QUANTILE else (),
    )  # fmt: skip


def head_of(kind, members=MEMBERS):
    """A head none of whose weights is zero, in float64."""
    torch.manual_seed(3)
    return stirred(build_head(WIDTH, CLOCK, task_of(kind), 0.1, members).double()).eval()


def inputs(samples=SAMPLES):
    """Fused states and clocks."""
    return torch.randn(samples, WIDTH).double(), torch.randn(samples, CLOCK).double()


def labels_of(kind):
    """Labels of a kind, ``[B]``."""
    classes = {TaskKind.BINARY: 2, TaskKind.MULTICLASS: len(CLASSES)}
    if kind in classes:
        return torch.randint(classes[kind], (SAMPLES,)).double()
    return 10 + 4 * torch.randn(SAMPLES).double()


@every_kind
def test_one_member_is_the_plain_head(kind):
    torch.manual_seed(1)
    asked = build_head(WIDTH, CLOCK, task_of(kind), 0.1, members=1)
    torch.manual_seed(1)
    plain = build_head(WIDTH, CLOCK, task_of(kind), 0.1)
    assert asked.state_dict().keys() == {
        "norm.weight", "norm.bias", "hidden.weight", "hidden.bias", "out.weight", "out.bias",
    }  # fmt: skip
    assert all(torch.equal(asked.state_dict()[n], w) for n, w in plain.state_dict().items())


def test_the_plain_head_is_two_layers_on_the_norm_of_the_state():
    head, (fused, clock) = head_of(TaskKind.MULTICLASS, members=1), inputs()
    asked = torch.cat([head.norm(fused), clock], dim=1)
    assert torch.equal(head(fused, clock), head.out(F.silu(head.hidden(asked))))


def test_the_loss_and_prediction_of_one_member_are_the_formulas():
    raw, label = torch.randn(SAMPLES, 1).double(), labels_of(TaskKind.REGRESSION)
    task = task_of(TaskKind.REGRESSION)
    expected = F.smooth_l1_loss(raw[:, 0], (label - 10) / 4, beta=0.2)
    assert torch.equal(task_loss(task, raw, label, SCALE), expected)
    assert torch.equal(prediction(task, raw, SCALE), raw[:, 0] * 4 + 10)


def test_the_quantile_loss_of_one_member_is_the_pinball_loss():
    raw, label = torch.randn(SAMPLES, 3).double(), labels_of(TaskKind.QUANTILE)
    found = task_loss(task_of(TaskKind.QUANTILE), raw, label, SCALE)
    torch.testing.assert_close(found, pinball(raw, (label - 10) / 4, QUANTILES))


@every_kind
def test_the_loss_of_members_is_the_mean_of_their_losses(kind):
    task, label = task_of(kind), labels_of(kind)
    raw = torch.randn(SAMPLES, MEMBERS * task.outputs).double()
    each = [task_loss(task, part, label, SCALE) for part in raw.split(task.outputs, dim=1)]
    found = task_loss(task, raw, label, SCALE)
    torch.testing.assert_close(found, torch.stack(each).mean(), atol=1e-12, rtol=0)


@every_kind
def test_the_prediction_of_members_is_the_mean_of_their_predictions(kind):
    task = task_of(kind)
    raw = torch.randn(SAMPLES, MEMBERS * task.outputs).double()
    each = [prediction(task, part, SCALE) for part in raw.split(task.outputs, dim=1)]
    found = prediction(task, raw, SCALE)
    torch.testing.assert_close(found, torch.stack(each).mean(0), atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", [TaskKind.BINARY, TaskKind.MULTICLASS])
def test_members_average_probabilities_not_scores(kind):
    task = task_of(kind)
    raw = 5 * torch.randn(SAMPLES, MEMBERS * task.outputs).double()
    of_the_mean = prediction(task, raw.unflatten(1, (MEMBERS, -1)).mean(1), SCALE)
    assert (prediction(task, raw, SCALE) - of_the_mean).abs().max() > 0.01


def test_the_quantiles_of_no_member_cross():
    raw = 100 * head_of(TaskKind.QUANTILE)(*inputs(200))
    members = raw.unflatten(1, (MEMBERS, len(QUANTILES)))
    assert (members.diff(dim=-1) >= 0).all()
    assert (prediction(task_of(TaskKind.QUANTILE), raw, SCALE).diff(dim=1) >= 0).all()


@every_kind
def test_members_differ_from_the_first_step(kind):
    task = task_of(kind)
    raw = build_head(WIDTH, CLOCK, task, 0.0, MEMBERS).double()(*inputs())
    members = raw.unflatten(1, (MEMBERS, task.outputs))[..., 0]
    apart = (members[:, :, None] - members[:, None]).abs().amax(0)
    assert (apart[~torch.eye(MEMBERS, dtype=torch.bool)] > 1e-5).all()


@every_kind
def test_a_member_learns_from_its_own_error_alone(kind):
    task, head = task_of(kind), head_of(kind)
    raw = head(*inputs())
    (raw.unflatten(1, (MEMBERS, task.outputs))[:, 2] ** 2).sum().backward()
    others = [member for member in range(MEMBERS) if member != 2]
    own = [head.out.weight_EFY, head.out.bias_EY, head.hidden.scale_in_EF, head.hidden.bias_EY]
    assert all(weight.grad[2].any() and not weight.grad[others].any() for weight in own)


@every_kind
@every_count
def test_every_weight_gets_gradient(kind, members):
    head = head_of(kind, members)
    task_loss(task_of(kind), head(*inputs()), labels_of(kind), SCALE).backward()
    assert not [n for n, p in head.named_parameters() if p.grad is None or not p.grad.any()]


@every_kind
@every_count
def test_a_sample_is_answered_the_same_whoever_shares_its_batch(kind, members):
    head, (fused, clock) = head_of(kind, members), inputs()
    found = head(fused, clock)
    torch.testing.assert_close(head(fused[2:3], clock[2:3]), found[2:3], atol=1e-12, rtol=0)


@every_kind
@every_count
def test_no_samples_give_no_answers(kind, members):
    raw = head_of(kind, members)(*inputs(0))
    assert raw.shape == (0, members * task_of(kind).outputs)
    assert len(prediction(task_of(kind), raw, SCALE)) == 0


@every_kind
def test_heads_change_none_of_their_inputs(kind):
    head, given = head_of(kind), inputs()
    copies = [part.clone() for part in given]
    head(*given)
    assert all(torch.equal(part, copy) for part, copy in zip(given, copies, strict=True))


def test_an_ensemble_head_is_its_members_one_by_one():
    head, (fused, clock) = head_of(TaskKind.MULTICLASS), inputs()
    asked = torch.cat([head.norm(fused), clock], dim=1)
    layer, found = head.hidden, head(fused, clock).unflatten(1, (MEMBERS, -1))
    for e in range(MEMBERS):
        matrix = layer.scale_in_EF[e, :, None] * layer.weight_FY * layer.scale_out_EY[e]
        hidden = F.silu(asked @ matrix + layer.bias_EY[e])
        expected = hidden @ head.out.weight_EFY[e] + head.out.bias_EY[e]
        torch.testing.assert_close(found[:, e], expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("members", [1, MEMBERS])
def test_a_fresh_head_passes_gradients_on_and_is_not_sure_of_anything(members):
    task, wide = task_of(TaskKind.BINARY), 64
    head = build_head(wide, CLOCK, task, 0.0, members).double()
    fused = torch.randn(500, wide, dtype=torch.float64, requires_grad=True)
    raw = head(fused, torch.zeros(500, CLOCK, dtype=torch.float64))
    assert 0.2 < raw.std() < 1
    raw.sum().backward()
    # What reaches the encoders is of the order of what reaches the answer, not a thousandth of it.
    assert fused.grad.norm(dim=1).mean() / members**0.5 > 0.2


def test_member_layers_have_the_gradients_of_their_formulas():
    layers = nn.Sequential(MemberScale(2, 3), BatchEnsemble(2, 3, 4), MemberLinear(2, 4, 2))
    layers = stirred(layers.double())
    x = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layers, (x,))


def test_scales_start_as_signs_where_asked_and_as_one_elsewhere():
    signs = BatchEnsemble(50, 40, 3, start="signs")
    assert set(signs.scale_in_EF.unique().tolist()) == {-1.0, 1.0}
    assert abs(signs.scale_in_EF.mean()) < 0.1
    assert (BatchEnsemble(50, 40, 3).scale_in_EF == 1).all()
    assert (signs.scale_out_EY == 1).all()


def test_a_configuration_with_members_survives_json():
    config = NexusConfig(head_members=4)
    assert NexusConfig.model_validate_json(config.model_dump_json()) == config
    with pytest.raises(ValueError, match="head_members"):
        NexusConfig(head_members=0)


@pytest.mark.parametrize("kind", [TaskKind.QUANTILE, TaskKind.MULTICLASS])
def test_a_model_with_members_predicts_in_the_shape_of_one_without(kind):
    tiny = tiny_database(kind)
    chosen, task, label = tiny.samples("test"), tiny.recipe.task, tiny.tokenizer.label
    one, many = (
        predict_samples(tiny_model(tiny, head_members=n), tiny.tensors, chosen, task, label)
        for n in (1, MEMBERS)
    )
    assert one.shape == many.shape == (len(chosen), task.outputs)
    assert (one != many).any()
