"""Around every request: a number, a token, a measured time, one line in the log."""

import json
import logging
import re
import secrets
import time
import uuid
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nexus_pipeline.serving.metrics import ServingMetrics
from nexus_pipeline.serving.problems import ErrorBody, ProblemError

LOG = logging.getLogger("nexusflow.serve")
OPEN = frozenset({"/health", "/ready"})
PATHS = OPEN | {"/predict", "/explain", "/metrics", "/model", "/openapi.json"}
_NUMBER = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Guard:
    """An ASGI middleware."""

    def __init__(self, app: ASGIApp, token: str | None, metrics: ServingMetrics) -> None:
        self.app, self.metrics = app, metrics
        self._expected = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request, started = Request(scope), time.perf_counter()
        number = request_number(request.headers.get("x-request-id"))
        request.state.request_id = number
        status = {"code": 500}

        async def send_numbered(message: Message) -> None:
            if message["type"] == "http.response.start":
                status["code"] = message["status"]
                headers = [pair for pair in message["headers"] if pair[0] != b"x-request-id"]
                message["headers"] = [*headers, (b"x-request-id", number.encode())]
            await send(message)

        self.metrics.in_flight.inc()
        try:
            if self._allows(request):
                await self.app(scope, receive, send_numbered)
            else:
                await _refuse(number, send_numbered)
                self.metrics.errors.labels("unauthorized").inc()
        finally:
            self.metrics.in_flight.dec()
            self._note(scope, number, status["code"], time.perf_counter() - started)

    def _allows(self, request: Request) -> bool:
        if self._expected is None or request.url.path in OPEN:
            return True
        given = request.headers.get("authorization", "").encode("utf-8", "replace")
        return secrets.compare_digest(given, self._expected)

    def _note(self, scope: Scope, number: str, status: int, seconds: float) -> None:
        path = scope["path"] if scope["path"] in PATHS else "other"
        self.metrics.seconds.labels(path, str(status)).observe(seconds)
        line: dict[str, Any] = {
            "request_id": number, "method": scope["method"], "path": path,
            "status": status, "ms": round(seconds * 1000, 1),
        }  # fmt: skip
        LOG.info("%s", json.dumps(line))


def request_number(given: str | None) -> str:
    """The client's request id if it is harmless, else one of ours.

    >>> request_number("order-7")
    'order-7'
    """
    return given if given and _NUMBER.fullmatch(given) else uuid.uuid4().hex


async def _refuse(number: str, send: Send) -> None:
    problem = ProblemError("unauthorized", "send the header Authorization: Bearer TOKEN")
    body = ErrorBody(error=problem.error, request_id=number).model_dump_json().encode()
    headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
