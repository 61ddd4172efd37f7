"""Every kind of bad input, what is sent, and what must come of it; docs/serving.md tells the same.

``outcome`` is a status and code such as ``422 wrong_type``, or ``200 flag`` and the flag.
"""

import datetime as dt
import json
import struct
from collections.abc import Callable
from typing import NamedTuple

import pyarrow as pa
from tiny import moment
from tiny_artifact import CUTOFF, frames

from nexus_pipeline.serving.wire import ARROW_TYPE, JSON_TYPE, arrow_body


class Case(NamedTuple):
    """A row of the table: what is wrong, the outcome, the body and its type."""

    name: str
    outcome: str
    body: Callable[[], bytes]
    kind: str = JSON_TYPE


def records(**changed):
    """The tiny database as JSON rows, with only a few customers."""
    found = {}
    for name, frame in frames().items():
        rows = frame.drop_columns(["vip"]) if "vip" in frame.column_names else frame
        found[name] = [
            {k: v.isoformat() if isinstance(v, dt.datetime) else v for k, v in row.items()}
            for row in rows.to_pylist()
        ]
    found["customers"] = found["customers"][:3]
    return {name: rows for name, rows in (found | changed).items() if rows is not None}


def asked(cutoff=CUTOFF, entities=None, **changed):
    """A JSON body."""
    content = {"tables": records(**changed)}
    if cutoff is not None:
        content["cutoff"] = cutoff if isinstance(cutoff, str) else cutoff.isoformat()
    if entities is not None:
        content["entities"] = entities
    return json.dumps(content).encode()


def first(table, **values):
    """The rows of a table, the first of them changed; None takes a column away everywhere."""
    head, *rest = records()[table]
    gone = {name for name, value in values.items() if value is ...}
    rows = [{**head, **values}, *rest]
    return {table: [{k: v for k, v in row.items() if k not in gone} for row in rows]}


def many(count):
    """So many orders of one customer."""
    customer = records()["customers"][0]["id"]
    total = pa.array([float(i % 97) for i in range(count)])
    early = pa.array([moment(1)] * count, pa.timestamp("us"))
    column = {
        "id": pa.array(range(1, count + 1)), "total": total,
        "channel": pa.array(["web"] * count), "promised_at": early,
        "customer_id": pa.array([customer] * count), "shop_id": pa.array([1] * count),
        "placed_at": early,
    }  # fmt: skip
    return frames() | {"orders": pa.table(column)}


def arrow(given, cutoff=CUTOFF):
    return arrow_body(given, {"cutoff": cutoff.isoformat()})


def with_total(values):
    orders = frames()["orders"]
    place = orders.column_names.index("total")
    column = pa.array((values + orders["total"].to_pylist())[: len(orders)], pa.float64())
    return frames() | {"orders": orders.set_column(place, "total", column)}


def broken_text():
    """An Arrow stream with a text that is not UTF-8."""
    orders = frames()["orders"]
    place = orders.column_names.index("channel")
    offsets = pa.array([*range(len(orders) + 1)], pa.int32()).buffers()[1]
    text = pa.StringArray.from_buffers(len(orders), offsets, pa.py_buffer(b"\xff" * len(orders)))
    return frames() | {"orders": orders.set_column(place, "channel", text)}


def headed(header):
    return struct.pack("<I", len(header)) + header


