"""Which sentence model reads the texts: the one that is said, or the environment's."""

import os
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

from nexus_model.sentences.kept_sentences import KeptSentences
from nexus_model.sentences.model_folder import ModelFolder, open_folder
from nexus_model.sentences.onnx_sentences import OnnxSentences
from nexus_model.tokenize.sentences import TEXT_MODEL, SentenceReader, checked_reader
from nexus_model.tokenize.statistics import Tokenizer

KEPT = "text_vectors"


class TextModelPlace(NamedTuple):
    """A model's folder, and the folder where vectors are kept, if they are kept on disk."""

    folder: Path
    kept: Path | None = None


TextModel: TypeAlias = TextModelPlace | Path | str


def find_place(given: TextModel | None) -> TextModelPlace | None:
    """The place that is given, or the environment's ``NEXUSFLOW_TEXT_MODEL``; None if neither.

    A bare folder's vectors are kept under the environment's ``NEXUS_HOME``, if it is set.
    """
    if isinstance(given, TextModelPlace):
        return given
    folder, home = given or os.environ.get(TEXT_MODEL), os.environ.get("NEXUS_HOME")
    return TextModelPlace(Path(folder), Path(home) / KEPT if home else None) if folder else None


def open_reader(place: TextModelPlace) -> SentenceReader:
    """The model of a folder; opened once by a process.

    Raises:
        ConfigurationError: as ``open_folder`` and ``OnnxSentences``.
    """
    return _opened(open_folder(place.folder.absolute()), place.kept)


@lru_cache(maxsize=2)
def _opened(folder: ModelFolder, kept: Path | None) -> SentenceReader:
    reader = OnnxSentences(folder)
    return reader if kept is None else KeptSentences(reader, kept)


def find_reader(tokenizer: Tokenizer, given: TextModel | None = None) -> SentenceReader | None:
    """The reader of a fitted tokenizer's texts; None if sub-words read all of them.

    Raises:
        ConfigurationError: a text needs a model and there is none, it is another one, or it cannot
            be opened.
    """
    if not any(table.sentence_columns for table in tokenizer.tables):
        return None
    place = find_place(given)
    return checked_reader(tokenizer.tables, None if place is None else open_reader(place))
