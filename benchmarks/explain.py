"""Whether explanations find what was planted in the generated shop.

``python -m benchmarks.explain`` trains a model on 20,000 customers with every part at its usual
strength (or takes ``--artifact``, one made by this command), and measures on test customers:

- importance of tables beside that of the true probability, exchanged with the same donors;
- which pairs of tables are found to say something together;
- integrated gradients beside exchanged columns, and their completeness;
- with ``--alone``, who is read most by a model of a shop in which one part decides alone.

Results go to ``benchmarks/results/explain.json`` and ``explain.md``.
"""

import argparse
import json
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.shop.database import ShopTask, shop_task
from benchmarks.shop.parts import models
from benchmarks.shop.train import fitted
from nexus_model.api.attention_summary import between_tables, summarized
from nexus_model.artifact.model_file import NexusFlowModelArtifact
from nexus_model.explain.attention_flow import attention_flow
from nexus_model.explain.coalitions import Coalitions
from nexus_model.explain.exchanged import exchanged
from nexus_model.explain.importance import Importance, column_importance, table_importance
from nexus_model.explain.integrated_gradients import column_names, integrated_gradients
from nexus_model.explain.interaction import Interactions, table_interactions
from nexus_model.explain.outcome import Asked
from nexus_model.train.config import TrainingConfig
from nexus_pipeline.generate.draws import stream
from nexus_pipeline.generate.parts import Part, ShopParts, pair_signal
from nexus_pipeline.generate.people import draw_people
from nexus_pipeline.generate.purchases import LEAVING, draw_purchases
from nexus_pipeline.generate.shop import draw_shop
from nexus_pipeline.steps.evaluate_task import git_commit

RESULTS = Path(__file__).parent / "results" / "explain.json"
CUSTOMERS, SEED = 20_000, 0
# The parts lie in these columns; mix is a fact of items and of what products they name.
PLANTED_COLUMNS = {
    "customers": {"age", "region", "signed_up_at", "plan"},
    "orders": {"amount", "channel"},
    "products": {"category"},
    "support_tickets": {"text"},
    "web_events": {"value"},
}
PLANTED_PAIRS = ({"customers", "orders"}, {"order_items", "products"})
# Which attention is expected to single out: F-SHOP with one part active.
EXPECTED = {Part.VOLUME: "orders", Part.MOOD: "support_tickets", Part.PAIR: ("customers", "orders")}


class TrueShop(Coalitions):
    """The probability the labels were drawn from, with tables exchanged as a model's are."""

    def __init__(self, shop: ShopTask, like: Coalitions, chosen_B: np.ndarray) -> None:
        super().__init__(like.asked, shop.tensors, chosen_B, donors=like.donors)
        parts = ShopParts()
        people = draw_people(CUSTOMERS, stream(SEED, "customers"))
        bought = draw_purchases(CUSTOMERS, stream(SEED, "orders"))
        truth = draw_shop(CUSTOMERS, SEED, parts).truth
        pair = pair_signal(np.where(people.premium, 1.0, -1.0), bought.channel)
        self.parts, self.bias = truth.contributions, parts.bias
        # Aligned rows stand in the order of the keys, which are 1, 2, 3 and so on.
        self.customer_B = shop.tensors.times.entity_B[chosen_B]
        if not np.array_equal(truth.probability[self.customer_B], shop.probability_B[chosen_B]):
            raise ValueError("customers do not stand in the order of their keys")
        self.premium = np.where(people.premium, 1.0, -1.0)
        self.channel = np.where(bought.channel.present, bought.channel.value, np.nan)
        self.scales = {
            name: (signal.value[signal.present].mean(), signal.value[signal.present].std())
            for name, signal in (("pair", pair), ("mix", bought.mix))
        }
        self.strength = {"pair": parts.pair, "mix": parts.mix}
        vocabulary = shop.tokenizer["products"].categorical[0].vocabulary
        self.leaving = np.array([name in LEAVING for name in ("", "", *vocabulary)], np.float64)

    def _predicted(self, foreign: frozenset[str], donor_B: np.ndarray) -> np.ndarray:
        def of(table: str) -> np.ndarray:
            return self.customer_B[donor_B] if table in foreign else self.customer_B

        total = self.bias + self.parts[Part.OWN][of("customers")]
        total = total + self.parts[Part.VOLUME][of("orders")]
        total = total + self.parts[Part.TREND][of("web_events")]
        total = total + self.parts[Part.MOOD][of("support_tickets")]
        total = total + self._scaled(
            "pair", self.premium[of("customers")] * self.channel[of("orders")]
        )
        total = total + self._scaled("mix", self._share_leaving(foreign, donor_B))
        return 1 / (1 + np.exp(-total))

    def _scaled(self, part: str, value: np.ndarray) -> np.ndarray:
        mean, deviation = self.scales[part]
        return np.nan_to_num(self.strength[part] * (value - mean) / deviation)

    def _share_leaving(self, foreign: frozenset[str], donor_B: np.ndarray) -> np.ndarray:
        """Share of each customer's items of leaving categories, keys tied as for models."""
        every_B = np.arange(self.own.samples)
        batch = exchanged(self.own, every_B, dict.fromkeys(foreign, donor_B))
        place = self.own.path_tables.index("order_items")
        path, items = batch.paths[place], batch.tables["order_items"]
        product_R = items.parents_RP[:, 1].numpy()
        kinds = self.leaving[batch.tables["products"].categorical_RC[:, 0].numpy()]
        value_R = np.append(kinds, np.nan)[product_R]
        value_N = value_R[path.rows_N.numpy()]
        of_N = np.repeat(every_B, np.diff(path.offsets_B.numpy()))
        known_N = np.isfinite(value_N)
        count_B = np.bincount(of_N[known_N], minlength=len(every_B))
        sums_B = np.bincount(of_N[known_N], weights=value_N[known_N], minlength=len(every_B))
        return np.where(count_B > 0, sums_B / np.maximum(count_B, 1), np.nan)


