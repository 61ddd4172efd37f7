"""Every relation operator through the same facts, then what each of them is by its paper."""

import copy

import pytest
import torch
from pydantic import TypeAdapter
from tiny import stirred
from tiny_exchange import (
    HEADS,
    PATH_K,
    PATH_Q,
    PATHS,
    WIDTH,
    changed,
    memory,
    part_of,
    state,
    without,
)
from torch.utils.flop_counter import FlopCounterMode

from nexus_model.exchange.cross_attention import CrossContextualAttention
from nexus_model.exchange.memory import packed, path_means
from nexus_model.exchange.relation.choose import RelationConfig, build_relation
from nexus_model.exchange.relation.commnet import CommNetConfig
from nexus_model.exchange.relation.cross_contextual import CrossContextualConfig
from nexus_model.exchange.relation.gatv2 import GatV2Config
from nexus_model.exchange.relation.gps import GpsConfig
from nexus_model.exchange.relation.sage import SageConfig, aggregate

CONFIGS = [
    CrossContextualConfig(),
    CrossContextualConfig(top_k=1),
    CommNetConfig(),
    SageConfig(),
    GatV2Config(),
    GpsConfig(),
    GpsConfig(parts="local"),
    GpsConfig(parts="global"),
]
READS_ROWS = [c for c in CONFIGS if c.kind != "commnet"]


def name(config):
    return "-".join(str(value) for value in config.model_dump().values())


every_operator = pytest.mark.parametrize("config", CONFIGS, ids=name)


def operator(config, dtype=torch.float32):
    """An operator none of whose weights is zero."""
    return stirred(build_relation(config, WIDTH, HEADS, PATHS)).to(dtype).eval()


def told(read, now, given):
    """State after one application."""
    return read(now, read.offer(given), given, None)


@every_operator
def test_a_sample_is_read_the_same_whoever_shares_its_batch(config):
    read, given, now = operator(config), memory(), state()
    alone = told(read, now[1:2], part_of(given, [1]))
    torch.testing.assert_close(told(read, now, given)[1:2], alone)


@every_operator
def test_what_stands_in_the_padding_is_not_read(config):
    read, given, now = operator(config), memory(), state()
    junk = torch.where(given.keep_BK[..., None], given.rows_BKD, torch.tensor(1e3))
    assert torch.equal(told(read, now, given._replace(rows_BKD=junk)), told(read, now, given))


@every_operator
def test_the_order_of_a_tables_rows_does_not_matter(config):
    read, given, now = operator(config), memory(), state()
    order = torch.tensor([1, 0, 2, 3, 4, 7, 5, 6, 8])
    mixed = given._replace(rows_BKD=given.rows_BKD[:, order])
    torch.testing.assert_close(told(read, now, mixed), told(read, now, given))


@every_operator
def test_where_a_row_stands_does_not_matter(config):
    read, given, now = operator(config), memory(), state()
    order_BK = torch.rand(given.keep_BK.shape).argsort(dim=1)
    moved = given._replace(
        rows_BKD=given.rows_BKD.gather(1, order_BK[..., None].expand(-1, -1, WIDTH)),
        keep_BK=given.keep_BK.gather(1, order_BK),
        path_BK=given.path_BK.gather(1, order_BK),
    )
    torch.testing.assert_close(told(read, now, moved), told(read, now, given))


@every_operator
def test_rows_moved_together_tell_the_same(config):
    read, given, now = operator(config), memory(), state()
    keep_BK = given.keep_BK.clone()
    keep_BK[1, :5], keep_BK[2] = False, False
    given = given._replace(keep_BK=keep_BK)
    rows_BKD, keep_BK, path_BK = packed(given.rows_BKD, keep_BK, PATH_K)
    assert keep_BK.shape[1] == 6
    close = given._replace(rows_BKD=rows_BKD, keep_BK=keep_BK, path_BK=path_BK)
    torch.testing.assert_close(told(read, now, close), told(read, now, given))


@pytest.mark.parametrize("config", READS_ROWS, ids=name)
def test_rows_of_other_tables_are_read_and_own_rows_only_by_global_attention(config):
    read, given, now = operator(config), memory(), state()
    reads_own = config.kind == "gps" and config.parts != "local"
    for path in range(PATHS):
        other = given._replace(rows_BKD=changed(given.rows_BKD, PATH_K, path))
        moved_Q = (told(read, now, other) - told(read, now, given)).abs().amax((0, 2)) > 0
        assert moved_Q[path == PATH_Q].all() == reads_own
        if config != CrossContextualConfig(top_k=1):
            assert moved_Q[path != PATH_Q].all()


@every_operator
def test_a_missing_table_tells_nothing(config):
    read, given, now = operator(config), memory(), state()
    gone = without(given, 2)
    for other in (gone._replace(rows_BKD=changed(gone.rows_BKD, PATH_K, 2)), gone):
        moved = told(read, changed(now, PATH_Q, 2), other) - told(read, now, gone)
        assert not moved[:, PATH_Q != 2].any()


