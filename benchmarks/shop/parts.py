"""Which parts of the generated shop a NexusFormer learns: share of the achievable AUROC.

``python -m benchmarks.shop.parts`` trains each part's model on 4,000 customers (20,000 where all
parts decide; 60 % of them for training) of five seeds, chooses epochs on validation and predicts
the test split once; figures go to ``benchmarks/results/shop_parts.json``, training by training.
Single parts are fixtures in which only that part decides; "achievable" is the AUROC of the true
probability on the same samples. Batches and warm-up are those a project gets that says nothing
of them. ``--only`` and ``--model`` choose; several such runs may write side by side.
"""

import argparse
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.shop.database import ShopTask, shop_task
from benchmarks.shop.train import train
from nexus_model.config import NexusConfig
from nexus_model.encode.choose import MLPConfig, TableConfig
from nexus_model.encode.text_cells import TextConfig
from nexus_model.encode.time_series import TimeSeriesConfig
from nexus_model.evaluate.bootstrap import paired_difference
from nexus_model.evaluate.metrics import measure
from nexus_model.exchange.refine import RefinementConfig
from nexus_model.predict.fusion_kind import FusionKind
from nexus_model.train.config import TrainingConfig
from nexus_pipeline.generate.parts import Part, ShopParts, share_of_achievable
from nexus_pipeline.steps.evaluate_task import git_commit
from nexus_pipeline.steps.train_task import usual_batch, with_usual_warmup

RESULTS = Path(__file__).parents[1] / "results" / "shop_parts.json"
PAGE = Path(__file__).parent / "README.md"
HEAD = """\
# What is learned of the generated shop

Written by `python -m benchmarks.shop.parts --table` from `../results/shop_parts.json`; edit
neither. Unseen customers, test split, epoch chosen on validation. *Share* is (AUROC - 0.5) over
the same of the true probability. One part at a time decides in 4,000 customers, all of them in
20,000. Where neither a bar nor a comparison asks for more, a model is only shown, on one seed.
"Rows as a set" reads events without a sequence model, but rows know their age, so order is not
hidden from it; a pool that is blind to time and order gets nothing
(`tests/stages/test_generated_shop.py`).
"Additive" answers cannot mix tables after the exchange, and "no parents" keeps a row from reading
the rows it references: without both, cross attention is the only way for two tables to meet.

"""
TABLES = ("customers", "products", "orders", "order_items", "campaigns")


class Case(NamedTuple):
    """A fixture, a model, and the bar of its share (None: only shown, or compared with one)."""

    part: Part | None
    model: str
    bar: float | None = None
    compared: bool = False

    def seeds(self, asked: int) -> int:
        """One where a model is only shown."""
        return asked if self.bar is not None or self.compared else min(1, asked)

    @property
    def customers(self) -> int:
        """All parts at once need more customers than one alone: each says less."""
        return 20_000 if self.part is None else 4_000

    @property
    def patience(self) -> int:
        """An interaction shows nothing until it is found: its curve starts as a plateau."""
        return 10 if self.part is Part.PAIR else 4


CASES = (
    Case(None, "default", 0.85),
    Case(Part.TREND, "default", 0.80),
    Case(Part.TREND, "state space", 0.80),
    Case(Part.TREND, "rows as a set"),
    Case(Part.MIX, "default", 0.60),
    Case(Part.MIX, "sage"),
    Case(Part.VOLUME, "sage"),
    Case(Part.MOOD, "default", 0.70),
    Case(Part.MOOD, "words averaged"),
    Case(Part.PAIR, "default", 0.70),
    Case(Part.PAIR, "no cross attention", compared=True),
    Case(Part.PAIR, "additive"),
    Case(Part.PAIR, "additive, no cross attention"),
    Case(Part.PAIR, "additive, no parents", 0.70),
    Case(Part.PAIR, "additive, no cross attention, no parents", compared=True),
    Case(Part.PAIR, "additive, no parents, sage"),
    Case(Part.PAIR, "additive, no parents, gatv2"),
    Case(Part.PAIR, "additive, no parents, commnet"),
    Case(Part.PAIR, "additive, no parents, gps"),
)


def models() -> dict[str, NexusConfig]:
    """Every configuration tried, by name."""
    plain = {name: TableConfig(encoder=MLPConfig()) for name in TABLES}
    text = {"support_tickets": TableConfig(encoder=TextConfig())}
    events = {"web_events": TableConfig(encoder=TimeSeriesConfig())}
    space = {"web_events": TableConfig(encoder=TimeSeriesConfig(sequence_model="ssm"))}
    default = NexusConfig(tables={**plain, **text, **events})
    alone = RefinementConfig(relations=())
    operators = {
        kind: RefinementConfig.model_validate({"relations": [{"kind": kind}]})
        for kind in ("sage", "gatv2", "commnet", "gps")
    }
    additive = FusionKind.ADDITIVE
    apart = {"fusion": additive, "parent_hops": 0}
    as_set = {"web_events": plain["orders"]}
    averaged = {"support_tickets": plain["orders"]}
    return {
        "default": default,
        "state space": default.model_copy(update={"tables": {**plain, **text, **space}}),
        "rows as a set": default.model_copy(update={"tables": {**plain, **text, **as_set}}),
        "words averaged": default.model_copy(update={"tables": {**plain, **averaged, **events}}),
        "sage": default.model_copy(update={"refinement": operators["sage"]}),
        "no cross attention": default.model_copy(update={"refinement": alone}),
        "additive": default.model_copy(update={"fusion": additive}),
        "additive, no cross attention": default.model_copy(
            update={"fusion": additive, "refinement": alone}
        ),
        "additive, no parents": default.model_copy(update=apart),
        "additive, no cross attention, no parents": default.model_copy(
            update={**apart, "refinement": alone}
        ),
        **{
            f"additive, no parents, {kind}": default.model_copy(
                update={**apart, "refinement": refinement}
            )
            for kind, refinement in operators.items()
        },
    }


