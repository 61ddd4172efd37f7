"""The report as a page: one with everything on it, its contrast, and what a browser makes of it."""

import re
import shutil
import subprocess

import numpy as np
import pytest

from nexus_model.explain.importance import Importance, TableImportance
from nexus_model.explain.interaction import PairInteraction
from nexus_model.schema import TaskKind, TaskSpec
from nexus_pipeline.steps.report import Background, evaluate_predictions, sliced, write_report
from nexus_pipeline.steps.report_facts import (
    DataCard,
    DataLink,
    DataTable,
    Distribution,
    ExplainedRow,
    Explanations,
    FlowPass,
)
from nexus_pipeline.steps.report_ranking import confusion, ranking, spread
from nexus_pipeline.steps.report_style import STYLE

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
ROWS = 240
SPLIT = np.repeat(["train", "validation", "test"], 80)
LARGEST_BYTES = 5_000_000


def importance(table, shapley):
    spread_ = {"low": shapley - 0.02, "high": shapley + 0.02}
    alone = {"permutation": shapley, "permutation_low": 0.0, "permutation_high": 0.3}
    return TableImportance(table=table, shapley=shapley, **spread_, **alone)


def background():
    names = ("shops", "visits", "brands & co")
    explanations = Explanations(
        importance=Importance(
            unit="nats", samples=80, clusters=80, draws=1, exact=True, total=0.3,
            tables=tuple(importance(name, 0.2 - 0.1 * at) for at, name in enumerate(names)),
        ),
        pairs=(PairInteraction(tables=names[:2], strength=0.4, gain=0.1, low=0.01, high=0.2),),
        pairs_asked=True,
        tables=names,
        passes=(FlowPass(weights=((0, 0.5, 0.5), (0.9, 0, 0.1), (0.2, 0.8, 0))),) * 2,
        rows=(
            ExplainedRow(
                key="<17>", which="highest", prediction=0.9, label=1.0,
                reasons=("4 visits (more than 92 % of shops): raises it by 12 points",),
                score_after_each_cycle=(0.1, 0.4),
            ),
        ),
    )  # fmt: skip
    card = DataCard(
        entity="shops",
        tables=(
            DataTable(table="shops", rows=80, quarantined=3, columns=2),
            DataTable(table="visits", rows=4321, quarantined=0, columns=1, first="2020-01-01",
                      last="2020-12-31"),
            DataTable(table="brands & co", rows=7, quarantined=None, columns=0),
        ),
        links=(
            DataLink(child="visits", parent="shops", columns="shop_id"),
            DataLink(child="shops", parent="brands & co", columns="brand_id"),
            DataLink(child="brands & co", parent="brands & co", columns="owner_id"),
        ),
    )  # fmt: skip
    ranges = (Distribution(name="rows of visits", quantiles=(0, 2, 5, 9, 30)),)
    return Background(
        project="shop", data=card, explanations=explanations, distributions=ranges,
        reproduce="nexusflow train --task spend",
    )  # fmt: skip


def report(kind=TaskKind.BINARY):
    classes = {TaskKind.MULTICLASS: ("a", "b", "c"), TaskKind.BINARY: ("no", "yes")}.get(kind, ())
    levels = (0.25, 0.75) if kind is TaskKind.QUANTILE else ()
    task = TaskSpec(
        name="spend", kind=kind, entity_table="shops", classes=classes, quantiles=levels
    )
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=ROWS)
    label, said = hidden, hidden + rng.normal(0, 0.3, ROWS)
    if kind is TaskKind.BINARY:
        label, said = (hidden > 0).astype(float), 1 / (1 + np.exp(-said))
    if kind is TaskKind.MULTICLASS:
        label = np.digitize(hidden, [-0.5, 0.5]).astype(float)
        said = rng.dirichlet(np.ones(3), ROWS)
    if kind is TaskKind.QUANTILE:
        said = said[:, None] + [-0.2, 0.2]
    models = {"nexusformer": said, "other": said[::-1].copy()}
    found = evaluate_predictions(
        task, label, SPLIT, None, models, background=background(), draws=50
    )
    segments = {"region": np.where(rng.random(ROWS) < 0.5, "north", "<south>")}
    return sliced(found, (label, SPLIT, None), said, segments)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return write_report(tmp_path_factory.mktemp("report"), report())


