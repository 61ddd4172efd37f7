"""Bodies -> tables: JSON records, or Arrow streams one after another in one framed body.

Arrow framing: for each part a little-endian uint32 length of a JSON header, the header
(``{"table": NAME, "size_bytes": N}``), then N bytes of an Arrow IPC stream. The first part is
headed ``{"request": {"cutoff": ..., "entities": [...]}}`` and has no stream.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from nexus_model.align.recipe import RawTable, Recipe
from nexus_pipeline.serving.json_text import parse_json
from nexus_pipeline.serving.problems import ProblemError
from nexus_pipeline.serving.settings import ServeSettings

JSON_TYPE = "application/json"
ARROW_TYPE = "application/vnd.nexusflow.arrow"
_FIELDS = {"cutoff", "as_of", "entities", "tables"}
_LONGEST_HEADER = 2**20


class Incoming(NamedTuple):
    """A request as it was sent; ``tables`` is None in a lookup, which names entities alone."""

    tables: dict[str, pa.Table] | None
    cutoff: str | None
    as_of: str | None
    entities: list[Any] | None
    flags: tuple[str, ...]


def parse_body(body: bytes, kind: str, recipe: Recipe, settings: ServeSettings) -> Incoming:
    """The request in a body of this content type.

    Raises:
        ProblemError: the body is not of its type, or not a request.
    """
    media = kind.partition(";")[0].strip().lower()
    if media == JSON_TYPE:
        asked = _fields(parse_json(body, settings.deepest_json))
        records = asked.pop("tables", None)
        tables = None if records is None else _json_tables(records, recipe)
    elif media == ARROW_TYPE:
        asked, tables = _arrow_parts(body, settings)
    else:
        raise ProblemError(
            "unsupported_media_type", f"Content-Type must be {JSON_TYPE} or {ARROW_TYPE}"
        )
    if tables is not None:
        _check_sizes(tables, settings)
    return Incoming(
        tables,
        _moment(asked, "cutoff"),
        _moment(asked, "as_of"),
        _entities(asked.get("entities")),
        tuple(_extra_columns(tables or {}, recipe)),
    )


def _fields(parsed: Any) -> dict[str, Any]:
    if not isinstance(parsed, dict):
        raise ProblemError(
            "malformed_request", "the body must be an object with tables or entities"
        )
    for name in parsed:
        if name not in _FIELDS:
            told = f"unknown field; known are {', '.join(sorted(_FIELDS))}"
            raise ProblemError("malformed_request", told, example=name)
    return dict(parsed)


def _moment(asked: Mapping[str, Any], name: str) -> str | None:
    found = asked.get(name)
    if found is not None and not isinstance(found, str):
        raise ProblemError("bad_cutoff", f"{name} must be ISO 8601 text", example=found)
    return found


def _entities(found: Any) -> list[Any] | None:
    if found is None:
        return None
    if not isinstance(found, list):
        raise ProblemError("malformed_request", "entities must be a list of keys")
    keys = [tuple(key) if isinstance(key, list) else key for key in found]
    for key in keys:
        for part in key if isinstance(key, tuple) else (key,):
            if part is None:
                raise ProblemError("null_key", "entities must not hold null")
            if not isinstance(part, str | int) or isinstance(part, bool):
                raise ProblemError(
                    "malformed_request", "a key is a text or a whole number", example=key
                )
    return keys


def _json_tables(records: Any, recipe: Recipe) -> dict[str, pa.Table]:
    if not isinstance(records, dict):
        raise ProblemError(
            "malformed_request", "tables must be an object: table name -> list of rows"
        )
    known = {table.name: table for table in recipe.raw}
    found = {}
    for name, rows in records.items():
        if name not in known:
            told = f"unknown table; the model reads {sorted(known)}"
            raise ProblemError("unknown_table", told, table=name[:200])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ProblemError("malformed_request", "a table must be a list of objects", table=name)
        found[name] = _json_table(known[name], rows)
    return found


def _json_table(table: RawTable, rows: list[dict[str, Any]]) -> pa.Table:
    given = dict.fromkeys(name for row in rows for name in row)
    if not rows:
        given = dict.fromkeys(column.name for column in table.columns)
    columns = {name: _json_column(table.name, name, rows) for name in given}
    return pa.table(columns)


def _json_column(table: str, name: str, rows: list[dict[str, Any]]) -> pa.Array:
    values = [row.get(name) for row in rows]
    for value in values:
        if isinstance(value, list | dict):
            told = "values must be texts, numbers, booleans or null"
            raise ProblemError(
                "wrong_type", told, table=table, column=name, example=json.dumps(value)
            )
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        kinds = sorted({type(value).__name__ for value in values if value is not None})
        if kinds == ["float", "int"]:
            return pa.array([None if v is None else float(v) for v in values])
        raise ProblemError(
            "wrong_type",
            f"values of several types, or beyond 64 bits: {', '.join(kinds)}",
            table=table,
            column=name,
            example=next(value for value in values if value is not None),
        ) from error


def _arrow_parts(
    body: bytes, settings: ServeSettings
) -> tuple[dict[str, Any], dict[str, pa.Table] | None]:
    asked: dict[str, Any] = {}
    tables: dict[str, pa.Table] = {}
    for place, (header, stream) in enumerate(_frames(body, settings)):
        if place == 0:
            asked = _fields(header.get("request", {}))
            continue
        name = header.get("table")
        if not isinstance(name, str) or name in tables:
            raise ProblemError("malformed_arrow", "a part must name a table, each once")
        tables[name] = _arrow_table(name, stream)
    if "tables" in asked:
        raise ProblemError("malformed_request", "tables of an Arrow body are its parts")
    return asked, tables or None


def _frames(body: bytes, settings: ServeSettings) -> Iterator[tuple[dict[str, Any], memoryview]]:
    rest = memoryview(body)
    while rest:
        if len(rest) < 4:
            raise ProblemError("malformed_arrow", "the body ends within a length")
        size = struct.unpack("<I", rest[:4])[0]
        if size > min(_LONGEST_HEADER, len(rest) - 4):
            raise ProblemError("malformed_arrow", "a header is longer than the body")
        header = parse_json(bytes(rest[4 : 4 + size]), settings.deepest_json)
        if not isinstance(header, dict):
            raise ProblemError("malformed_arrow", "a header must be an object")
        rest = rest[4 + size :]
        length = header.get("size_bytes", 0)
        if not isinstance(length, int) or not 0 <= length <= len(rest):
            raise ProblemError("malformed_arrow", "size_bytes does not fit the body")
        yield header, rest[:length]
        rest = rest[length:]


def _arrow_table(name: str, stream: memoryview) -> pa.Table:
    try:
        table = pa.ipc.open_stream(pa.py_buffer(stream)).read_all()
        table.validate(full=True)
    except UnicodeDecodeError as error:
        raise ProblemError("invalid_utf8", "a name or text is not UTF-8", table=name) from error
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        told = str(error).splitlines()[0][:200] if str(error) else "unreadable"
        code = "invalid_utf8" if "UTF8" in told or "UTF-8" in told else "malformed_arrow"
        raise ProblemError(code, f"not an Arrow stream: {told}", table=name) from error  # type: ignore[arg-type]
    for column in table.schema:
        if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
            told = f"values must be texts, numbers, booleans or moments, not {column.type}"
            raise ProblemError("wrong_type", told, table=name, column=column.name)
    return table


def _check_sizes(tables: Mapping[str, pa.Table], settings: ServeSettings) -> None:
    rows = sum(len(table) for table in tables.values())
    if rows > settings.most_rows:
        told = f"a request may have {settings.most_rows} rows"
        raise ProblemError(
            "too_many_rows", told, table=max(tables, key=lambda t: len(tables[t])), rows=rows
        )
    for name, table in tables.items():
        for column in table.schema:
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                longest = pa.compute.max(pa.compute.utf8_length(table[column.name])).as_py() or 0
                if longest > settings.longest_text:
                    told = f"a text has {longest} characters, allowed are {settings.longest_text}"
                    raise ProblemError("text_too_long", told, table=name, column=column.name)


def _extra_columns(tables: Mapping[str, pa.Table], recipe: Recipe) -> Iterator[str]:
    known = {table.name: {column.name for column in table.columns} for table in recipe.raw}
    for name, table in tables.items():
        for column in table.column_names:
            if name in known and column not in known[name]:
                yield f"extra_column:{name}.{column[:100]}"


def arrow_body(tables: Mapping[str, pa.Table], request: Mapping[str, Any]) -> bytes:
    """The framed body of a request; what ``parse_body`` reads."""
    parts = [_framed({"request": dict(request)}, b"")]
    for name, table in tables.items():
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        parts.append(_framed({"table": name}, sink.getvalue().to_pybytes()))
    return b"".join(parts)


def _framed(header: dict[str, Any], stream: bytes) -> bytes:
    text = json.dumps({**header, "size_bytes": len(stream)}).encode()
    return struct.pack("<I", len(text)) + text + stream