def measured(case: Case, shop: ShopTask, seed: int, told: TrainingConfig) -> dict[str, Any]:
    """One training's figures, predictions included so that two models can be paired later."""
    found = train(shop, models()[case.model], told)
    test_B = shop.samples("test")
    bayes = measure("auroc", shop.probability_B[test_B], shop.tensors.label_B[test_B])
    return {
        "part": case.part.value if case.part else "all",
        "model": case.model,
        "seed": seed,
        "customers": case.customers,
        "patience": case.patience,
        "allowed_epochs": told.epochs,
        "batch": told.batch_size,
        "auroc": found.test,
        "achievable": bayes,
        "share": share_of_achievable(found.test, bayes),
        "validation": found.validation,
        "epochs": found.epochs,
        "seconds": found.seconds,
        "parameters": found.parameters,
        "prediction": [round(float(p), 5) for p in found.prediction_B],
        "label": [int(label) for label in shop.tensors.label_B[test_B]],
    }


def run(seeds: int, epochs: int, only: str | None, model: str | None) -> None:
    """Train what is not in the results yet, saving after each."""
    for seed, case in ((seed, case) for seed in range(seeds) for case in CASES):
        part = case.part.value if case.part else "all"
        known = {told_apart(row) for row in finished()}
        asked = only in {None, part} and model in {None, case.model} and seed < case.seeds(seeds)
        if not asked or (part, case.model, seed) in known:
            continue
        strengths = ShopParts().only(case.part) if case.part else ShopParts()
        shop = shop_task(case.customers, seed, strengths)
        told = usual(len(shop.samples("train")), epochs)
        told = told.model_copy(update={"patience": case.patience, "seed": seed})
        row = measured(case, shop, seed, told)
        others = [one for one in finished() if told_apart(one) != told_apart(row)]
        save([*others, row], epochs)
        print({k: v for k, v in row.items() if k not in {"prediction", "label"}}, flush=True)


def usual(samples: int, epochs: int) -> TrainingConfig:
    """What a project that says nothing of batches and warm-up trains with."""
    config = TrainingConfig(epochs=epochs, batch_size=usual_batch(samples))
    return with_usual_warmup(config, samples)


def told_apart(row: dict[str, Any]) -> tuple[str, str, int]:
    """What no two trainings share."""
    return row["part"], row["model"], row["seed"]


def finished() -> list[dict[str, Any]]:
    """The trainings in the results."""
    return json.loads(RESULTS.read_text("utf-8"))["rows"] if RESULTS.is_file() else []


def save(rows: list[dict[str, Any]], epochs: int) -> None:
    """Results with where they come from."""
    content = {
        "command": "python -m benchmarks.shop.parts",
        "epochs": epochs,
        "commit": git_commit(Path.cwd()),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} thread(s)",
        "versions": {name: version(name) for name in ("torch", "numpy")},
        "rows": rows,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(content, indent=None), encoding="utf-8")


def table() -> str:
    """The results as Markdown: medians over seeds beside their bars."""
    rows = finished()
    lines = [
        "| part | model | seeds | AUROC | achievable | share, median (lowest to highest) | bar | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in CASES:
        part = case.part.value if case.part else "all"
        of = [row for row in rows if (row["part"], row["model"]) == (part, case.model)]
        if not of:
            lines.append(f"| {part} | {case.model} | 0 |  |  |  | {case.bar or ''} | not run |")
            continue
        shares = [row["share"] for row in of]
        auroc, bayes = (np.median([row[name] for row in of]) for name in ("auroc", "achievable"))
        middle = float(np.median(shares))
        told = "" if case.bar is None else ("met" if middle >= case.bar else "not met")
        spread = f"{middle:.3f} ({min(shares):.3f} to {max(shares):.3f})"
        cells = [part, case.model, len(of), f"{auroc:.4f}", f"{bayes:.4f}", spread, case.bar or ""]
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} | {told} |")
    return "\n".join([*lines, "", *pairs(rows)]) + "\n"


def pairs(rows: list[dict[str, Any]]) -> list[str]:
    """What cross attention adds on the interaction, seed by seed, with paired intervals."""
    lines = []
    for first, second in (
        ("default", "no cross attention"),
        ("additive", "additive, no cross attention"),
        ("additive, no parents", "additive, no cross attention, no parents"),
    ):
        of = {(row["model"], row["seed"]): row for row in rows if row["part"] == "pair"}
        for seed in sorted({seed for _, seed in of}):
            if (first, seed) in of and (second, seed) in of:
                a, b = of[first, seed], of[second, seed]
                label = np.array(a["label"])
                found = paired_difference("auroc", a["prediction"], b["prediction"], label, None)
                lines.append(
                    f"- pair, seed {seed}: {first} less {second}: {found.estimate:+.4f} "
                    f"[{found.low:+.4f}, {found.high:+.4f}]"
                )
    return lines


def main() -> None:
    """Run, or print the table of what was run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", help="one part")
    parser.add_argument("--model", help="one model")
    parser.add_argument("--table", action="store_true", help="write and print the results")
    asked = parser.parse_args()
    if asked.table:
        PAGE.write_text(HEAD + table(), encoding="utf-8")
        print(table())
        return
    torch.set_num_threads(asked.threads)
    run(asked.seeds, asked.epochs, asked.only, asked.model)


if __name__ == "__main__":
    main()
