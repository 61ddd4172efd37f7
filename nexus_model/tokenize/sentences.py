"""Texts as vectors of a sentence model: who gives them, and one column of cells as numbers.

R rows, N distinct texts, Z numbers of a vector. The model itself is run elsewhere
(``nexus_model.sentences``); here it is whoever keeps this protocol.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nexus_model.schema import ConfigurationError
from nexus_model.tokenize.columns import Column, strings
from nexus_model.tokenize.statistics import SentenceColumn, TableTokenizer

Array = np.ndarray
TEXT_MODEL = "NEXUSFLOW_TEXT_MODEL"


class SentenceReader(Protocol):
    """Gives a text its vector; ``model_sha256`` is of the model's files, ``place`` their folder."""

    @property
    def model_sha256(self) -> str: ...

    @property
    def width(self) -> int: ...

    @property
    def place(self) -> str: ...

    def vectors(self, texts: Sequence[str]) -> Array:
        """float32 [N, Z], in order; each follows from its own text alone."""


def fit_sentences(name: str, reader: SentenceReader) -> SentenceColumn:
    """What a column must remember of the model that reads it; no row decides anything."""
    return SentenceColumn(name=name, width=reader.width, model_sha256=reader.model_sha256)


def encode_sentences(column: Column, fitted: SentenceColumn, reader: SentenceReader) -> Array:
    """float32 [R, Z]: every distinct text is asked about once; missing and blank are all 0."""
    texts = strings(column)
    distinct = [text for text in pc.unique(texts).to_pylist() if text and not text.isspace()]
    vectors_NZ = np.zeros((len(distinct) + 1, fitted.width), np.float32)
    if distinct:
        vectors_NZ[:-1] = reader.vectors(distinct)
    place_R = pc.index_in(texts, value_set=pa.array(distinct, pa.string()))
    # What is not among them is the last, which is nothing.
    vectors_RZ: Array = vectors_NZ[np.asarray(pc.fill_null(place_R, len(distinct)))]
    return vectors_RZ


def checked_reader(
    tables: Iterable[TableTokenizer], reader: SentenceReader | None
) -> SentenceReader | None:
    """The reader, if it is the one that all texts of the tables were fitted with.

    None if no text of them is read by a sentence model.

    Raises:
        ConfigurationError: a text needs a model, and there is none or it is another.
    """
    found = [(table.table, column) for table in tables for column in table.sentence_columns]
    for table, column in found:
        asked = f"{table}.{column.name} is read by the sentence model {column.model_sha256}"
        if reader is None:
            raise ConfigurationError(
                f"{asked} (SHA-256), and no model is given: name its folder as text_model, or set "
                f"{TEXT_MODEL}"
            )
        if (column.model_sha256, column.width) != (reader.model_sha256, reader.width):
            raise ConfigurationError(
                f"{asked} (SHA-256; {column.width} numbers), and the one in {reader.place} is "
                f"{reader.model_sha256} ({reader.width} numbers)"
            )
    return reader if found else None