@every_operator
def test_a_table_of_weight_zero_is_never_read(config):
    read, now = operator(config), state()
    context_PP = torch.tensor([[1.0, 1.0, 0.0]]).log().expand(PATHS, -1)
    given = memory()._replace(context_PP=context_PP)
    other = given._replace(rows_BKD=changed(given.rows_BKD, PATH_K, 2))
    moved = told(read, changed(now, PATH_Q, 2), other) - told(read, now, given)
    if config.kind == "gps" and config.parts != "local":
        assert moved[:, PATH_Q != 2].abs().max() < 1e-6
    else:
        assert not moved[:, PATH_Q != 2].any()


@every_operator
def test_a_gradient_reaches_every_parameter(config):
    read = operator(config)
    told(read, state(), memory()).pow(3).sum().backward()
    assert [n for n, p in read.named_parameters() if p.grad is None or not p.grad.any()] == []


@every_operator
def test_samples_without_rows_and_batches_without_samples_are_accepted(config):
    read, given = operator(config), memory()
    empty = given._replace(keep_BK=torch.zeros_like(given.keep_BK))
    assert torch.isfinite(told(read, state(), empty)).all()
    none = part_of(given, [0])
    none = none._replace(
        rows_BKD=none.rows_BKD[:0],
        keep_BK=none.keep_BK[:0],
        keep_BQ=none.keep_BQ[:0],
        path_BK=none.path_BK[:0],
    )
    assert told(read, state()[:0], none).shape == (0, len(PATH_Q), WIDTH)


@every_operator
def test_nothing_else_is_there_to_read_and_the_gradient_stays_finite(config):
    read, now = operator(config), state().requires_grad_()
    alone = without(without(memory(), 1), 2)
    told(read, now, alone).sum().backward()
    assert torch.isfinite(now.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in read.parameters() if p.grad is not None)


@every_operator
def test_inputs_are_left_alone_and_float64_agrees(config):
    read, given, now = operator(config), memory(), state()
    before = given.rows_BKD.clone(), now.clone()
    found = told(read, now, given)
    assert torch.equal(given.rows_BKD, before[0])
    assert torch.equal(now, before[1])
    wide = given._replace(rows_BKD=given.rows_BKD.double())
    exact = told(copy.deepcopy(read).double(), now.double(), wide)
    torch.testing.assert_close(found.double(), exact, atol=2e-5, rtol=0)


@every_operator
def test_what_other_tables_say_counts_from_the_first_step(config):
    read, given, now, first = build_relation(config, WIDTH, HEADS, PATHS), memory(), state(), 0
    other = given
    for path in range(1, PATHS):
        other = other._replace(rows_BKD=changed(other.rows_BKD, PATH_K, path))
        now = changed(now, PATH_Q, path)
    before, after = told(read, state(), given), told(read, now, other)
    moved_BQD = (after - before)[:, first == PATH_Q]
    # A message that starts at nothing would leave a table as it is, whatever the others say.
    assert moved_BQD.std() > 0.01 * state().std()


@every_operator
def test_a_configuration_comes_back_from_json_as_it_was(config):
    assert TypeAdapter(RelationConfig).validate_json(config.model_dump_json()) == config


def test_cross_contextual_attention_is_the_formula_over_other_tables():
    read, given, now = operator(CrossContextualConfig(), torch.float64), memory(), state()
    given = given._replace(rows_BKD=given.rows_BKD.double())
    found = told(read, now.double(), given)
    attend = read.attention
    offered = torch.cat([given.rows_BKD, attend.norm(now.double())], dim=1)
    for path in range(PATHS):
        keep_N = given.keep_BN[0] & (given.path_BN[0] != path)
        one = now.double()[:, path == PATH_Q]
        keep = torch.ones(3, 2, int(keep_N.sum()), dtype=torch.bool)
        exact = one + attend.attend(attend.norm(one), offered[:, keep_N], keep)
        torch.testing.assert_close(found[:, path == PATH_Q], exact, atol=1e-10, rtol=0)


def test_the_published_signature_reads_contexts_in_any_order_and_none_at_all():
    attend = stirred(CrossContextualAttention(WIDTH, HEADS))
    query, contexts = torch.randn(2, 3, WIDTH), [torch.randn(2, n, WIDTH) for n in (4, 1, 5)]
    torch.testing.assert_close(attend(query, contexts), attend(query, contexts[::-1]))
    assert torch.equal(attend(query, []), query)


@pytest.mark.parametrize("top_k", [2, 5])
def test_choosing_every_peer_is_full_attention(top_k):
    full, chosen = operator(CrossContextualConfig()), operator(CrossContextualConfig(top_k=top_k))
    chosen.load_state_dict(full.state_dict(), strict=False)
    found, exact = (told(read, state(), memory()) for read in (chosen, full))
    torch.testing.assert_close(found, exact, atol=1e-6, rtol=0)


