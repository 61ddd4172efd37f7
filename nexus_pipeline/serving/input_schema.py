"""A model's input schema as OpenAPI: its own tables and columns, and an example that works."""

from collections.abc import Mapping
from typing import Any

from nexus_model.align.recipe import RawColumn, RawTable, Recipe
from nexus_model.artifact.model_file import NexusFlowModelArtifact
from nexus_model.schema import TableSpec, TaskKind
from nexus_model.tokenize.statistics import Tokenizer
from nexus_pipeline.serving.problems import ErrorBody
from nexus_pipeline.serving.wire import ARROW_TYPE, JSON_TYPE

_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
_REAL = ("DOUBLE", "FLOAT", "DECIMAL", "REAL")
_MOMENT = ("TIMESTAMP", "DATE")
KEY = 1


def input_schema(recipe: Recipe) -> dict[str, Any]:
    """JSON Schema of a request's body."""
    tables = {table.name: _table_schema(recipe, table) for table in recipe.raw}
    dated = recipe.task.horizon_days is not None
    moment = {"type": "string", "format": "date-time"}
    fields: dict[str, Any] = {
        "entities": {
            "type": "array",
            "description": "keys of those asked about; all of the entity table if left out",
            "items": {},
        },
        "tables": {
            "type": "object",
            "properties": tables,
            "additionalProperties": False,
            "description": f"rows by table; {recipe.entity.name} holds those asked about",
        },
    }
    if dated:
        about = "the moment asked about; no later row is read"
        fields["cutoff"] = moment | {"description": about}
        fields["as_of"] = moment | {"description": "the moment the rows are of, if earlier"}
    return {
        "type": "object",
        "properties": fields,
        "required": ["cutoff"] if dated else [],
        "additionalProperties": False,
    }


def _table_schema(recipe: Recipe, table: RawTable) -> dict[str, Any]:
    entity = recipe.entity if table.name == recipe.entity.name else None
    rows = {
        "type": "object",
        "properties": {
            column.name: _column_schema(column, nullable=not _is_key(entity, column))
            for column in table.columns
        },
        "required": [column.name for column in table.columns],
    }
    return {"type": "array", "items": rows}


def _is_key(entity: TableSpec | None, column: RawColumn) -> bool:
    return entity is not None and column.name in entity.primary_key


def _column_schema(column: RawColumn, *, nullable: bool) -> dict[str, Any]:
    kind = column.type.upper().lstrip("U")
    found: dict[str, Any] = {"type": "string"}
    if kind.startswith(_WHOLE):
        found = {"type": "integer"}
    elif kind.startswith(_REAL):
        found = {"type": "number"}
    elif kind == "BOOLEAN":
        found = {"type": "boolean"}
    elif kind.startswith(_MOMENT):
        found = {"type": "string", "format": "date-time"}
    if nullable:
        found["type"] = [found["type"], "null"]
    return found


def example_request(artifact: NexusFlowModelArtifact) -> dict[str, Any]:
    """A request of one entity with one row per table, of values the model has learned from."""
    recipe, tokenizer = artifact.recipe, artifact.tokenizer
    specs = {table.name: table for table in recipe.database.tables}
    rows = {
        table.name: [_example_row(table, specs.get(table.name), tokenizer)] for table in recipe.raw
    }
    if recipe.grid is None:
        return {"tables": rows}
    return {"cutoff": recipe.grid.test_from.isoformat(), "tables": rows}


def _example_row(table: RawTable, spec: TableSpec | None, tokenizer: Tokenizer) -> dict[str, Any]:
    keys = set(spec.key_columns) if spec else set()
    known = _typical(spec.name, tokenizer) if spec else {}
    return {
        column.name: _example_value(column, known.get(column.name), is_key=column.name in keys)
        for column in table.columns
    }


def _typical(table: str, tokenizer: Tokenizer) -> Mapping[str, Any]:
    fitted = tokenizer[table]
    found: dict[str, Any] = {column.name: round(column.mean, 3) for column in fitted.numerical}
    return found | {
        column.name: column.vocabulary[0] for column in fitted.categorical if column.vocabulary
    }


def _example_value(column: RawColumn, typical: Any, *, is_key: bool) -> Any:
    kind = column.type.upper().lstrip("U")
    if kind.startswith(_WHOLE):
        return KEY if is_key or typical is None else round(float(typical))
    if kind.startswith(_REAL):
        return float(KEY) if typical is None else float(typical)
    if kind == "BOOLEAN":
        return str(typical).lower() == "true"
    if kind.startswith(_MOMENT):
        return "2000-01-01T00:00:00"
    if is_key or typical is None:
        return str(KEY) if is_key else "text"
    return str(typical)


def openapi(artifact: NexusFlowModelArtifact, *, has_token: bool) -> dict[str, Any]:
    """The OpenAPI page of a model's server."""
    request = {
        "required": True,
        "content": {
            JSON_TYPE: {"schema": {"$ref": "#/components/schemas/Request"},
                        "example": example_request(artifact)},
            ARROW_TYPE: {"schema": {"type": "string", "format": "binary"}},
        },
    }  # fmt: skip
    error = {"description": "an error", "content": {
        JSON_TYPE: {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}}  # fmt: skip
    answer = {"description": "predictions in the order of the entity table's rows", "content": {
        JSON_TYPE: {"schema": {"$ref": "#/components/schemas/Answer"}}}}  # fmt: skip
    asks = {"requestBody": request, "responses": {"200": answer, "default": error}}
    tells = {"responses": {"200": {"description": "what is asked for"}, "default": error}}
    page = ErrorBody.model_json_schema(ref_template="#/components/schemas/{model}")
    parts = page.pop("$defs")
    schemas = {"Request": input_schema(artifact.recipe), "Answer": _answer_schema(artifact)}
    components: dict[str, Any] = {"schemas": schemas | parts | {"ErrorBody": page}}
    if has_token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"NexusFlow: {artifact.recipe.task.name}", "version": "1"},
        "paths": {
            "/predict": {"post": {"summary": "Predict for entities with their rows", **asks}},
            "/explain": {"post": {"summary": "Attention and effect of each table", **asks}},
            **{
                path: {"get": {"summary": summary, **tells}}
                for path, summary in (
                    ("/health", "The process lives"),
                    ("/ready", "A model answers, and which"),
                    ("/metrics", "Prometheus text"),
                    ("/model", "Manifest, metrics, lineage and input schema"),
                )
            },
        },
        "components": components,
        **({"security": [{"token": []}]} if has_token else {}),
    }


def _answer_schema(artifact: NexusFlowModelArtifact) -> dict[str, Any]:
    task = artifact.recipe.task
    named = task.kind is TaskKind.MULTICLASS
    value = {"type": "string", "enum": list(task.classes)} if named else {"type": "number"}
    outputs: dict[str, Any] = {"type": "object", "description": "probabilities, or quantiles"}
    if task.output_columns:
        outputs["properties"] = {name: {"type": "number"} for name in task.output_columns}
    prediction = {
        "type": "object",
        "properties": {
            "key": {"type": "object"},
            "prediction": value,
            "outputs": outputs,
            "flags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["key", "prediction", "flags"],
    }
    return {
        "type": "object",
        "properties": {
            "predictions": {"type": "array", "items": prediction},
            "flags": {"type": "array", "items": {"type": "string"}},
            "model": {"type": "object"},
            "request_id": {"type": "string"},
        },
    }
