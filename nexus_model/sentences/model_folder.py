"""The folder of a sentence model, as people have it: which files, how tokens become one vector.

What is read: ``tokenizer.json``; ``model.onnx``, also in ``onnx/``, with the weight files it names;
``1_Pooling/config.json``, ``modules.json`` and ``sentence_bert_config.json`` where there are any.
Nothing else in the folder is opened, and nothing in it is executed.
"""

import hashlib
import json
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from nexus_model.schema import ConfigurationError

TOKENIZER, GRAPHS = "tokenizer.json", ("model.onnx", "onnx/model.onnx")
POOLING, MODULES, LENGTHS = "1_Pooling/config.json", "modules.json", "sentence_bert_config.json"
_MODES = "pooling_mode_"
_GRAPH_MODULES = frozenset({"Transformer", "Pooling", "Normalize"})


class Pooling(StrEnum):
    """How the vectors of tokens become the text's: their mean, or the first one."""

    MEAN = "mean_tokens"
    CLS = "cls_token"


class ModelFolder(NamedTuple):
    """What is in a folder; ``sha256`` is over the content of every file that is read.

    ``longest`` is in tokens, None if no file says; ``beyond`` are modules of ``modules.json`` that
    only a graph can hold.
    """

    root: Path
    graph: Path
    pooling: Pooling
    normalised: bool
    lowercase: bool
    longest: int | None
    beyond: tuple[str, ...]
    sha256: str


def open_folder(root: Path) -> ModelFolder:
    """The sentence model of a folder; files are hashed again only when they change.

    Raises:
        ConfigurationError: the folder or a file is missing, or a file says what cannot be done.
    """
    if not root.is_dir():
        raise ConfigurationError(f"text_model: no folder {root}")
    graphs = [root / name for name in GRAPHS if (root / name).is_file()]
    missing = [TOKENIZER] if not (root / TOKENIZER).is_file() else []
    missing += [] if graphs else [" or ".join(GRAPHS)]
    if missing:
        raise ConfigurationError(f"text_model: {root} has no {' and no '.join(missing)}")
    modules = _modules(root / MODULES)
    lengths = _parsed(root / LENGTHS, dict) if (root / LENGTHS).is_file() else {}
    longest = lengths.get("max_seq_length")
    if longest is not None and not (isinstance(longest, int) and longest > 0):
        raise ConfigurationError(f"{root / LENGTHS}: max_seq_length must be over 0, got {longest}")
    return ModelFolder(
        root=root,
        graph=graphs[0],
        pooling=_pooling(root / POOLING),
        normalised="Normalize" in modules,
        lowercase=bool(lengths.get("do_lower_case")),
        longest=longest,
        beyond=tuple(name for name in modules if name not in _GRAPH_MODULES),
        sha256=_sha256(root, graphs[0]),
    )


def _pooling(path: Path) -> Pooling:
    """As the file says; the mean where there is none, as sentence-transformers has it."""
    if not path.is_file():
        return Pooling.MEAN
    config = _parsed(path, dict)
    chosen = [key.removeprefix(_MODES) for key in config if key.startswith(_MODES) and config[key]]
    if len(chosen) != 1 or chosen[0] not in {*Pooling}:
        raise ConfigurationError(
            f"{path}: pooling must be one of {[*map(str, Pooling)]}, got {chosen}"
        )
    return Pooling(chosen[0])


def _modules(path: Path) -> list[str]:
    """The last words of the modules' types, in order."""
    if not path.is_file():
        return []
    found = _parsed(path, list)
    if not all(
        isinstance(module, dict) and isinstance(module.get("type"), str) for module in found
    ):
        raise ConfigurationError(f"{path}: every module must have a type")
    return [module["type"].rsplit(".", 1)[-1] for module in found]


def _parsed(path: Path, kind: type) -> Any:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from error
    if not isinstance(found, kind):
        raise ConfigurationError(f"{path}: must be a JSON {kind.__name__}")
    return found


def _sha256(root: Path, graph: Path) -> str:
    """Over every file's role and content, wherever the graph lies."""
    read = [root / name for name in (TOKENIZER, POOLING, MODULES, LENGTHS)]
    beside = sorted(path for path in graph.parent.iterdir() if path.is_file() and path not in read)
    stamps = tuple(
        (str(path), path.stat().st_size, path.stat().st_mtime_ns)
        for path in [*read, *beside]
        if path.is_file()
    )
    return _hashed(str(root), str(graph), stamps)


@lru_cache(maxsize=8)
def _hashed(root: str, graph: str, stamps: tuple[tuple[str, int, int], ...]) -> str:
    content = Path(graph).read_bytes()
    seen = hashlib.sha256(f"model.onnx {hashlib.sha256(content).hexdigest()}\n".encode())
    roles = {str(Path(root) / name): name for name in (TOKENIZER, POOLING, MODULES, LENGTHS)}
    for name, _, _ in stamps:
        # A graph's weights may lie in files beside it, which it names.
        role = roles.get(name) or Path(name).name
        if name != graph and (name in roles or role.encode() in content):
            with Path(name).open("rb") as file:
                seen.update(f"{role} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return seen.hexdigest()
