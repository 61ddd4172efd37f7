"""A typed client; needs Arrow alone.

>>> client = NexusClient("http://127.0.0.1:8000")
>>> client.url
'http://127.0.0.1:8000'
"""

import datetime as dt
import http.client
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from nexus_model.schema import NexusError
from nexus_pipeline.serving.problems import Error, ErrorBody
from nexus_pipeline.serving.wire import ARROW_TYPE, JSON_TYPE, arrow_body

Moment = dt.datetime | dt.date | str | None


class ServerRefusedError(NexusError):
    """The server answered with an error: ``error`` says what, and ``request_id`` to whom."""

    def __init__(self, status: int, body: ErrorBody) -> None:
        self.status, self.error, self.request_id = status, body.error, body.request_id
        found: Error = body.error
        place = found.table if found.column is None else f"{found.table}.{found.column}"
        where = "" if found.table is None else f"{place}: "
        super().__init__(f"{found.code}: {where}{found.message} (request {body.request_id})")


class ServerUnreachableError(NexusError):
    """Nobody answered, or the connection broke, however often it was tried."""


class NexusClient:
    """Asks one server. Only broken connections are tried again, and predictions change nothing."""

    def __init__(
        self, url: str, token: str | None = None, *, timeout_s: float = 30.0, tries: int = 3
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"url must be http://HOST:PORT or https://HOST:PORT, got {url!r}")
        self.url, self.timeout_s, self.tries = url, timeout_s, tries
        self._parts, self._token = parts, token

    def predict(
        self, frames: Mapping[str, Any], cutoff: Moment = None, as_of: Moment = None
    ) -> pa.Table:
        """Predictions for every row of the entity table, in its order.

        ``frames`` maps table names to pandas, polars or Arrow frames. The table has the keys,
        ``prediction``, further outputs by name, and ``flags``.

        Raises:
            ServerRefusedError: the server answered with an error.
            ServerUnreachableError: no answer came.
        """
        return as_table(self._ask("/predict", frames, cutoff, as_of))

    def lookup(self, entities: Sequence[Any], cutoff: Moment = None) -> pa.Table:
        """Predictions for keys whose rows the server reads itself; errors as ``predict``."""
        asked = {"entities": list(entities), **_moments(cutoff, None)}
        return as_table(self._post("/predict", json.dumps(asked).encode(), JSON_TYPE))

    def explain(
        self, frames: Mapping[str, Any], cutoff: Moment = None, as_of: Moment = None
    ) -> list[dict[str, Any]]:
        """One explanation per row of the entity table; errors as ``predict``."""
        found: list[dict[str, Any]] = self._ask("/explain", frames, cutoff, as_of)["predictions"]
        return found

    def model(self) -> dict[str, Any]:
        """What the server says of its model; errors as ``predict``."""
        return self._send("GET", "/model", None, {})

    def ready(self) -> dict[str, Any]:
        """Which model answers, and whether another was refused; errors as ``predict``."""
        return self._send("GET", "/ready", None, {})

    def _ask(
        self, path: str, frames: Mapping[str, Any], cutoff: Moment, as_of: Moment
    ) -> dict[str, Any]:
        tables = {name: pa.table(frame) for name, frame in frames.items()}
        return self._post(path, arrow_body(tables, _moments(cutoff, as_of)), ARROW_TYPE)

    def _post(self, path: str, body: bytes, kind: str) -> dict[str, Any]:
        return self._send("POST", path, body, {"Content-Type": kind})

    def _send(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> dict[str, Any]:
        if self._token is not None:
            headers = headers | {"Authorization": f"Bearer {self._token}"}
        problem: OSError | http.client.HTTPException | None = None
        for attempt in range(self.tries):
            if attempt:
                time.sleep(0.1 * 2**attempt)
            try:
                status, text = self._once(method, path, body, headers)
            except TimeoutError as error:
                told = f"{self.url} did not answer within {self.timeout_s:g} s"
                raise ServerUnreachableError(told) from error
            except (OSError, http.client.HTTPException) as error:
                problem = error
                continue
            return _read(status, text)
        raise ServerUnreachableError(
            f"{self.url} cannot be reached, tried {self.tries} times: {problem}"
        ) from problem

    def _once(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        secure = self._parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(str(self._parts.hostname), self._parts.port, timeout=self.timeout_s)
        try:
            connection.request(method, self._parts.path.rstrip("/") + path, body, headers)
            found = connection.getresponse()
            return found.status, found.read()
        finally:
            connection.close()


def _moments(cutoff: Moment, as_of: Moment) -> dict[str, str]:
    named = {"cutoff": cutoff, "as_of": as_of}
    return {
        name: moment if isinstance(moment, str) else moment.isoformat()
        for name, moment in named.items()
        if moment is not None
    }


def _read(status: int, text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
        if status == http.HTTPStatus.OK:
            return dict(found)
        body = ErrorBody.model_validate(found)
    except ValueError as error:
        told = f"the answer ({status}) is not a NexusFlow server's"
        raise ServerUnreachableError(told) from error
    raise ServerRefusedError(status, body)


def as_table(answer: Mapping[str, Any]) -> pa.Table:
    """The predictions of an answer as a table: keys, prediction, further outputs, flags."""
    rows = [
        {**row["key"], "prediction": row["prediction"], **row.get("outputs", {}),
         "flags": [*answer["flags"], *row["flags"]]}
        for row in answer["predictions"]
    ]  # fmt: skip
    return pa.Table.from_pylist(rows)
