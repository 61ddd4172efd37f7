"""JSON that a stranger may have written: its size, depth and number of values are bounded."""

import json
import re
from itertools import accumulate
from typing import Any

from pydantic import ValidationError

from nexus_model.artifact.limits import DEEPEST_JSON, LARGEST_JSON, MOST_JSON_VALUES
from nexus_model.schema import ArtifactError

# A string that is never closed ends with the text, so that no place is looked at twice.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_NO_BRACKET = re.compile(rb"[^\[\]{}]+")
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_LONGEST_TOLD = 200


def parse_json(content: bytes, where: str) -> Any:
    """Parse UTF-8 JSON.

    Raises:
        ArtifactError: not JSON, too large, nested too deep, or a key given twice.

    >>> parse_json(b'{"a": [1, 2]}', "here")
    {'a': [1, 2]}
    """
    if refusal := json_refusal(content):
        raise ArtifactError(f"{where}: {refusal}")
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=_refuse_repeats)
    except RecursionError as error:
        raise ArtifactError(f"{where}: JSON is nested too deep") from error
    except ValueError as error:
        raise ArtifactError(f"{where}: not valid JSON: {told(str(error))}") from error


def json_refusal(content: bytes) -> str | None:
    """Why this text is not even parsed; None if it is.

    >>> json_refusal(b"[" * 200)
    'JSON is nested too deep: 200 levels, allowed are 100'
    """
    if len(content) > LARGEST_JSON:
        return f"JSON of {len(content)} bytes, allowed are {LARGEST_JSON}"
    opened = content.count(b"[") + content.count(b"{")
    if (values := opened + content.count(b",")) > MOST_JSON_VALUES:
        return f"JSON of about {values} values, allowed are {MOST_JSON_VALUES}"
    if opened > DEEPEST_JSON and (depth := json_depth(content)) > DEEPEST_JSON:
        return f"JSON is nested too deep: {depth} levels, allowed are {DEEPEST_JSON}"
    return None


def json_depth(content: bytes) -> int:
    """How many brackets are open at once at most, outside strings; in one pass, whatever it is.

    >>> json_depth(b'[{"[[": [1]}]'), json_depth(b'["[[')
    (3, 1)
    """
    brackets = _NO_BRACKET.sub(b"", _STRING.sub(b"", content))
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0)


def _refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def told(text: str) -> str:
    """A stranger's text as a line of ours: printable ASCII, not too long.

    >>> told("a\\ud800\\nb")
    'a\\\\ud800\\\\nb'
    """
    shown = text.encode("unicode_escape", "backslashreplace").decode("ascii")
    return shown if len(shown) <= _LONGEST_TOLD else shown[:_LONGEST_TOLD] + "..."


def first_problem(error: ValidationError) -> str:
    """The first thing a record does not allow, in one line."""
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    return told(f"{place}: {problem['msg']}")