CASES = (
    Case("a table is missing", "200 flag table_missing:tickets", lambda: asked(tickets=None)),
    Case("the entity's table is missing", "422 missing_table", lambda: asked(customers=None)),
    Case("a table the model does not know", "422 unknown_table", lambda: asked(shoes=[])),
    Case("a column is missing", "422 missing_column", lambda: asked(**first("orders", total=...))),
    Case(
        "a column too many", "200 flag extra_column:customers.shoe_size",
        lambda: asked(**first("customers", shoe_size=44)),
    ),
    Case("a value of the wrong type", "422 wrong_type",
         lambda: asked(**first("tickets", opened_at="soon"))),
    Case("a moment beyond the calendar", "422 wrong_type",
         lambda: asked(**first("tickets", opened_at="infinity"))),
    Case("values of several types in a column", "422 wrong_type",
         lambda: asked(**first("orders", total="much"))),
    Case("a list where a value belongs", "422 wrong_type",
         lambda: asked(**first("orders", total=[1, 2]))),
    Case("a whole number beyond 64 bits", "422 wrong_type",
         lambda: asked(**first("orders", id=10**30))),
    Case("a null key of those asked about", "422 null_key",
         lambda: asked(**first("customers", id=None))),
    Case("a null foreign key", "200 flag at_row_limit:label_history_again",
         lambda: asked(**first("orders", customer_id=None))),
    Case("a key twice among those asked about", "422 duplicate_key",
         lambda: asked(customers=records()["customers"] * 2)),
    Case("a key twice in a referenced table", "422 duplicate_key",
         lambda: asked(shops=records()["shops"] * 2)),
    Case("an unknown entity", "422 unknown_entity", lambda: asked(entities=[123456])),
    Case("an entity without any rows", "200 flag no_history",
         lambda: asked(customers=[{**records()["customers"][0], "id": 999, "shop_id": None}],
                       orders=[], tickets=[])),
    Case("no entities (0 rows)", "200 flag no_entities", lambda: asked(customers=[])),
    Case("a table of 0 rows", "200 flag at_row_limit:label_history_again",
         lambda: asked(tickets=[])),
    Case("100,000 rows of one entity", "200 flag at_row_limit:orders",
         lambda: arrow(many(100_000)), ARROW_TYPE),
    Case("more rows than a request may have", "422 too_many_rows",
         lambda: arrow(many(200_001)), ARROW_TYPE),
    Case("a row later than the cutoff", "200 flag after_cutoff:orders",
         lambda: asked(**first("orders", placed_at="2021-06-01T00:00:00"))),
    Case("NaN or infinity in Arrow", "200 flag not_finite:orders.total",
         lambda: arrow(with_total([float("nan"), float("inf")])), ARROW_TYPE),
    Case("NaN in JSON", "400 malformed_json",
         lambda: asked(**first("orders", total=float("nan")))),
    Case("a number too large for JSON (1e999)", "200 flag not_finite:orders.total",
         lambda: asked(**first("orders", total=12345.678)).replace(b"12345.678", b"1e999")),
    Case("a text of 10 MB", "422 text_too_long",
         lambda: asked(**first("tickets", body="x" * 10_000_000))),
    Case("invalid UTF-8 in JSON", "400 invalid_utf8",
         lambda: asked(**first("tickets", body="SPOT")).replace(b"SPOT", b"\xff\xfe")),
    Case("half a surrogate pair in JSON", "400 invalid_utf8",
         lambda: asked(**first("tickets", body="SPOT")).replace(b"SPOT", b"\\ud800")),
    Case("invalid UTF-8 in Arrow", "400 invalid_utf8", lambda: arrow(broken_text()), ARROW_TYPE),
    Case("an unknown category", "200 flag unknown_category:customers.city",
         lambda: asked(**first("customers", city="Atlantis"))),
    Case("malformed JSON", "400 malformed_json", lambda: asked()[:-5]),
    Case("an empty body", "400 malformed_json", lambda: b""),
    Case("a name twice in a JSON object", "400 malformed_json",
         lambda: b'{"cutoff": "2020-01-01", "cutoff": "2020-01-02", "tables": {}}'),
    Case("JSON nested too deep", "400 too_deep", lambda: b"[" * 100_000 + b"]" * 100_000),
    Case("a body that is not an object", "400 malformed_request", lambda: b"[1, 2]"),
    Case("an unknown field", "400 malformed_request", lambda: b'{"when": 1}'),
    Case("rows that are not objects", "400 malformed_request", lambda: asked(orders=[1, 2])),
    Case("neither tables nor entities", "400 malformed_request",
         lambda: b'{"cutoff": "2020-01-01"}'),
    Case("a wrong content type", "415 unsupported_media_type", asked, "text/csv"),
    Case("a truncated Arrow stream", "400 malformed_arrow",
         lambda: arrow(frames())[:-300], ARROW_TYPE),
    Case("an Arrow body that is none", "400 malformed_arrow", lambda: b"PAR1" * 50, ARROW_TYPE),
    Case("an Arrow part that is no stream", "400 malformed_arrow",
         lambda: headed(b'{"request": {}}') + headed(b'{"table": "orders", "size_bytes": 4}')
         + b"abcd", ARROW_TYPE),
    Case("no cutoff", "422 missing_cutoff", lambda: asked(cutoff=None)),
    Case("a cutoff that is no moment", "422 bad_cutoff", lambda: asked(cutoff="tomorrow")),
    Case("a cutoff out of all bounds", "422 bad_cutoff",
         lambda: asked(cutoff="9999-12-31T23:59:59+00:00")),
    Case("a cutoff that is a number", "422 bad_cutoff",
         lambda: json.dumps({"tables": {}, "cutoff": 5}).encode()),
    Case("entities to look up, without --project", "400 no_lookup",
         lambda: b'{"entities": [1], "cutoff": "2020-06-01"}'),
    Case("a body larger than --max-body-mb", "413 body_too_large", lambda: b" " * (40 * 2**20)),
)  # fmt: skip