def spearman(a: list[float], b: list[float]) -> float:
    """Rank correlation; there are no ties among measured importances."""
    ranks = [np.argsort(np.argsort(one)) for one in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def trained(part: Part | None, customers: int, epochs: int, path: Path | None) -> Any:
    """The shop, and the model of an artifact or of a training that is stored there."""
    shop = shop_task(customers, SEED, ShopParts() if part is None else ShopParts().only(part))
    if path is not None and path.is_file():
        return shop, NexusFlowModelArtifact.load(path).build()
    told = TrainingConfig(epochs=epochs, patience=epochs, batch_size=128)
    model = fitted(shop, models()["default"], told).model
    if path is not None:
        state = model.state_dict()
        NexusFlowModelArtifact(shop.recipe, shop.tokenizer, model.config, state).save(path)
    return shop, model


def planted(importance: Importance, truth: Importance, pairs: Interactions) -> dict[str, Any]:
    """What the issue asks: ranks, the interval of the noise table, the pairs found."""
    names = [row.table for row in truth.tables]
    found = [set(pair.tables) for pair in pairs.pairs if pair.found]
    campaigns = importance["campaigns"]
    return {
        "spearman": spearman(
            [importance[name].shapley for name in names], [truth[name].shapley for name in names]
        ),
        "noise_interval_contains_zero": campaigns.low <= 0 <= campaigns.high,
        "planted_pair_found": {"customers", "orders"} in found,
        "pairs_found": [sorted(pair) for pair in found],
        "false_pairs": [sorted(pair) for pair in found if pair not in PLANTED_PAIRS],
    }


def by_columns(asked: Asked, shop: ShopTask, found: Coalitions, chosen_B: np.ndarray) -> Any:
    """Both views of columns, and which lead within each table."""
    columns = {table.table: column_names(table) for table in shop.tokenizer.tables}
    permuted = column_importance(found, columns)
    shares = integrated_gradients(asked, shop.tensors, chosen_B[:16], columns)
    total: dict[tuple[str, str], float] = {}
    for sample in range(16):
        for key, value in shares.by_column(sample).items():
            total[key] = total.get(key, 0.0) + abs(value) / 16
    tables = {}
    for table, planted_columns in PLANTED_COLUMNS.items():
        ours = {key[1]: value for key, value in total.items() if key[0] == table}
        theirs = {row.column: row.permutation for row in permuted if row.table == table}
        first = max(ours, key=lambda name: ours[name]), max(theirs, key=lambda name: theirs[name])
        tables[table] = {
            "by_gradients": first[0],
            "by_permutation": first[1],
            "planted": sorted(planted_columns),
            "agree": first[0] == first[1] and first[0] in planted_columns,
        }
    return {
        "worst_completeness_error": float(shares.error_B.max()),
        "nodes": shares.nodes,
        "tables": tables,
        "permutation": [row.model_dump() for row in permuted],
        "gradients": {f"{table}.{column}": value for (table, column), value in total.items()},
    }


def attention_alone(epochs: int, folder: Path) -> dict[str, Any]:
    """Whom attention singles out where one part decides alone."""
    rows = {}
    for part, expected in EXPECTED.items():
        customers = CUSTOMERS if part is Part.MOOD else 4000
        shop, model = trained(part, customers, epochs, folder / f"{part.value}.nxf")
        chosen_B = shop.samples("test")[:256]
        flow = between_tables(attention_flow(model, shop.tensors, chosen_B), model.path_tables)
        summary = summarized(flow)
        first = tuple(summary["top_pairs"][0][:2])
        met = (
            set(first) == set(expected)
            if isinstance(expected, tuple)
            else summary["top_broadcaster"] == expected
        )
        asked = Asked(model, shop.recipe.task, shop.tokenizer.label)
        found = Coalitions(asked, shop.tensors, chosen_B)
        importance = table_importance(found)
        rows[part.value] = {
            "expected": expected,
            "top_broadcaster": summary["top_broadcaster"],
            "first_pair": first,
            "met": met,
            "most_important": importance.tables[0].table,
            "importance": {row.table: row.shapley for row in importance.tables},
        }
        print(part.value, rows[part.value])
    return rows


def measured(asked: argparse.Namespace) -> dict[str, Any]:
    """Everything but attention alone."""
    started = time.perf_counter()
    shop, model = trained(None, CUSTOMERS, asked.epochs, asked.artifact)
    question = Asked(model, shop.recipe.task, shop.tokenizer.label)
    chosen_B = shop.samples("test")[: asked.samples]
    found = Coalitions(question, shop.tensors, chosen_B, draws=asked.draws)
    truth = TrueShop(shop, found, chosen_B)
    importance, pairs = table_importance(found), table_interactions(found)
    exact, true_pairs = table_importance(truth), table_interactions(truth)
    return {
        "command": "python -m benchmarks.explain",
        "customers": CUSTOMERS,
        "samples": len(chosen_B),
        "draws": asked.draws,
        "seconds": time.perf_counter() - started,
        "planted": planted(importance, exact, pairs),
        "planted_of_the_truth": planted(exact, exact, true_pairs),
        "importance": importance.model_dump(mode="json"),
        "true_importance": exact.model_dump(mode="json"),
        "pairs": pairs.model_dump(mode="json"),
        "columns": by_columns(question, shop, found, chosen_B),
    }


def told(found: dict[str, Any]) -> str:
    """The results as a page."""
    true = {row["table"]: row for row in found["true_importance"]["tables"]}
    planted_, columns = found["planted"], found["columns"]
    lines = [
        "# Do explanations find what was planted?",
        "",
        f"Written by `{found['command']}` from `explain.json`; edit neither. {found['samples']} "
        f"test customers of {found['customers']:,}, {found['draws']} donors each; every part at "
        "its usual strength. The truth: the probability labels were drawn from, same donors.",
        "",
        "| table | importance, nats | 95 % interval | of the true probability | permuted alone |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['table']} | {row['shapley']:.4f} | {row['low']:.4f} to {row['high']:.4f} "
        f"| {true[row['table']]['shapley']:.4f} | {row['permutation']:.4f} |"
        for row in found["importance"]["tables"]
    ]
    lines += [
        "",
        f"- Spearman between both: {planted_['spearman']:.3f} (bar 0.9)",
        f"- interval of campaigns, which say nothing, contains 0: "
        f"{planted_['noise_interval_contains_zero']}",
        f"- planted pair customers and orders found: {planted_['planted_pair_found']}; false pairs "
        f"at 5 % over all: {planted_['false_pairs'] or 'none'}",
        f"- completeness of integrated gradients: largest error "
        f"{columns['worst_completeness_error']:.4f} of the way (bar 0.01)",
        "",
        "| table | first column by gradients | first column by exchange | planted |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {row['by_gradients']} | {row['by_permutation']} "
        f"| {', '.join(row['planted'])} |"
        for name, row in columns["tables"].items()
    ]
    if "attention" in found:
        lines += ["", "One part alone: whom attention singles out, and what importance says.", ""]
        lines += ["| part | expected | attention | met | most important |", "|---|---|---|---|---|"]
        for part, row in found["attention"].items():
            expected = row["expected"]
            is_pair = not isinstance(expected, str)
            shown = " and ".join(row["first_pair"]) if is_pair else row["top_broadcaster"]
            wanted = " and ".join(expected) if is_pair else expected
            met = "yes" if row["met"] else "no"
            lines.append(f"| {part} | {wanted} | {shown} | {met} | {row['most_important']} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, store, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifact", type=Path, help="model of every part; made if missing")
    parser.add_argument(
        "--alone", type=Path, help="folder of the models of one part; made if missing"
    )
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    found = measured(asked)
    found |= {
        "commit": git_commit(Path.cwd()),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} thread(s)",
        "versions": {name: version(name) for name in ("torch", "numpy")},
    }
    if asked.alone is not None:
        asked.alone.mkdir(parents=True, exist_ok=True)
        found["attention"] = attention_alone(asked.epochs, asked.alone)
    RESULTS.write_text(json.dumps(found, indent=1), encoding="utf-8")
    RESULTS.with_suffix(".md").write_text(told(found), encoding="utf-8")
    print(told(found))


if __name__ == "__main__":
    main()
