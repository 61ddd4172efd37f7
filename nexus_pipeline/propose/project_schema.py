"""JSON Schema of the project file, for editors that complete and check it while one types."""

import json
from typing import Any

from nexus_pipeline.project import ProjectConfig

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_NAMES = ("primary_key", "columns", "references_columns", "encoder_modules")


def project_schema() -> dict[str, Any]:
    """The schema of everything a project file may say, short forms included."""
    schema = ProjectConfig.model_json_schema()
    schema["properties"].pop("root", None)
    for part in (schema, *schema.get("$defs", {}).values()):
        for name, said in part.get("properties", {}).items():
            if name in _NAMES or name.endswith("_columns"):
                _also_one(said)
            elif said.get("type") == "array" and name in {
                "stages",
                "groups",
                "relation",
                "pattern",
            }:
                _also_text(said)
    training = schema["$defs"].get("TrainingConfig", {}).get("properties", {})
    if "batch_size" in training:
        training["batch_size"].setdefault("anyOf", []).append({"const": "auto"})
    return {"$schema": _DRAFT, "title": "NexusFlow project file", **schema}


def project_schema_text() -> str:
    """The schema as text, the same every time."""
    return json.dumps(project_schema(), indent=1, sort_keys=True) + "\n"


def _also_one(said: dict[str, Any]) -> None:
    """A list of names may be written as one name."""
    _either(said, {"type": "string"})


def _also_text(said: dict[str, Any]) -> None:
    """A list may be written with commas."""
    _either(said, {"type": "string", "description": "with commas between"})


def _either(said: dict[str, Any], other: dict[str, Any]) -> None:
    moved = {key: said.pop(key) for key in ("type", "items", "minItems", "maxItems") if key in said}
    if moved:
        said["anyOf"] = [other, moved]
