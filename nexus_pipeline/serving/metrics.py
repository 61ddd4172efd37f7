"""What Prometheus is told: latency, errors, predictions, flags, and which model answers."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from nexus_model.serve.predictor import Predictor

LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
TOGETHER = (1, 2, 4, 8, 16, 32, 64, 128)
CONTENT_TYPE = CONTENT_TYPE_LATEST


class ServingMetrics:
    """The counters of one server, in a registry of its own."""

    def __init__(self, predictor: Predictor) -> None:
        self.registry = registry = CollectorRegistry()
        self.seconds = Histogram(
            "nexusflow_request_seconds", "Seconds from request to answer", ["path", "status"],
            buckets=LATENCY_S, registry=registry,
        )  # fmt: skip
        self.errors = Counter(
            "nexusflow_errors", "Requests answered with an error", ["code"], registry=registry
        )
        self.in_flight = Gauge(
            "nexusflow_requests_in_flight", "Requests not answered yet", registry=registry
        )
        self.together = Histogram(
            "nexusflow_requests_together", "Requests answered in one pass of the model",
            buckets=TOGETHER, registry=registry,
        )  # fmt: skip
        self.predictions = Histogram(
            "nexusflow_prediction", "Predictions: label units, or a probability",
            buckets=prediction_buckets(predictor), registry=registry,
        )  # fmt: skip
        self.flags = Counter(
            "nexusflow_prediction_flags", "Flags given to predictions", ["kind"], registry=registry
        )
        self.model = Gauge(
            "nexusflow_model_info", "1 for the model that answers",
            ["task", "version", "sha256"], registry=registry,
        )  # fmt: skip
        self.loads = Counter(
            "nexusflow_model_loads", "Models loaded while serving", ["outcome"], registry=registry
        )
        self.refused = Gauge(
            "nexusflow_model_refused", "1 while a newer model was found and could not be loaded",
            registry=registry,
        )  # fmt: skip

    def serves(self, task: str, version: str, sha256: str) -> None:
        """Say which model answers from now on."""
        self.model.clear()
        self.model.labels(task, version, sha256).set(1)
        self.refused.set(0)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)


def prediction_buckets(predictor: Predictor) -> tuple[float, ...]:
    """Twentieths of a probability; for numbers, steps of half a deviation of the labels."""
    if not predictor.artifact.recipe.task.kind.is_number:
        return tuple(step / 20 for step in range(1, 21))
    scale = predictor.artifact.tokenizer.label
    return tuple(scale.center + scale.spread * step / 2 for step in range(-8, 9))
