"""A sentence model run by ONNX Runtime on this machine's processors: texts in, vectors out.

N texts of a call, B texts of one run, L tokens of each, Z numbers of a vector.
DIFFERS from sentence-transformers: only texts of equal length share a run, so nothing is padded
and a vector follows from its own text alone.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from nexus_model.schema import ConfigurationError
from nexus_model.sentences.model_folder import TOKENIZER, ModelFolder, Pooling

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

Array = np.ndarray
LONGEST = 256
TOGETHER = 64
SENTENCE_OUTPUT = "sentence_embedding"
_INTEGERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_APART = 1e-4


class OnnxSentences:
    """The model of a folder, ready to be asked; safe to ask from several threads.

    Raises:
        ConfigurationError: the extra ``text`` is not installed, a file cannot be read, the graph
            asks for something else than tokens, or gives something else than vectors.
    """

    def __init__(self, folder: ModelFolder) -> None:
        self.folder = folder
        self._tokenizer = _open_tokenizer(folder)
        self._session = _open_session(folder)
        self._inputs = _token_inputs(folder, self._session)
        outputs = [output.name for output in self._session.get_outputs()]
        self._output = SENTENCE_OUTPUT if SENTENCE_OUTPUT in outputs else outputs[0]
        self._together = 1
        last = max(1, self._tokenizer.get_vocab_size() - 1)
        ids_BL = np.stack([np.arange(8) % (last + 1), np.full(8, last)])
        alone_BZ = np.concatenate([self._run(ids_BL[:1]), self._run(ids_BL[1:])])
        self._width = alone_BZ.shape[1]
        # A graph with dynamic quantization scales by all it is given, so it is given one text.
        near = _APART * np.nan_to_num(np.abs(alone_BZ), posinf=0).max(initial=0)
        if np.allclose(self._run(ids_BL), alone_BZ, rtol=0, atol=near, equal_nan=True):
            self._together = TOGETHER

    @property
    def model_sha256(self) -> str:
        """SHA-256 over the model's files."""
        return self.folder.sha256

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return int(self._width)

    @property
    def place(self) -> str:
        """The model's folder."""
        return str(self.folder.root)

    def vectors(self, texts: Sequence[str]) -> Array:
        """float32 [N, Z], in order; a text without tokens is all 0.

        Raises:
            ConfigurationError: a vector is not finite.
        """
        said = [text.lower() for text in texts] if self.folder.lowercase else list(texts)
        tokens = [encoded.ids for encoded in self._tokenizer.encode_batch(said)]
        vectors_NZ = np.zeros((len(texts), self.width), np.float32)
        for length, places in _by_length(tokens, self._together):
            if length:
                vectors_NZ[places] = self._run(np.array([tokens[place] for place in places]))
        wrong = np.flatnonzero(~np.isfinite(vectors_NZ).all(axis=1))
        if len(wrong):
            raise ConfigurationError(
                f"text_model: {self.place} gives vectors that are not finite ({len(wrong)} texts); "
                f"for example of {texts[wrong[0]]!r}"
            )
        return vectors_NZ

    def _run(self, ids_BL: Array) -> Array:
        ones_BL = np.ones_like(ids_BL)
        given = {"input_ids": ids_BL, "attention_mask": ones_BL, "token_type_ids": 0 * ones_BL}
        fed: dict[str, Array] = {
            name: given[name].astype(kind) for name, kind in self._inputs.items()
        }
        with _ToldAs(f"text_model: {self.folder.graph} cannot be run"):
            (found,) = self._session.run([self._output], fed)
        return self._pooled(np.asarray(found, np.float32), len(ids_BL), ids_BL.shape[1])

    def _pooled(self, found: Array, texts: int, tokens: int) -> Array:
        if found.ndim == 2 and len(found) == texts:
            vectors_BZ = found
        elif found.ndim == 3 and found.shape[:2] == (texts, tokens):
            if self.folder.beyond:
                raise ConfigurationError(
                    f"text_model: {self.folder.root} has modules {list(self.folder.beyond)} after "
                    f"its graph; export it whole, with an output {SENTENCE_OUTPUT}"
                )
            is_mean = self.folder.pooling is Pooling.MEAN
            vectors_BZ = found.mean(axis=1) if is_mean else found[:, 0]
        else:
            raise ConfigurationError(
                f"text_model: {self.folder.graph}: output {self._output} must be [batch, tokens, "
                f"width] or [batch, width]; of {texts} texts of {tokens} tokens it is "
                f"{list(found.shape)}"
            )
        if self.folder.normalised:
            length_B1 = np.linalg.norm(vectors_BZ, axis=1, keepdims=True)
            vectors_BZ = vectors_BZ / np.maximum(length_B1, 1e-12)
        return vectors_BZ


def _by_length(tokens: Sequence[Sequence[int]], most: int) -> Iterator[tuple[int, list[int]]]:
    """Places of texts with equally many tokens, at most so many at a time."""
    ordered = sorted(range(len(tokens)), key=lambda place: len(tokens[place]))
    for length, group in groupby(ordered, key=lambda place: len(tokens[place])):
        places = list(group)
        for start in range(0, len(places), most):
            yield length, places[start : start + most]


def _not_installed(error: ImportError) -> ConfigurationError:
    told = f"text_model needs {error.name}, which is not installed: pip install 'nexusflow[text]'"
    return ConfigurationError(told)


class _ToldAs(AbstractContextManager[None]):
    """Whatever is raised within, as an error of the folder: both libraries raise bare exceptions,
    with no class of their own to name.
    """

    def __init__(self, problem: str) -> None:
        self.problem = problem

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, Exception):
            raise ConfigurationError(f"{self.problem}: {error}") from error


def _open_tokenizer(folder: ModelFolder) -> "Tokenizer":
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise _not_installed(error) from error

    path = folder.root / TOKENIZER
    with _ToldAs(f"text_model: {path} is no tokenizer"):
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    own = tokenizer.truncation or {}
    tokenizer.no_padding()
    tokenizer.enable_truncation(folder.longest or own.get("max_length") or LONGEST)
    return tokenizer


def _open_session(folder: ModelFolder) -> "InferenceSession":
    try:
        import onnxruntime
    except ImportError as error:
        raise _not_installed(error) from error
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = min(torch.get_num_threads(), os.cpu_count() or 1)
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    with _ToldAs(f"text_model: {folder.graph} cannot be run"):
        return onnxruntime.InferenceSession(
            str(folder.graph), options, providers=["CPUExecutionProvider"]
        )


def _token_inputs(folder: ModelFolder, session: "InferenceSession") -> dict[str, type]:
    """What the graph asks for, as the integers it takes."""
    known = {"input_ids", "attention_mask", "token_type_ids"}
    asked = {given.name: given.type for given in session.get_inputs()}
    strange = [name for name in asked if name not in known or asked[name] not in _INTEGERS]
    if strange or "input_ids" not in asked:
        raise ConfigurationError(
            f"text_model: {folder.graph} must ask for input_ids, and at most {sorted(known)}, as "
            f"whole numbers; it asks for {asked}"
        )
    return {name: _INTEGERS[kind] for name, kind in asked.items()}
