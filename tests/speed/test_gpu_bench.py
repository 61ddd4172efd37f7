"""The benchmark for a GPU: without one it says so; with one its figures are what they say."""

import json

import pytest
import torch

from benchmarks.gpu import attention, bench, device, experts, histories, large, rounding
from benchmarks.speed import page
from nexus_model.layers.attention.call import AttentionCall
from nexus_model.layers.attention.select import select

SMALL = {
    "histories": histories.CASE,
    "attention": attention.CASE,
    "experts": experts.CASE,
    "rounding": rounding.CASE,
}


def test_without_a_cuda_device_it_says_so_and_writes_nothing(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(bench, "has_device", lambda: False)
    assert bench.main([], tmp_path / "gpu") == bench.NO_DEVICE == 3
    assert "needs a CUDA device" in capsys.readouterr().err
    assert not (tmp_path / "gpu").exists()


def test_every_case_of_a_gpu_can_be_read():
    for name in bench.CASES:
        case = bench.bench.case_named(f"gpu.{name}")
        assert case.parts, name
        assert case.peer


@pytest.mark.parametrize("name", SMALL)
def test_the_parts_of_a_case_give_what_its_figures_need(name, tmp_path):
    case = SMALL[name]
    parts = {which: part(tmp_path, "small") for which, part in case.parts.items()}
    json.dumps(parts)
    figures = case.judged(parts, "wall_s")
    assert all(figure.ours > 0 and figure.other > 0 for figure in figures)
    if name == "rounding":
        assert all(figure.met for figure in figures)


def test_a_measured_case_is_written_with_its_gpu_and_the_page_tells_it(monkeypatch, tmp_path):
    parts = {
        "matrix_peak": {"teraflops": 800.0, "versions": {"GPU": "some GPU"}},
        "step": {"operations": 4e14, "step_s": 1.0, "parameters": 7e8},
    }
    monkeypatch.setattr(bench, "has_device", lambda: True)
    monkeypatch.setattr(
        bench.bench, "part_alone", lambda name, part, folder, size: dict(parts[part])
    )
    monkeypatch.setattr(bench, "write_page", lambda *folders: None)
    assert bench.main(["large"], tmp_path) == 0
    [found] = page.stored(tmp_path)
    assert found["versions"]["GPU"] == "some GPU"
    assert found["figures"][0]["ratio"] == 0.5
    assert "On some GPU." in page.page([], [found])
    assert page.UNMEASURED not in page.page([], [found])
    assert page.UNMEASURED in page.page([], [])


def test_a_bar_that_is_missed_ends_with_one(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "has_device", lambda: True)
    monkeypatch.setattr(bench, "write_page", lambda *folders: None)
    missed = {"versions": {"GPU": "some GPU"}, "question": "?", "figures": [{"met": False}]}
    monkeypatch.setattr(bench, "measured", lambda name, size: missed)
    monkeypatch.setattr(bench.bench, "told", lambda result: "")
    assert bench.main(["large"], tmp_path) == 1


def test_the_share_of_the_peak_is_products_over_what_the_peak_would_do_in_that_time():
    parts = {
        "matrix_peak": {"teraflops": 100.0},
        "step": {"operations": 30e12, "step_s": 1.0, "parameters": 1},
    }
    [figure] = large.judged(parts, "wall_s")
    assert figure.ratio == pytest.approx(0.3)
    assert not figure.met


def test_the_longest_history_is_the_last_that_the_formula_has_memory_for():
    ours = {
        "backend": "some", "seconds": 1.0, "rows": [10, 100, 1000],
        "extra_bytes": [10, 100, 1000], "bytes": [20, 200, 2000],
    }  # fmt: skip
    theirs = {"rows": 10, "seconds": 4.0, "bytes": 500}
    faster, longer, grown = attention.judged({"by_kernel": ours, "by_formula": theirs}, "wall_s")
    assert [faster.ratio, longer.ratio, grown.ratio] == pytest.approx([4, 10, 1])
    assert faster.met
    assert longer.met


def test_what_a_work_held_at_most_counts_what_is_free_again():
    def work():
        one = torch.ones(1_000_000)
        del one
        return torch.ones(500_000)

    assert 4_000_000 <= device.held(work) < 4_100_000


def test_what_is_left_out_comes_back():
    call = AttentionCall(torch.float32, "cpu", 8, has_bias=False)
    with device.without("sdpa"):
        assert select(call)[0].name == "reference"
    assert select(call)[0].name == "sdpa"
