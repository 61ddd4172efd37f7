"""The project's sentence model: where it is, what it reads, and which one it is."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_model.schema import DatabaseSpec, SemanticType
from nexus_pipeline.project import ProjectConfig

if TYPE_CHECKING:
    from nexus_model.sentences.find_reader import TextModelPlace
    from nexus_model.tokenize.sentences import SentenceReader


def text_model_place(project: ProjectConfig) -> "TextModelPlace | None":
    """The model's folder and where vectors are kept; None if the project names no model.

    The environment's ``NEXUSFLOW_TEXT_MODEL`` goes before the folder the project names.
    """
    from nexus_model.sentences.find_reader import KEPT, TextModelPlace
    from nexus_model.tokenize.sentences import TEXT_MODEL

    if project.text_model is None:
        return None
    said = os.environ.get(TEXT_MODEL)
    folder = Path(said).absolute() if said else project.root / project.text_model
    return TextModelPlace(folder, project.home / KEPT)


def text_readers(project: ProjectConfig, database: DatabaseSpec) -> "Mapping[str, SentenceReader]":
    """By table the model that reads its texts; none of tables without text, or that want none.

    Raises:
        ConfigurationError: the model cannot be opened.
    """
    from nexus_model.sentences.find_reader import open_reader

    without = {dataset.table for dataset in project.datasets if not dataset.sentence_vectors}
    asked = [
        table.name
        for table in database.tables
        if table.columns_of(SemanticType.TEXT) and table.name not in without
    ]
    place = text_model_place(project)
    return dict.fromkeys(asked, open_reader(place)) if asked and place is not None else {}


def text_model_version(project: ProjectConfig) -> dict[str, str]:
    """SHA-256 of the model's files, as something that tokenized tables depend on.

    Raises:
        ConfigurationError: the folder or a file is missing.
    """
    from nexus_model.sentences.model_folder import open_folder

    place = text_model_place(project)
    return {} if place is None else {"text_model": open_folder(place.folder).sha256}


@contextmanager
def text_model_said(project: ProjectConfig) -> Iterator[None]:
    """Say in the environment where the model is, to who loads an artifact without the project."""
    from nexus_model.tokenize.sentences import TEXT_MODEL

    place, before = text_model_place(project), os.environ.get(TEXT_MODEL)
    if place is None or before:
        yield
        return
    os.environ[TEXT_MODEL] = str(place.folder)
    try:
        yield
    finally:
        os.environ.pop(TEXT_MODEL, None)


def text_settings(project: ProjectConfig) -> dict[str, object]:
    """The part of the project file that decides which model reads which texts."""
    if project.text_model is None:
        return {}
    without = [dataset.table for dataset in project.datasets if not dataset.sentence_vectors]
    return {"text_model": project.text_model, "sub_words_of": without}