def test_everything_that_is_known_is_on_the_page(page):
    text = page.read_text(encoding="utf-8")
    for title in ("In five sentences", "Data", "Order", "Slices", "What the answer depends on",
                  "Attention flow", "Why, row by row", "Baseline for drift",
                  "Make it again"):  # fmt: skip
        assert f"<h2>{title}</h2>" in text
    assert "the two are not the same" in text
    assert text.index("What the answer depends on") < text.index("Attention flow")
    assert "shops and visits say something only together" in text
    assert "&lt;17&gt;" in text
    assert "&lt;south&gt;" in text
    assert len(text.encode()) < LARGEST_BYTES


def test_the_summary_is_five_sentences(page):
    (summary,) = re.findall(r'class="summary">.*?</section>', page.read_text(), flags=re.DOTALL)
    assert len(re.findall(r"<li>.*?</li>", summary)) == 5


@pytest.mark.parametrize("kind", TaskKind)
def test_every_kind_of_task_has_its_pictures(kind, tmp_path):
    found = report(kind)
    pictures = {"ranking", "confusion", "spread"}
    own = {
        TaskKind.BINARY: "ranking",
        TaskKind.MULTICLASS: "confusion",
        TaskKind.REGRESSION: "spread",
        TaskKind.QUANTILE: "spread",
    }[kind]
    assert [name for name in pictures if getattr(found, name) is not None] == [own]
    text = write_report(tmp_path, found).read_text()
    assert not re.search(r"https?:|//\w|src=|href=|@import|url\(|<script|<link", text)


def test_a_perfect_order_and_a_useless_one_are_drawn_so():
    label = np.repeat([1.0, 0.0], 50)
    found = ranking({"perfect": label, "useless": np.zeros(100)}, label)
    assert (0.0, 1.0) in found.roc[0].points
    assert found.roc[1].points == ((0.0, 0.0), (1.0, 1.0))
    assert found.lift[0].points[0] == (0.5, 2.0)
    assert ranking({"one": label}, np.ones(100)) is None


def test_confusions_and_residuals_are_counted():
    said = np.eye(3)[[0, 1, 2, 2]]
    assert confusion(said, np.array([0, 1, 1, 2.0]), "abc").counts == (
        (1, 0, 0),
        (0, 1, 1),
        (0, 0, 1),
    )
    found = spread(np.zeros(1000), np.linspace(-1, 3, 1000))
    assert found.mean == pytest.approx(1.0)
    assert sum(found.counts) == pytest.approx(980, abs=2)


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    lines = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * lines[0] + 0.7152 * lines[1] + 0.0722 * lines[2]


@pytest.mark.parametrize("ink", ["ink", "soft", "model", "best", "good", "bad"])
@pytest.mark.parametrize("behind", ["paper", "ground"])
def test_words_stand_out_from_what_is_behind_them(ink, behind):
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", STYLE))
    light, dark = sorted((luminance(colours[ink]), luminance(colours[behind])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_every_picture_has_a_name_and_wide_parts_are_reached_by_keyboard(page):
    text = page.read_text(encoding="utf-8")
    pictures = re.findall(r"<svg[^>]*>", text)
    assert pictures
    assert all('role="img"' in one and "aria-label=" in one for one in pictures)
    frames = re.findall(r'<div class="scroll"[^>]*>', text)
    assert frames
    assert all('tabindex="0"' in one and "aria-label=" in one for one in frames)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
def test_a_browser_renders_and_prints_it_without_a_word_of_complaint(page, tmp_path):
    printed = tmp_path / "report.pdf"
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'browser'}",
         f"--print-to-pdf={printed}", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    assert printed.read_bytes().startswith(b"%PDF")
    assert printed.stat().st_size > 20_000
