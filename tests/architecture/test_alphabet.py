"""One alphabet of shapes: every suffix is made of letters the alphabet's page explains."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "alphabet.md").read_text(encoding="utf-8")
LETTERS = set(re.findall(r"^\| ([A-Z]) \|", PAGE, flags=re.MULTILINE))
SUFFIX = re.compile(r"^[a-z][a-z0-9_]*_([A-Z][A-Z0-9]*)$")


def suffixes(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return {match[1] for name in names if (match := SUFFIX.match(name))}


def test_the_alphabet_has_letters():
    assert {"B", "R", "D"} <= LETTERS


def test_every_suffix_is_spelled_in_the_alphabet():
    unknown = {
        f"{path.relative_to(ROOT)}: {suffix}"
        for path in (ROOT / "nexus_model").rglob("*.py")
        for suffix in suffixes(path)
        if not set(re.sub(r"\d", "", suffix)) <= LETTERS
    }
    assert not unknown
