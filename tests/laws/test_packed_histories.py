"""Histories without their padding: the same answers, at the cost of the rows that are there."""

import copy

import pytest
import torch
from tiny import stirred
from tiny_kernels import pretend_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from nexus_model.encode.time_series import TimeSeriesConfig, TimeSeriesEncoder
from nexus_model.layers.attention.histories import packed_rows, padded_rows
from nexus_model.layers.attention.keep import Padding, Segments
from nexus_model.layers.attention.reference import ReferenceAttention
from nexus_model.layers.attention.sdpa import SdpaAttention
from nexus_model.layers.choose_feed_forward import feed_forward_of
from nexus_model.layers.experts.layer import ExpertsConfig
from nexus_model.layers.feed_forward import FeedForwardConfig
from nexus_model.layers.positions.learned import LearnedConfig
from nexus_model.layers.positions.none import NoPositionConfig
from nexus_model.layers.positions.rotary import RotaryConfig
from nexus_model.layers.positions.sinusoidal import SinusoidalConfig

WIDTH = 8
BY_ROW = [RotaryConfig(), SinusoidalConfig(), NoPositionConfig()]
BY_STEP = [RotaryConfig(by="step"), SinusoidalConfig(by="step"), LearnedConfig()]


def encoder_of(position, feed_forward=None, **told):
    """A history encoder none of whose weights is zero, in float64."""
    config = TimeSeriesConfig(heads=2, blocks=2, position=position, **told)
    make = {} if feed_forward is None else {"feed_forward": feed_forward}
    return stirred(TimeSeriesEncoder(WIDTH, config, 0.0, **make)).double()


def histories(lengths=(0, 5, 2, 9), steps=9):
    """Rows, ages and keep; of one sample nothing is kept."""
    rows_BLD = torch.randn(len(lengths), steps, WIDTH, dtype=torch.float64)
    age_BL = torch.rand(len(lengths), steps, dtype=torch.float64) * 900
    return rows_BLD, age_BL, torch.arange(steps) < torch.tensor(lengths)[:, None]


def answers(encoder, asked):
    """What is encoded, and the gradient of everything that has one."""
    rows_BLD = asked[0].clone().requires_grad_()
    found = encoder(rows_BLD, *asked[1:])
    leaves = [rows_BLD, *encoder.parameters()]
    return [found, *torch.autograd.grad(found.pow(3).sum(), leaves)]


def counted(encoder):
    """The encoder, and how often its rows were packed."""
    seen = []
    original = encoder._packed
    encoder._packed = lambda *args: seen.append(1) or original(*args)
    return encoder, seen


class Largest(TorchDispatchMode):
    """The most cells that any tensor has."""

    cells = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor):
            self.cells = max(self.cells, found.untyped_storage().nbytes())
        return found


@pytest.mark.parametrize("position", BY_ROW, ids=lambda position: position.kind)
@pytest.mark.parametrize("key_heads", [None, 1])
def test_histories_are_encoded_the_same_without_their_padding(monkeypatch, position, key_heads):
    encoder, asked = encoder_of(position, key_heads=key_heads), histories()
    expected = answers(encoder, asked)
    pretend_kernel(monkeypatch)
    encoder, seen = counted(encoder)
    torch.testing.assert_close(answers(encoder, asked), expected, atol=1e-10, rtol=1e-10)
    assert seen


@pytest.mark.parametrize("position", BY_STEP, ids=lambda position: position.kind)
def test_positions_that_count_steps_keep_the_padding(monkeypatch, position):
    encoder, asked = encoder_of(position), histories()
    expected = answers(encoder, asked)
    pretend_kernel(monkeypatch)
    encoder, seen = counted(encoder)
    torch.testing.assert_close(answers(encoder, asked), expected, atol=1e-10, rtol=1e-10)
    assert not seen


@pytest.mark.parametrize(
    "make",
    [
        feed_forward_of(None, FeedForwardConfig(stochastic_depth=0.5)),
        feed_forward_of(ExpertsConfig(experts=2, chosen=1)),
    ],
    ids=["stochastic_depth", "experts"],
)
def test_blocks_that_count_what_passes_keep_the_padding(monkeypatch, make):
    pretend_kernel(monkeypatch)
    encoder, seen = counted(encoder_of(NoPositionConfig(), make))
    encoder(*histories())
    assert not seen


def test_without_a_kernel_the_padding_stays():
    encoder, seen = counted(encoder_of(NoPositionConfig()))
    encoder(*histories())
    assert not seen


def test_no_history_at_all_is_no_row(monkeypatch):
    pretend_kernel(monkeypatch)
    encoder = encoder_of(RotaryConfig())
    assert not encoder(*histories(lengths=(0, 0, 0))).any()


def test_rows_come_back_to_their_places():
    rows_BLD, age_BL, keep_BL = histories()
    packed = packed_rows(rows_BLD, age_BL, keep_BL)
    assert torch.equal(packed.rows_ND, rows_BLD[keep_BL])
    assert torch.equal(packed.age_N, age_BL[keep_BL])
    back_BLD = padded_rows(packed.rows_ND, packed.place_N, *keep_BL.shape)
    assert torch.equal(back_BLD, rows_BLD * keep_BL[..., None])


@pytest.mark.parametrize("backend", [ReferenceAttention(), SdpaAttention()], ids=lambda b: b.name)
def test_masks_of_two_vectors_are_their_matrices(backend):
    q, k, v = torch.randn(3, 2, 2, 6, 4)
    asks, offered = torch.rand(2, 2, 6) < 0.6
    asks[0, 0], offered[1] = True, False
    padding = Padding(asks, offered)
    found = backend.attend(q, k, v, padding)
    torch.testing.assert_close(found, backend.attend(q, k, v, padding.keep_BQK))
    segments = Segments(torch.tensor([0, 0, 4, 6], dtype=torch.int32), rows=6, longest=4)
    found = backend.attend(q[:1], k[:1], v[:1], segments)
    torch.testing.assert_close(found, backend.attend(q[:1], k[:1], v[:1], segments.keep_BQK))


def largest(encoder, steps):
    """Bytes of the largest tensor of a step on one full and one short history."""
    asked = histories(lengths=(steps, 3), steps=steps)
    with Largest() as seen:
        encoder(*asked).sum().backward()
    return seen.cells


@pytest.mark.parametrize("position", BY_ROW, ids=lambda position: position.kind)
def test_around_a_fused_kernel_nothing_grows_with_the_square_of_a_history(monkeypatch, position):
    pretend_kernel(monkeypatch, lambda q, k, v, *_: q + k + v)
    encoder = encoder_of(position)
    whole = copy.deepcopy(encoder)
    assert largest(encoder, 2048) <= 2.2 * largest(whole, 1024)
