"""JSON from strangers: strict, of bounded depth, in UTF-8, without repeated names."""

import json
import re
from typing import Any, NoReturn

from nexus_model.artifact.json_text import json_depth
from nexus_pipeline.serving.problems import ProblemError

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def parse_json(body: bytes, deepest: int) -> Any:
    """The parsed body.

    >>> parse_json(b'{"a": [1]}', deepest=4)
    {'a': [1]}

    Raises:
        ProblemError: not UTF-8, not JSON, nested too deep, NaN or a name that comes twice.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ProblemError(
            "invalid_utf8", f"byte {error.start} of the body is not UTF-8"
        ) from error
    if text.count("[") + text.count("{") > deepest and json_depth(body) > deepest:
        raise ProblemError("too_deep", f"JSON may be nested {deepest} deep")
    try:
        parsed = json.loads(text, object_pairs_hook=_unique, parse_constant=_not_json)
    except ProblemError:
        raise
    except (ValueError, RecursionError) as error:
        raise ProblemError("malformed_json", f"the body is not JSON: {str(error)[:200]}") from error
    if "\\ud" in text or "\\uD" in text:
        _check_surrogates(parsed)
    return parsed


def _check_surrogates(value: Any) -> None:
    """Half a character is no text, and no later step could write it."""
    match value:
        case str():
            if _LONE_SURROGATE.search(value):
                raise ProblemError("invalid_utf8", "a text holds half of a surrogate pair")
        case list():
            for part in value:
                _check_surrogates(part)
        case dict():
            for name, part in value.items():
                _check_surrogates(name)
                _check_surrogates(part)
        case _:
            pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ProblemError("malformed_json", "a name comes twice in one object")
    return found


def _not_json(name: str) -> NoReturn:
    raise ProblemError(
        "malformed_json", f"{name} is not JSON; send null for a value that is missing"
    )
