"""The HTTP interface of one model: predict, explain, health, ready, metrics, model."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.telemetry import TelemetryConfig
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from nexus_model.schema import NexusError
from nexus_pipeline.serving.answering import asked, check_explained, predictions_body
from nexus_pipeline.serving.engine import Engine
from nexus_pipeline.serving.guard import Guard
from nexus_pipeline.serving.input_schema import input_schema, openapi
from nexus_pipeline.serving.live_model import LiveModel
from nexus_pipeline.serving.lookup import Lookup
from nexus_pipeline.serving.metrics import CONTENT_TYPE, ServingMetrics
from nexus_pipeline.serving.problems import Code, ErrorBody, ProblemError, problem_of
from nexus_pipeline.serving.settings import ServeSettings
from nexus_pipeline.serving.wire import JSON_TYPE

LOG = logging.getLogger("nexusflow.serve")
# Bodies larger than this are parsed beside the loop that serves everybody.
_LARGE = 64 * 2**10
# FastAPI would report requests and stack traces to whatever OpenTelemetry the process has.
NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}


class Service:
    """What a request is answered with."""

    def __init__(
        self, live: LiveModel, settings: ServeSettings, lookup: Lookup | None = None
    ) -> None:
        self.live, self.settings, self.lookup = live, settings, lookup
        self.metrics = ServingMetrics(live.current.predictor)
        self.engine = Engine(settings, self.metrics)
        self._told = ("", "")

    def tell_model(self) -> None:
        """Bring what metrics say of the model up to date."""
        current, refused = self.live.state
        told = (current.sha256, "" if refused is None else refused.version)
        if told == self._told:
            return
        if current.sha256 != self._told[0]:
            self.metrics.serves(current.artifact.recipe.task.name, current.version, current.sha256)
            self.metrics.loads.labels("loaded").inc()
        if refused is not None:
            self.metrics.refused.set(1)
            self.metrics.loads.labels("refused").inc()
        self._told = told

    async def answer(self, request: Request, *, explain: bool) -> Response:
        """The answer to a predict or an explain."""
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                return await self._answer(request, explain=explain)
        except TimeoutError as error:
            told = f"not answered within {self.settings.timeout_s:g} s"
            raise ProblemError("too_slow", told) from error

    async def _answer(self, request: Request, *, explain: bool) -> Response:
        model = self.live.current
        body = await read_body(request, self.settings.max_body_bytes)
        kind = request.headers.get("content-type", "")
        given = (body, kind, model, self.settings, self.lookup)
        if len(body) > _LARGE or self.lookup is not None:
            ready = await run_in_threadpool(asked, *given)
        else:
            ready = asked(*given)
        if explain:
            check_explained(ready.question, model.artifact.recipe)
        future = self.engine.submit(model, ready.question, explain=explain)
        answer = await asyncio.wrap_future(future)
        found = predictions_body(answer, ready.flags, model, ready.question)
        self._observe(found)
        return told_json({**found, "request_id": request.state.request_id})

    def _observe(self, found: dict[str, Any]) -> None:
        for flag in found["flags"]:
            self.metrics.flags.labels(flag.partition(":")[0]).inc()
        for row in found["predictions"]:
            if isinstance(row["prediction"], float):
                self.metrics.predictions.observe(row["prediction"])
            for flag in row["flags"]:
                self.metrics.flags.labels(flag.partition(":")[0]).inc()


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body, if it is not larger than allowed.

    Raises:
        ProblemError: it is.
    """
    told = ProblemError("body_too_large", f"a body may have {limit} bytes")
    stated = request.headers.get("content-length", "0")
    if stated.isdigit() and int(stated) > limit:
        raise told
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise told
        parts.append(part)
    return b"".join(parts)


def told_json(content: Any, status: int = 200) -> Response:
    """A JSON response; numbers that are not finite have no place in it."""
    return Response(json.dumps(content, allow_nan=False), status, media_type=JSON_TYPE)


