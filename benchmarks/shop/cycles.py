"""What a number of cycles, halting and experts do on the generated shop's cross-table interaction.

``python -m benchmarks.shop.cycles`` trains three models on 4,000 customers of one seed: cycles as
they are, cycles drawn at random in training, and experts everywhere. It predicts *validation*
samples with 0 to 6 cycles and with each sample halting by itself, and prints the experts' load.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.shop.database import ShopTask, shop_task
from benchmarks.shop.parts import models
from benchmarks.shop.train import fitted
from nexus_model.apply import predict_samples
from nexus_model.config import NexusConfig
from nexus_model.evaluate.metrics import measure
from nexus_model.exchange.refine import RefinementConfig
from nexus_model.layers.experts.layer import ExpertsConfig
from nexus_model.layers.tap import listening
from nexus_model.model import NexusFormer
from nexus_model.train.config import TrainingConfig
from nexus_model.train.state import TrainState
from nexus_pipeline.generate.parts import Part, ShopParts

RESULTS = Path(__file__).parents[1] / "results" / "shop_cycles.json"
CYCLES, THRESHOLDS = range(7), (0.3, 0.1, 0.03, 0.01, 0.001)


def trained(shop: ShopTask, config: NexusConfig, epochs: int) -> TrainState:
    """A finished training of all its epochs."""
    return fitted(shop, config, TrainingConfig(epochs=epochs, patience=epochs, batch_size=128))


def auroc(shop: ShopTask, model: NexusFormer, cycles: int | None = None) -> float:
    """Of the validation samples."""
    asked_B, scale = shop.samples("validation"), shop.tokenizer.label
    found = predict_samples(model, shop.tensors, asked_B, shop.recipe.task, scale, cycles=cycles)
    return float(measure("auroc", found, shop.tensors.label_B[asked_B]))


def halting(shop: ShopTask, model: NexusFormer, cycles: int) -> dict[str, Any]:
    """Score and mean number of cycles used, by threshold, of at most ``cycles``."""
    rows = {}
    for threshold in THRESHOLDS:
        used: list[float] = []
        model.refine.config = model.refine.config.model_copy(update={"halt_below": threshold})
        with listening(
            model, "tap_cycles", lambda _, used_B, used=used: used.extend(used_B.tolist())
        ):
            score = auroc(shop, model, cycles)
        rows[str(threshold)] = {"auroc": score, "mean_cycles": float(np.mean(used))}
    model.refine.config = model.refine.config.model_copy(update={"halt_below": None})
    return rows


def main() -> None:
    """Train the three, print and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    shop = shop_task(4000, 0, ShopParts().only(Part.PAIR))
    base, found = models()["default"], {}
    for name, refinement in (
        ("four cycles", RefinementConfig(cycles=4)),
        ("one to four cycles at random", RefinementConfig(cycles=4, sample_cycles=True)),
    ):
        model = trained(
            shop, base.model_copy(update={"refinement": refinement}), asked.epochs
        ).model
        found[name] = {
            "auroc_by_cycles": {k: auroc(shop, model, k) for k in CYCLES},
            "halting": halting(shop, model, 6),
        }
    experts = ExpertsConfig(experts=6)
    tables = {
        name: table.model_copy(update={"experts": experts}) for name, table in base.tables.items()
    }
    state = trained(
        shop, base.model_copy(update={"experts": experts, "tables": tables}), asked.epochs
    )
    found["six experts everywhere"] = {
        "auroc": auroc(shop, state.model),
        "load_variation_by_epoch": [dict(report.load_variation) for report in state.progress.curve],
    }
    RESULTS.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
