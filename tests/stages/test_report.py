"""The evaluation report: what is compared with what, and one page that says only that."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from nexus_model.evaluate.metrics import auroc, mae
from nexus_model.optimize.report import Compared, Latency, SizeReport
from nexus_model.schema import TaskKind, TaskSpec
from nexus_pipeline.steps.report import (
    Attention,
    Background,
    Cost,
    CurvePoint,
    EvaluationReport,
    evaluate_predictions,
    write_report,
)
from nexus_pipeline.steps.report_page import number, render_page
from nexus_pipeline.steps.report_svg import nice_ticks

ROWS = 601
SPLIT = np.repeat(["train", "validation", "test"], [201, 200, 200])
CUTOFF = np.datetime64("2000-01-01", "us") + np.arange(ROWS) // 20 * np.timedelta64(30, "D")
LEVELS = (0.1, 0.5, 0.9)
VALIDATION, TEST = SPLIT == "validation", SPLIT == "test"


def _task(kind):
    classes = ("a", "b", "c") if kind is TaskKind.MULTICLASS else ()
    return TaskSpec(
        name="spend", kind=kind, entity_table="shops", horizon_days=30, classes=classes,
        quantiles=LEVELS if kind is TaskKind.QUANTILE else (),
    )  # fmt: skip


def _rows(kind, seed=0):
    """Labels, and a maker of predictions that are the worse the more noise they are given."""
    generator = np.random.default_rng(seed)
    hidden = generator.normal(size=ROWS)

    def says(noise):
        seen = 2 * hidden + generator.normal(0, noise, ROWS)
        if kind is TaskKind.REGRESSION:
            return seen
        if kind is TaskKind.QUANTILE:
            return seen[:, None] + [-0.7, 0.0, 0.7]
        if kind is TaskKind.BINARY:
            return 1 / (1 + np.exp(-seen))
        logit = -((seen[:, None] - np.array([-2, 0, 2])) ** 2)
        return np.exp(logit) / np.exp(logit).sum(axis=1, keepdims=True)

    if kind.is_number:
        return 2 * hidden + generator.normal(0, 0.5, ROWS), says
    if kind is TaskKind.BINARY:
        return (generator.uniform(size=ROWS) < 1 / (1 + np.exp(-2 * hidden))).astype(float), says
    return np.digitize(hidden, [-0.5, 0.5]).astype(float), says


def _evaluation(kind=TaskKind.BINARY, **options):
    label, says = _rows(kind)
    said = {"weak": says(4.0), "strong": says(1.0), "nexusformer": says(0.2)}
    options = {"clusters": CUTOFF, "draws": 200} | options
    clusters = options.pop("clusters")
    return evaluate_predictions(_task(kind), label, SPLIT, clusters, said, **options)


def _background():
    return Background(
        project="shop <b>",
        curve=tuple(
            CurvePoint(epoch=e, loss=1 / (e + 1), score=e / 9, best=True) for e in range(7)
        ),
        attention=Attention(tables=("shops", "visits"), weights=((0.0, 1.0), (0.75, 0.0))),
        sizes=SizeReport(
            file_bytes=Compared(float32=4096, int8=1171),
            matrix_bytes=Compared(float32=4000, int8=1000),
            largest_difference=0.0123,
            metric="auroc",
            score=Compared(float32=0.9, int8=0.899),
            rows=200,
            latency_float32=Latency(p50_ms=1.5, p95_ms=2.5, calls=30),
            latency_int8=Latency(p50_ms=1.75, p95_ms=2.75, calls=30),
        ),
        provenance={"commit": "0123abcd<script>"},
    )


def test_the_metrics_are_those_of_the_split():
    label, says = _rows(TaskKind.BINARY)
    said = {"nexusformer": says(0.2), "other": says(1)}
    found = evaluate_predictions(_task(TaskKind.BINARY), label, SPLIT, CUTOFF, said, draws=20)
    for name, prediction in said.items():
        assert found[name].test[0].estimate == auroc(prediction[TEST], label[TEST])
        expected = auroc(prediction[VALIDATION], label[VALIDATION])
        assert found[name].validation[0].estimate == expected


def test_the_model_comes_first_and_the_baselines_as_given():
    assert [model.name for model in _evaluation().models] == ["nexusformer", "weak", "strong"]


def test_the_best_baseline_is_chosen_on_validation_not_on_test():
    label, says = _rows(TaskKind.REGRESSION)
    lucky, steady = says(4.0), says(1.0)
    lucky[TEST] = label[TEST]
    said = {"nexusformer": says(0.2), "lucky": lucky, "steady": steady}
    found = evaluate_predictions(_task(TaskKind.REGRESSION), label, SPLIT, CUTOFF, said, draws=50)
    assert found["lucky"].test[0].estimate == 0.0
    assert found.best_baseline == "steady"


@pytest.mark.parametrize("kind", TaskKind)
def test_the_better_model_is_found_better_whatever_the_direction(kind):
    found = _evaluation(kind)
    assert found.best_baseline == "strong"
    assert found.verdict.probability_better > 0.95
    assert "NexusFormer is better" in render_page(found)


def test_a_worse_model_is_said_to_be_worse():
    label, says = _rows(TaskKind.REGRESSION)
    said = {"nexusformer": says(4.0), "strong": says(0.2)}
    found = evaluate_predictions(_task(TaskKind.REGRESSION), label, SPLIT, CUTOFF, said, draws=99)
    assert "NexusFormer is worse" in render_page(found)


def test_the_paired_difference_is_on_test_rows():
    label, says = _rows(TaskKind.REGRESSION)
    said = {"nexusformer": says(0.2), "other": says(1.0)}
    found = evaluate_predictions(_task(TaskKind.REGRESSION), label, SPLIT, CUTOFF, said, draws=20)
    expected = mae(said["nexusformer"][TEST], label[TEST]) - mae(said["other"][TEST], label[TEST])
    assert found.verdict.estimate == pytest.approx(expected)


def test_whole_cutoffs_are_drawn():
    dated, static = _evaluation(), _evaluation(clusters=None)
    assert dated.verdict.clusters == len(np.unique(CUTOFF[TEST]))
    assert static.verdict.clusters == TEST.sum()


def test_cutoffs_that_are_all_missing_are_those_of_a_static_task():
    missing = np.full(ROWS, np.datetime64("NaT", "us"))
    assert _evaluation(clusters=missing) == _evaluation(clusters=None)


def test_the_splits_say_what_they_hold():
    train, _, test = _evaluation().splits
    assert (train.rows, train.first) == (201, "2000-01-01")
    assert test.last == str(CUTOFF[-1].astype("datetime64[D]"))
    assert test.clusters == len(np.unique(CUTOFF[TEST]))


def test_a_binary_task_is_calibrated_and_a_regression_has_residuals():
    binary, regression = _evaluation(), _evaluation(TaskKind.REGRESSION)
    assert sum(b.rows for b in binary.calibration.bins) == TEST.sum()
    assert binary.residuals is None
    assert regression.calibration is None
    assert 0.75 < regression.residuals.coverage <= 1.0


def test_quantiles_are_told_beside_their_levels(tmp_path):
    found = _evaluation(TaskKind.QUANTILE)
    label, says = _rows(TaskKind.QUANTILE)
    says(4.0), says(1.0)
    said, held = says(0.2)[TEST], found.coverage
    below = [float((label[TEST] <= said[:, at]).mean()) for at in range(3)]
    assert [one.below for one in held.levels] == pytest.approx(below)
    assert held.held == pytest.approx(
        ((label[TEST] >= said[:, 0]) & (label[TEST] <= said[:, 2])).mean()
    )
    assert (held.promised, held.width) == (0.8, pytest.approx(1.4))
    assert found.calibration is found.residuals is None
    page = render_page(found)
    for told in ("<h2>Coverage</h2>", "80% are promised", f"{below[0]:.1%}", "pinball loss"):
        assert told in page


def test_one_quantile_alone_is_told_without_a_width():
    label, says = _rows(TaskKind.QUANTILE)
    task = _task(TaskKind.QUANTILE).model_copy(update={"quantiles": (0.9,)})
    said = {"nexusformer": says(0.2)[:, 2:], "other": says(1.0)[:, 2:]}
    found = evaluate_predictions(task, label, SPLIT, CUTOFF, said, draws=20)
    assert found.coverage.width is None
    assert "below the quantile, 90% are promised. Pale" in render_page(found)


def test_the_record_survives_json():
    for kind in TaskKind:
        found = _evaluation(kind, background=_background())
        assert EvaluationReport.model_validate_json(found.model_dump_json()) == found


def test_a_prediction_of_another_length_is_refused():
    label, says = _rows(TaskKind.BINARY)
    said = {"nexusformer": says(1.0)[:-1]}
    with pytest.raises(ValueError, match="600 predictions for 601 samples"):
        evaluate_predictions(_task(TaskKind.BINARY), label, SPLIT, CUTOFF, said)


def test_predictions_without_the_model_are_refused():
    label, says = _rows(TaskKind.BINARY)
    with pytest.raises(ValueError, match="nexusformer"):
        evaluate_predictions(_task(TaskKind.BINARY), label, SPLIT, CUTOFF, {"other": says(1.0)})


@pytest.mark.parametrize("weights", [((0.0, 1.1), (0.5, 0.5)), ((0.0, -0.1), (0, 0)), ((1.0,),)])
def test_attention_that_is_not_a_matrix_of_shares_is_refused(weights):
    with pytest.raises(ValueError, match="weights must"):
        Attention(tables=("a", "b"), weights=weights)


def _page(tmp_path, kind=TaskKind.BINARY, **options):
    return write_report(tmp_path / "new", _evaluation(kind, **options)).read_text()


def test_both_files_are_written(tmp_path):
    path = write_report(tmp_path / "new", _evaluation())
    assert path.name == "report.html"
    numbers = json.loads((path.parent / "metrics.json").read_text())
    assert numbers["best_baseline"] == "strong"
    assert numbers["models"][0]["test"][0]["metric"] == "auroc"


@pytest.mark.parametrize("kind", TaskKind)
def test_the_page_asks_nothing_of_the_network(tmp_path, kind):
    page = _page(tmp_path, kind, background=_background())
    assert not re.search(r"https?:|//\w|src=|href=|@import|url\(|<script|<link", page)
    assert "default-src 'none'" in page


def test_what_others_named_cannot_become_markup(tmp_path):
    page = _page(tmp_path, background=_background(), costs={"weak": Cost(note="<img src=x>")})
    assert "shop &lt;b&gt;" in page
    assert "0123abcd&lt;script&gt;" in page
    assert "<img" not in page


class _Balance(HTMLParser):
    """Whether every tag that is opened is closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.wrong = [], []

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


