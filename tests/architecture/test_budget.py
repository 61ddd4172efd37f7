"""The budget of our code: sizes, flags, names, annotations; each line of it is a test."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    path for package in ("nexus_model", "nexus_pipeline") for path in (ROOT / package).rglob("*.py")
)
VAGUE = {"utils", "helpers", "common", "misc", "core", "base", "manager", "handler", "processor"}


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            yield node


def arguments(node: ast.FunctionDef) -> list[ast.arg]:
    found = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [argument for argument in found if argument.arg not in {"self", "cls"}]


def offenders(wrong) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in FILES
        for node in functions(path)
        if wrong(node)
    ]


def test_there_is_code_to_measure():
    assert len(FILES) > 100


def test_a_file_has_at_most_350_lines():
    long = [p.relative_to(ROOT) for p in FILES if len(p.read_text("utf-8").splitlines()) > 350]
    assert not long


def test_a_function_has_at_most_60_lines():
    assert not offenders(lambda node: (node.end_lineno or 0) - node.lineno + 1 > 60)


def test_a_function_takes_at_most_8_parameters():
    assert not offenders(lambda node: len(arguments(node)) > 8)


def test_a_signature_has_at_most_one_flag():
    def flags(node: ast.FunctionDef) -> int:
        defaults = [*node.args.defaults, *node.args.kw_defaults]
        return sum(isinstance(d, ast.Constant) and isinstance(d.value, bool) for d in defaults)

    assert not offenders(lambda node: flags(node) > 1)


def test_every_parameter_and_result_is_annotated():
    def bare(node: ast.FunctionDef) -> bool:
        named = any(argument.annotation is None for argument in arguments(node))
        return named or node.returns is None

    assert not offenders(bare)


def test_no_file_or_class_is_named_for_nothing():
    names = [path.stem for path in FILES] + [
        node.name.lower()
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    assert not [name for name in names if name in VAGUE]


def test_every_module_opens_with_what_it_is():
    bare = [
        path.relative_to(ROOT)
        for path in FILES
        if not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert not bare


@pytest.mark.parametrize(
    "forbidden",
    [r"^\s*(import|from) pickle", r"torch\.load\(", r"allow_pickle=True", r"^from __future__",
     r"^\s*(import|from) joblib", r"except Exception", r"^\s*print\("],
)  # fmt: skip
def test_forbidden_text_is_nowhere(forbidden):
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in FILES
        for line in path.read_text("utf-8").splitlines()
        if re.search(forbidden, line)
    ]
    assert not found