def test_choosing_one_peer_reads_one_other_table_per_sample():
    read, given, now = operator(CrossContextualConfig(top_k=1)), memory(batch=7), state(7)
    seen = []
    read.tap_reading.register_forward_hook(lambda _m, _i, reading: seen.append(reading))
    told(read, now, given)
    reading = seen[0]
    for reader, keep_QN, offered_N in zip(
        reading.reader_BQ[:, 0], reading.keep_BQN, reading.offered_BN, strict=True
    ):
        read_from = offered_N[keep_QN.any(0)].unique()
        assert len(read_from) == 1
        assert read_from != reader


def test_the_router_of_peers_learns():
    read = operator(CrossContextualConfig(top_k=1))
    told(read, state(), memory()).sum().backward()
    assert read.peers.ask.weight.grad.abs().max() > 1e-6


def flops(top_k, tables):
    """Multiplications of one application between so many tables of six rows each."""
    # float64 goes to the formula, whose multiplications are counted.
    read = build_relation(CrossContextualConfig(top_k=top_k), WIDTH, HEADS, tables).double()
    path_K = torch.arange(tables).repeat_interleave(6)
    path_Q = torch.arange(tables).repeat_interleave(2)
    given = memory()._replace(
        rows_BKD=torch.randn(2, len(path_K), WIDTH).double(), path_BK=path_K.expand(2, -1),
        path_Q=path_Q,
        paths=tables,
        keep_BK=torch.ones(2, len(path_K)).bool(), keep_BQ=torch.ones(2, len(path_Q)).bool(),
    )  # fmt: skip
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        told(read, torch.randn(2, len(path_Q), WIDTH).double(), given)
    return counter.get_total_flops()


def test_the_cost_of_chosen_peers_follows_their_number_not_the_number_of_tables():
    # The router alone scores every pair of tables.
    router = 2 * 2 * 48 * 48 * WIDTH - 2 * 2 * 12 * 12 * WIDTH
    assert flops(2, 48) - router < 4.1 * flops(2, 12)
    assert flops(None, 48) > 7 * flops(None, 12)


def test_commnet_is_its_equation():
    read, given, now = operator(CommNetConfig()), memory(), state()
    normed = read.norm(now)
    means = torch.stack([normed[:, p == PATH_Q].mean(1) for p in range(PATHS)], 1)
    for path in range(PATHS):
        heard = (means.sum(1) - means[:, path]) / 2
        h = normed[:, path == PATH_Q]
        mixed = torch.tanh(read.hold(h) + read.hear(heard)[:, None])
        exact = now[:, path == PATH_Q] + read.out(mixed)
        torch.testing.assert_close(told(read, now, given)[:, path == PATH_Q], exact)


def test_path_means_skip_missing_tables():
    means_BPD = path_means(state(), without(memory(), 1))
    assert not means_BPD[:, 1].any()
    torch.testing.assert_close(means_BPD[:, 2], state()[:, 4:].mean(1))


def test_sage_aggregates_mean_largest_sum_and_count():
    given = memory()
    mean, largest, total, count = aggregate(given).split([WIDTH, WIDTH, WIDTH, 1], dim=-1)
    rows = given.rows_BKD[:, 5:8]
    torch.testing.assert_close(mean[:, 2], rows.mean(1))
    torch.testing.assert_close(largest[:, 2], rows.amax(1))
    torch.testing.assert_close(total[:, 2], rows.sum(1) / 3**0.5)
    torch.testing.assert_close(count[:, 2, 0], torch.full((3,), 4.0).log())


def test_gatv2_ranks_neighbours_by_who_asks():
    """Static attention gives every asker one ranking; GATv2 can look keys up (section 3)."""
    torch.manual_seed(0)
    read = build_relation(GatV2Config(), WIDTH, HEADS, PATHS)
    keys = torch.eye(WIDTH)[:4]
    given = memory(batch=4)._replace(
        rows_BKD=torch.cat([torch.zeros(4, 5, WIDTH), keys.expand(4, -1, -1)], 1),
        keep_BK=(PATH_K == 2).expand(4, -1),
        keep_BQ=torch.ones(4, 6, dtype=torch.bool),
    )
    target = torch.randn(4, WIDTH)
    now = torch.zeros(4, 6, WIDTH)
    now[:, :2] = keys[:, None] * 3
    learn = torch.optim.Adam(read.parameters(), lr=0.03)
    for _ in range(300):
        loss = (told(read, now, given)[:, 0] - now[:, 0] - target).square().mean()
        learn.zero_grad()
        loss.backward()
        learn.step()
    assert loss < 0.02


def test_local_and_global_attention_are_both_part_of_gps():
    read, given, now = operator(GpsConfig()), memory(), state()
    before = told(read, now, given)
    for part in ("local", "everywhere"):
        other = copy.deepcopy(read)
        stirred(other.get_submodule(part), seed=9)
        assert (told(other, now, given) - before).abs().max() > 1e-4
