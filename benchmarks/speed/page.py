"""``benchmarks/README.md``, written from the results: ``python -m benchmarks.bench --page``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "README.md"
HEAD = """\
# Benchmarks

Never part of the tests. Every figure is a ratio taken in one process or one run, and is written
with its command, machine and commit under `results/`.

This page is written by `python -m benchmarks.bench --page` from `results/speed/*.json` and
`results/gpu/*.json`; `make bench` and, on a machine with a GPU, `make bench-gpu` measure anew.
"""
TABLE = """\
## How fast
Each part runs in a process of its own. Beside other work (see the load) ratios are of CPU seconds,
else of wall time. Why these bars, and the arithmetic of those missed:
[decision 6](../docs/decisions/0006-speed.md).

"""
GPU = """\
## On a GPU
`make bench-gpu`, each part in a process of its own; times are of the device, waited for. What is
decided and why: [decision 7](../docs/decisions/0007-gpu.md).

"""
UNMEASURED = "Not measured: no machine with a GPU has run it yet.\n"
COLUMNS = """\
| case | beside | figure | ours | other | ratio | bar | |
|---|---|---|---|---|---|---|---|
"""
TAIL = """\
## Other questions
| command | question |
|---|---|
| `python benchmarks/overhead.py` | CPU of a run through Dagster and MLflow over the same steps as plain functions |
| `make bench-quality` | the model, an ensemble and a stack beside constants, per-entity means and boosting on rel-f1 (both regimes), baseball and flights: [the table](quality/README.md) |
| `python -m benchmarks.encoders.run` | the encoders on California Housing and Adult beside published figures: [the table](encoders/README.md) |
| `nexusflow generate shop --rows 8000 --to shop`, then `nexusflow ablate` with [these keys](results/ablation_shop.yaml) | operators, cycles and some blocks on validation: [the grid](results/ablation_shop.md), one seed, four epochs; with [these](results/ablation_shop_earlier.yaml) experts and tables too: [the grid](results/ablation_shop_earlier.md), made before decision 10 |
| the same with `groups: pretraining` and without `only` | what pretraining on hidden cells buys at 1, 10 and 100 % of labels: [the table](results/pretraining_shop.md) |
| `nexusflow ablate --task position` in the default project with [these keys](results/ablation_f1.yaml) | operators, cycles and those blocks that had differed, on validation: [the grid](results/ablation_f1.md), one seed, four epochs |
| `python -m benchmarks.shop.cycles` | a number of cycles, halting per sample, the load of experts |
| `python -m benchmarks.shop.parts` | which parts of a database with known truth the model learns; `--table` prints what was run |
| `python benchmarks/optimize.py ...` | every smaller or faster form of a model beside it: [the table](results/optimize.md) |
| `python benchmarks/serving.py` | a server under load, batched and not |
| `python benchmarks/latency.py` | one entity's prediction beside featuretools and boosting: [the table](results/latency.md) |
| `python benchmarks/propose.py` | keys and types found in real databases, against what their project files declare |
| `python -m benchmarks.any_shape` | random databases of any shape, each answered, refused by name, or failed |
| `python -m benchmarks.explain` | do explanations find what was planted: [the table](results/explain.md) |
| `python -m benchmarks.startup` | what commands and definitions cost before they do anything |
| `python -m benchmarks.profile_run` | where a run's time goes, by library |
| `python -m benchmarks.operations` | a thousand materializations, and a tick that finds nothing |
| `python -m benchmarks.faults` | every fault at every stage |
| `python -m benchmarks.gallery` | every example, trained as its page says |
"""  # noqa: E501 - lines of a table


def page(results: list[dict[str, Any]], of_gpu: Sequence[dict[str, Any]] = ()) -> str:
    """The page of these results."""
    return "\n".join([HEAD, TABLE + _table(results), GPU + _gpu(of_gpu), TAIL])


def _table(results: Sequence[dict[str, Any]]) -> str:
    rows = [_row(result, figure) for result in results for figure in result["figures"]]
    return COLUMNS + "\n".join([*rows, "", *(_facts(result) for result in results), ""])


def _gpu(results: Sequence[dict[str, Any]]) -> str:
    if not results:
        return UNMEASURED
    named = sorted({result["versions"]["GPU"] for result in results})
    return f"On {', '.join(named)}.\n\n{_table(results)}"


def _row(result: dict[str, Any], figure: dict[str, Any]) -> str:
    unit, sense = figure["unit"], figure["sense"].replace("_", " ")
    return (
        f"| {result['question']} | {result['peer']} | {figure['what']} | "
        f"{figure['ours']:g} {unit} | {figure['other']:g} {unit} | {figure['ratio']:.3g} | "
        f"{sense} {figure['bar']:g} | {'met' if figure['met'] else '**missed**'} |"
    )


def _facts(result: dict[str, Any]) -> str:
    spent = [
        f"{name} {facts['cpu_s']:g} CPU s, {facts['peak_mb']:.0f} MB at most"
        for name, facts in result["parts"].items()
        if {"cpu_s", "peak_mb"} <= facts.keys()
    ] or [f"{', '.join(result['parts'])}"]
    told = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    return (
        f"- `{result['command']}`: {'; '.join(spent)}. {result['machine']}, load average before "
        f"{result['load_average_before']:g}, commit {result['commit'][:12]}, {told}."
    )


def stored(folder: Path) -> list[dict[str, Any]]:
    """The results in a folder, by the names of their cases; none if there is no folder."""
    return [json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("*.json"))]


def write_page(results: Path, of_gpu: Path | None = None) -> None:
    """Write the page from a folder of results; those of a GPU lie in ``gpu`` beside it."""
    beside = results.parent / "gpu" if of_gpu is None else of_gpu
    PAGE.write_text(page(stored(results), stored(beside)), encoding="utf-8")
