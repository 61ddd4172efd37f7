"""Keys and types proposed for real databases, beside the truth their project files declare.

``python benchmarks/propose.py [--f1db FOLDER] [--hockey FOLDER] [--rel-f1 FOLDER]`` prints
precision and recall, and writes ``benchmarks/results/propose.json``. Thresholds were set on f1,
rel_f1, shop and flights; baseball, f1db and hockey were looked at afterwards, and rules were mended
after that look (``mended_after``): no database here is unseen. The first look gave precision .896
(f1db) and .438 (hockey), recall 1 and .778.

A foreign key is right if its columns name the declared table; a primary key if its columns are
those declared. Project files declare what a project uses: proposals beyond that are listed, and
right where ``benchmarks/propose_truth.json`` says so (``beyond``), written after they were seen.
The keys of f1db and hockey were written there by hand before, five of hockey's mended after; the
types were written by hand with the proposals in view, so their share flatters.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import Field

from nexus_model.schema import Record
from nexus_pipeline.generate.shop import generate_project
from nexus_pipeline.project import ProjectConfig, load_project
from nexus_pipeline.propose.keys import find_keys
from nexus_pipeline.propose.load import load_tables, open_store
from nexus_pipeline.propose.meanings import find_meanings
from nexus_pipeline.propose.scan import scan_folder
from nexus_pipeline.steps.read_raw import raw_file

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "propose.json"
TRUTH = Path(__file__).parent / "propose_truth.json"
TUNED = ("f1", "rel_f1", "shop", "flights")
MENDED_AFTER = ("baseball", "f1db", "hockey")

Link = tuple[str, tuple[str, ...], str]


class Truth(Record):
    """A database's files, keys and, where written, types; ``beyond`` are true links besides."""

    name: str
    files: tuple[Path, ...]
    primary: dict[str, tuple[str, ...]]
    links: frozenset[Link]
    beyond: frozenset[Link] = frozenset()
    types: dict[str, dict[str, str]] = Field(default_factory=dict)


def declared(name: str, project: ProjectConfig, written: dict[str, Any]) -> Truth:
    """What a project file declares; tables read from one file are one."""
    files = {dataset.table: raw_file(project, dataset.table) for dataset in project.datasets}
    own: dict[Path, str] = {}
    for table, file in files.items():
        own.setdefault(file, table if table in file.name else file.name.partition(".")[0])
    named = {table: own[file] for table, file in files.items()}
    return Truth(
        name=name,
        files=tuple(own),
        primary={named[d.table]: d.primary_key for d in project.datasets if d.primary_key},
        links=frozenset(
            (named[d.table], key.columns, named[key.references_table])
            for d in project.datasets
            for key in d.foreign_keys
        ),
        **written_of(name, written),
    )


def written_of(name: str, written: dict[str, Any]) -> dict[str, Any]:
    """Links and types that are true and written beside this file."""
    found = written.get(name, {})
    links = frozenset((a, tuple(b.split("+")), c) for a, b, c in found.get("beyond", []))
    return {"beyond": links, "types": found.get("types", {})}


def measured(truth: Truth) -> dict[str, Any]:
    """Proposals for a database against its truth."""
    started = time.perf_counter()
    with TemporaryDirectory() as text:
        folder = Path(text)
        (folder / "in").mkdir()
        for file in truth.files:
            (folder / "in" / file.name).symlink_to(file.resolve())
        store = open_store(folder)
        loaded = load_tables(scan_folder(folder / "in"), store, folder / "raw")
        with store.write() as con:
            keys = find_keys(con, loaded.profiles)
            meanings = {
                t.table: find_meanings(con, t, keys.key_columns(t.table)) for t in loaded.profiles
            }
    proposed = {(link.table, link.columns, link.parent) for link in keys.links}
    right = proposed & (truth.links | truth.beyond)
    primary = {name: key.columns for name, key in keys.primary.items()}
    same = [name for name, key in truth.primary.items() if set(primary.get(name, ())) == set(key)]
    typed = list(_types(truth, meanings))
    return {
        "tables": len(loaded.profiles),
        "rows": sum(t.rows for t in loaded.profiles),
        "seconds": round(time.perf_counter() - started, 1),
        "tuned_on": truth.name in TUNED,
        "mended_after": truth.name in MENDED_AFTER,
        "links": {
            "declared": len(truth.links),
            "proposed": len(proposed),
            "precision": _share(len(right), len(proposed)),
            "precision_declared": _share(len(proposed & truth.links), len(proposed)),
            "recall": _share(len(proposed & truth.links), len(truth.links)),
            "missed": sorted(map(_told, truth.links - proposed)),
            "beyond": sorted(map(_told, right - truth.links)),
            "wrong": sorted(map(_told, proposed - right)),
        },
        "primary_keys": {
            "declared": len(truth.primary),
            "found": len(same),
            "share": _share(len(same), len(truth.primary)),
            "others": {
                name: {"declared": key, "proposed": primary.get(name, ())}
                for name, key in truth.primary.items()
                if name not in same
            },
        },
        "types": {
            "columns": len(typed),
            "right": _share(sum(a == b for _, a, b in typed), len(typed)),
            "wrong": [f"{name}: {said}, not {true}" for name, said, true in typed if said != true],
        },
    }


