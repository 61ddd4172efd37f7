"""Bad input has the outcome the documentation promises, and never a 500."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_artifact import CUTOFF, frames, predictor

from nexus_model.schema import NexusError
from nexus_pipeline.serving.json_text import parse_json
from nexus_pipeline.serving.problems import ProblemError
from tests.serving.bad_input import CASES, arrow, asked

pytestmark = pytest.mark.filterwarnings("ignore")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "serving.md"
BY_NAME = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@BY_NAME
def test_the_api_answers_bad_input_as_documented(served, case):
    status, found = served.post(case.body(), kind=case.kind)
    kind, _, told = case.outcome.partition(" ")
    assert status == int(kind), found
    if status == 200:
        flags = [*found["flags"], *(flag for row in found["predictions"] for flag in row["flags"])]
        assert told.removeprefix("flag ") in flags
    else:
        assert found["error"]["code"] == told
        assert set(found["error"]) == {"code", "message", "table", "column", "rows", "example"}
        assert found["request_id"]
        assert "Traceback" not in json.dumps(found)


def test_every_row_of_the_documented_table_is_tested_and_tells_the_outcome():
    section = PAGE.read_text("utf-8").partition("## Bad input")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| `(.+?)` \|", section, flags=re.MULTILINE)
    assert dict(rows) == {case.name: case.outcome for case in CASES}


def test_where_the_problem_is_is_told(served):
    status, found = served.post(next(c for c in CASES if c.name.startswith("a value of")).body())
    error = found["error"]
    assert (status, error["table"], error["column"], error["rows"]) == (
        422, "tickets", "opened_at", 1,
    )  # fmt: skip
    assert error["example"] == "soon"


LIBRARY = {
    "a column is missing": lambda: {
        "orders": frames()["orders"].drop_columns(["total"]), "customers": frames()["customers"]
    },
    "the entity's table is missing": lambda: {"orders": frames()["orders"]},
    "a table the model does not know": lambda: frames(shoes=frames()["orders"]),
    "a key twice in a referenced table": lambda: frames(
        shops=frames()["shops"].take([0, 0, 1, 2])
    ),
    "a key twice among those asked about": lambda: frames(
        customers=frames()["customers"].take([0, 0])
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LIBRARY)
def test_the_library_refuses_the_same_with_a_typed_error(name):
    with pytest.raises(NexusError):
        predictor().predict(LIBRARY[name](), CUTOFF)


@settings(max_examples=25)
@given(place=st.integers(0, 10**6), put=st.binary(min_size=1, max_size=3))
def test_a_body_with_any_bytes_changed_is_never_a_500(served, place, put):
    for whole, kind in ((asked(), "application/json"),
                        (arrow(frames()), "application/vnd.nexusflow.arrow")):  # fmt: skip
        at = place % len(whole)
        status, found = served.post(whole[:at] + put + whole[at + len(put) :], kind=kind)
        assert status in {200, 400, 413, 422}, found


@given(
    value=st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20),
        st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=3), st.none()),
    ),
    place=st.sampled_from([("customers", "id"), ("customers", "joined_at"), ("orders", "total"),
                           ("orders", "placed_at"), ("orders", "customer_id"), ("tickets", "body"),
                           ("prices", "set_at")]),
)  # fmt: skip
@settings(max_examples=25)
def test_any_value_in_any_column_is_never_a_500(served, value, place):
    content = json.loads(asked())
    table, column = place
    for row in content["tables"][table]:
        row[column] = value
    status, found = served.post(json.dumps(content).encode("utf-8", "surrogatepass"))
    assert status in {200, 400, 422}, found


def test_a_string_that_never_ends_is_read_once():
    """Trying again at each of its quotes would take hours; the whole test may take minutes."""
    body = b'["' + b"[" * 200 + b'", "' + b'\\"' * 500_000
    with pytest.raises(ProblemError) as told:
        parse_json(body, deepest=100)
    assert told.value.error.code == "malformed_json"
