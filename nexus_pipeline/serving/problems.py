"""What goes wrong in a request, as one typed body: a code, a sentence, where, and one example."""

from typing import Any, Literal

from nexus_model.schema import ConfigurationError, DataError, NexusError, Record

Code = Literal[
    "unauthorized", "not_found", "method_not_allowed", "body_too_large", "unsupported_media_type",
    "malformed_json", "too_deep", "invalid_utf8", "malformed_arrow", "malformed_request",
    "missing_table", "unknown_table", "missing_column", "wrong_type", "null_key", "duplicate_key",
    "unknown_entity", "too_many_rows", "text_too_long", "missing_cutoff", "bad_cutoff",
    "unexpected_cutoff", "bad_data", "no_lookup", "too_slow", "busy", "not_ready", "internal",
]  # fmt: skip

STATUS: dict[str, int] = {
    "unauthorized": 401, "not_found": 404, "method_not_allowed": 405, "body_too_large": 413,
    "unsupported_media_type": 415, "malformed_json": 400, "too_deep": 400, "invalid_utf8": 400,
    "malformed_arrow": 400, "malformed_request": 400, "too_slow": 504, "busy": 503,
    "not_ready": 503, "no_lookup": 400, "internal": 500,
}  # fmt: skip
UNPROCESSABLE = 422
LONGEST_EXAMPLE = 100


class Error(Record):
    """One problem; ``example`` is a value it was found in, shortened."""

    code: Code
    message: str
    table: str | None = None
    column: str | None = None
    rows: int | None = None
    example: str | None = None


class ErrorBody(Record):
    """The body of every answer that is not 200."""

    error: Error
    request_id: str


class ProblemError(NexusError):
    """A request that is answered with an error."""

    def __init__(self, code: Code, message: str, **where: Any) -> None:
        super().__init__(message)
        example = where.pop("example", None)
        shown = None if example is None else str(example)[:LONGEST_EXAMPLE]
        shown = shown and shown.encode("utf-8", "replace").decode()
        self.error = Error(code=code, message=message, example=shown, **where)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS.get(self.error.code, UNPROCESSABLE)


# What the library says, by how its sentence begins.
_DATA: tuple[tuple[str, Code], ...] = (
    ("column is missing", "missing_column"),
    ("unknown table", "unknown_table"),
    ("one table is given twice", "malformed_request"),
    ("the table of those asked about is missing", "missing_table"),
    ("values do not cast", "wrong_type"),
    ("moments are outside the years", "wrong_type"),
    ("a column holds values of several types", "wrong_type"),
    ("key is not unique", "duplicate_key"),
    ("is asked about and has no row", "unknown_entity"),
    ("entity has no row in the aligned table", "unknown_entity"),
    ("a key has", "malformed_request"),
    ("keys must be", "unknown_entity"),
    ("predict needs cutoff", "missing_cutoff"),
)
_CONFIGURATION: tuple[tuple[str, Code], ...] = (
    ("cutoff must be ISO 8601", "bad_cutoff"),
    ("has no cutoffs", "unexpected_cutoff"),
)


def problem_of(error: NexusError) -> ProblemError:
    """What a client is told of an error of the library."""
    match error:
        case ProblemError():
            return error
        case DataError():
            code: Code = next(
                (code for start, code in _DATA if error.problem.startswith(start)), "bad_data"
            )
            return ProblemError(
                code,
                error.problem,
                table=error.table,
                column=error.column,
                rows=error.rows,
                example=error.example,
            )
        case ConfigurationError():
            told = str(error)
            known = (code for part, code in _CONFIGURATION if part in told)
            code = next(known, "bad_data")
            # What a SQL model says of its rows may quote the model.
            return ProblemError(code, told if code != "bad_data" else "the rows cannot be aligned")
        case _:
            return ProblemError("bad_data", "the rows cannot be read")
