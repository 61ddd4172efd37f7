"""The schema of the project file accepts what the loader accepts, and refuses unknown keys."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.propose.project_schema import project_schema

ROOT = Path(__file__).resolve().parents[2]
FILES = [ROOT / "nexusflow.yaml", *sorted((ROOT / "examples").glob("*/nexusflow.yaml"))]


def as_json(text: str) -> object:
    return json.loads(json.dumps(yaml.safe_load(text), default=str))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_every_project_file_fits_the_schema(file):
    jsonschema.validate(as_json(file.read_text(encoding="utf-8")), project_schema())


def test_a_proposed_file_fits_the_schema_beside_it(clinic):
    beside = json.loads((clinic.folder / "nexusflow.schema.json").read_text(encoding="utf-8"))
    text = (clinic.folder / "nexusflow.yaml").read_text(encoding="utf-8")
    assert beside == project_schema()
    assert text.startswith("# yaml-language-server: $schema=nexusflow.schema.json\n")
    jsonschema.validate(as_json(text), beside)


def test_an_unknown_key_is_refused():
    said = {"project_name": "x", "datasets": [{"name": "a.csv", "primary_kee": "id"}]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(said, project_schema())


def test_the_schema_has_every_key_of_the_file():
    assert set(project_schema()["properties"]) == set(ProjectConfig.model_fields) - {"root"}