def _types(truth: Truth, meanings: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for table, columns in truth.types.items():
        said = {meaning.name: meaning.meaning.value for meaning in meanings[table]}
        for true, names in columns.items():
            for name in names.split():
                yield f"{table}.{name}", said[name], true


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _told(link: Link) -> str:
    return f"{link[0]}.{'+'.join(link[1])} > {link[2]}"


def truths(given: argparse.Namespace, folder: Path) -> Iterator[Truth]:
    """Every database at hand."""
    written = json.loads(TRUTH.read_text(encoding="utf-8"))
    yield declared("f1", load_project(ROOT / "nexusflow.yaml"), written)
    generate_project("shop", folder / "shop", 1000, 0)
    yield declared("shop", load_project(folder / "shop" / "nexusflow.yaml"), written)
    for name in ("flights", "baseball"):
        yield declared(name, load_project(ROOT / "examples" / name / "nexusflow.yaml"), written)
    if given.rel_f1:
        os.environ["NEXUS_RAW"] = str(given.rel_f1)
        yield declared("rel_f1", load_project(ROOT / "examples/rel_f1/nexusflow.yaml"), written)
        del os.environ["NEXUS_RAW"]
    for name, place in (("f1db", given.f1db), ("hockey", given.hockey)):
        if place:
            said = written[name]
            links = ((a, tuple(b.split("+")), c) for a, b, c in said["links"])
            yield Truth(
                name=name,
                files=tuple(sorted(place.glob("*.parquet"))),
                primary={table: tuple(key.split("+")) for table, key in said["primary"].items()},
                links=frozenset(links),
                **written_of(name, written),
            )


def main() -> None:
    """Measure, print, write."""
    asked = argparse.ArgumentParser(description=__doc__)
    for name in ("f1db", "hockey", "rel-f1"):
        asked.add_argument(f"--{name}", type=Path, help="folder of its raw tables, if at hand")
    asked.add_argument("--only", help="one database; nothing is written")
    given = asked.parse_args()
    found: dict[str, Any] = {}
    print(
        f"{'':10}{'FK prec.':>9}{'declared':>10}{'recall':>8}{'PK found':>10}{'types':>8}{'s':>7}"
    )
    with TemporaryDirectory() as folder:
        for truth in truths(given, Path(folder)):
            if given.only and truth.name != given.only:
                continue
            found[truth.name] = told = measured(truth)
            links, primary, types = told["links"], told["primary_keys"], told["types"]
            print(
                f"{truth.name:10}{links['precision']:9.3f}{links['precision_declared']:10.3f}"
                f"{links['recall']:8.3f}{primary['found']:6}/{primary['declared']:<3}"
                f"{types['right'] if types['right'] is not None else '-':>8}{told['seconds']:7.1f}"
            )
            for kind in ("missed", "wrong", "beyond"):
                print(
                    *(f"    {kind}: {link}" for link in links[kind]),
                    sep="\n",
                    end="\n"[: len(links[kind])],
                )
            print(*(f"    key {n}: {k}" for n, k in primary["others"].items()), sep="\n")
            print(*(f"    type {line}" for line in types["wrong"]), sep="\n")
    if not given.only:
        RESULTS.write_text(json.dumps(found, indent=1, default=list) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