@pytest.mark.parametrize("kind", TaskKind)
def test_every_tag_is_closed(tmp_path, kind):
    balance = _Balance()
    balance.feed(_page(tmp_path, kind, background=_background()))
    assert (balance.open, balance.wrong) == ([], [])


def test_every_model_and_its_cost_stand_in_the_table(tmp_path):
    page = _page(tmp_path, costs={"weak": Cost(cpu_seconds=12.34, note="only a guess")})
    for said in ("nexusformer", "weak", "strong", "12.3", "only a guess", "95 %"):
        assert said in page


def test_what_is_known_is_shown_and_what_is_not_is_left_out(tmp_path):
    full, bare = _page(tmp_path, background=_background()), _page(tmp_path)
    for section in ("Learning", "Who read whom", "Size", "Provenance"):
        assert f"<h2>{section}</h2>" in full
        assert f"<h2>{section}</h2>" not in bare
    for said in ("visits reads shops: 75.0%", "4,096", "1,171", "1.50 / 2.50", "kept: epoch 6"):
        assert said in full


def test_a_model_alone_is_shown_without_a_comparison(tmp_path):
    label, says = _rows(TaskKind.BINARY)
    said = {"nexusformer": says(0.2)}
    found = evaluate_predictions(_task(TaskKind.BINARY), label, SPLIT, CUTOFF, said, draws=20)
    assert found.best_baseline is None
    assert "there is no baseline to compare with" in render_page(found)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("empty", ["validation", "test"])