def create_app(service: Service, token: str | None = None) -> FastAPI:
    """The application; its lifespan starts the model's thread and the watch for new models."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.engine.start()
        service.live.start()
        service.tell_model()
        yield
        await run_in_threadpool(service.engine.stop)
        service.live.stop()

    app = FastAPI(
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        telemetry=NO_TELEMETRY,
    )
    app.state.service = service
    app.add_middleware(Guard, token=token, metrics=service.metrics)
    _answer_errors(app, service)
    _add_asking(app, service)
    _add_telling(app, service, has_token=token is not None)
    return app


def _add_asking(app: FastAPI, service: Service) -> None:
    @app.post("/predict")
    async def predict(request: Request) -> Response:
        return await service.answer(request, explain=False)

    @app.post("/explain")
    async def explain(request: Request) -> Response:
        return await service.answer(request, explain=True)


def _add_telling(app: FastAPI, service: Service, *, has_token: bool) -> None:
    live = service.live

    @app.get("/health")
    async def health() -> Response:
        return told_json({"status": "alive"})

    @app.get("/ready")
    async def ready() -> Response:
        if not service.engine.lives:
            raise ProblemError("not_ready", "the model does not run")
        current, refused = live.state
        return told_json(
            {
                "status": "ready",
                "model": {"version": current.version, "sha256": current.sha256},
                "refused": None if refused is None else refused.model_dump(),
            }
        )

    @app.get("/metrics")
    async def metrics() -> Response:
        service.tell_model()
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/model")
    async def model() -> Response:
        return told_json(model_page(service))

    @app.get("/openapi.json")
    async def page() -> Response:
        return told_json(openapi(live.current.artifact, has_token=has_token))


def model_page(service: Service) -> dict[str, Any]:
    """What the model is, what was measured of it, where it came from and what it reads."""
    current = service.live.current
    artifact = current.artifact
    return {
        "version": current.version,
        "sha256": current.sha256,
        "task": artifact.recipe.task.model_dump(mode="json"),
        "manifest": current.manifest,
        "key": list(artifact.recipe.entity.primary_key),
        "metrics": artifact.metrics,
        "lineage": artifact.lineage,
        "optimization": artifact.optimization,
        "parameters": sum(p.numel() for p in current.predictor.model.parameters()),
        "answers_together": {
            "yes": current.predictor.staged.takes_several and not current.predictor.reads_cohorts,
            "why_not": "cohort attention"
            if current.predictor.reads_cohorts
            else current.predictor.staged.refusal or None,
        },
        "lookup": None if service.lookup is None else service.lookup.kept.told(),
        "input_schema": input_schema(artifact.recipe),
    }


def _answer_errors(app: FastAPI, service: Service) -> None:
    def told(request: Request, problem: ProblemError) -> Response:
        service.metrics.errors.labels(problem.error.code).inc()
        number = getattr(request.state, "request_id", "")
        body = ErrorBody(error=problem.error, request_id=number)
        found = told_json(body.model_dump(), problem.status)
        found.headers["x-request-id"] = number
        return found

    @app.exception_handler(NexusError)
    async def known(request: Request, error: NexusError) -> Response:
        return told(request, problem_of(error))

    @app.exception_handler(ClientDisconnect)
    async def gone(_request: Request, _error: ClientDisconnect) -> Response:
        return Response(status_code=400)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        codes: dict[int, Code] = {404: "not_found", 405: "method_not_allowed"}
        code = codes.get(error.status_code, "malformed_request")
        return told(request, ProblemError(code, f"{request.method} {request.url.path[:100]}"))

    @app.exception_handler(Exception)
    async def unknown(request: Request, error: Exception) -> Response:
        LOG.error("request %s failed: %s", request.state.request_id, type(error).__name__)
        return told(request, ProblemError("internal", "the server failed; its log says why"))