def test_a_split_without_rows_gives_dashes_and_no_failure(empty):
    label, says = _rows(TaskKind.REGRESSION)
    split = np.where(np.equal(SPLIT, empty), "train", SPLIT)
    said = {"nexusformer": says(0.2), "other": says(1.0)}
    found = evaluate_predictions(_task(TaskKind.REGRESSION), label, split, CUTOFF, said, draws=20)
    assert "&ndash;" in render_page(found)
    assert EvaluationReport.model_validate_json(found.model_dump_json()).residuals is None


@pytest.mark.filterwarnings("error")
def test_one_class_on_test_gives_dashes_and_no_failure():
    label, says = _rows(TaskKind.BINARY)
    label[TEST] = 1.0
    said = {"nexusformer": says(0.2), "other": says(1.0)}
    found = evaluate_predictions(_task(TaskKind.BINARY), label, SPLIT, CUTOFF, said, draws=20)
    assert "no interval" in render_page(found)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.69512, "1.695"),
        (-0.000789, "&minus;0.0007890"),
        (0.0, "0.0000"),
        (1843211.0, "1,843,211"),
        (float("nan"), "&ndash;"),
    ],
)
def test_numbers_are_shown_with_four_digits(value, shown):
    assert number(value) == shown


def test_ticks_are_round_and_inside():
    generator = np.random.default_rng(0)
    for low, span in zip(generator.normal(0, 50, 200), generator.exponential(30, 200), strict=True):
        ticks = nice_ticks(low, low + span)
        assert 2 <= len(ticks) <= 7
        assert low - 1e-9 <= ticks[0]
        assert ticks[-1] <= low + span + 1e-9
