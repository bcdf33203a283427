"""How long requests take, as Prometheus histograms with KServe's names: request_<phase>_seconds{model_name}.

Beside them: `request_failures_total{model_name,code}`, and `payload_events{result}` where payloads are logged.
Guarantees: a predictor without prometheus_client serves as before, and /metrics says what is missing. A registry of
each application's own; nothing about the process itself is exported, which a scraper knows already.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from zeroflow.functions.predictor.errors import NotImplementedHere
from zeroflow.functions.predictor.payloads import PayloadLog

PHASES = ("preprocess", "predict", "postprocess", "explain")

Record = Callable[[float, float, float, float], None]


class Metrics:
    """The histograms and counters of one predictor."""

    def __init__(self) -> None:
        self._registry: Any = None
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        except ImportError:
            return
        self._registry, self._gauge = CollectorRegistry(), Gauge
        self._histograms = [
            Histogram(f"request_{phase}_seconds", f"{phase} request latency", ["model_name"], registry=self._registry)
            for phase in PHASES
        ]
        self._failures = Counter(
            "request_failures", "requests answered 4xx or 5xx", ["model_name", "code"], registry=self._registry
        )

    def recorder(self, model_name: str) -> Record:
        """Return what records one answered prediction of a model, given its moments in seconds of one clock."""
        if self._registry is None:
            return lambda begun, read, asked, written: None
        preprocess, predict, postprocess, _ = (each.labels(model_name).observe for each in self._histograms)

        def record(begun: float, read: float, asked: float, written: float) -> None:
            preprocess(read - begun)
            predict(asked - read)
            postprocess(written - asked)

        return record

    def failed(self, model_name: str, status: int) -> None:
        """Count a refused or failed request."""
        if self._registry is not None:
            self._failures.labels(model_name, str(status)).inc()

    def watch(self, log: PayloadLog) -> None:
        """Export what becomes of payload events."""
        if self._registry is None:
            return
        gauge = self._gauge("payload_events", "payload events so far, by result", ["result"], registry=self._registry)
        for result in ("sent", "failed", "dropped"):
            gauge.labels(result).set_function(partial(getattr, log, result))

    def exposition(self) -> tuple[bytes, str]:
        """Return the text of /metrics and its content type."""
        if self._registry is None:
            raise NotImplementedHere("/metrics needs prometheus_client, which is not installed")
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self._registry), CONTENT_TYPE_LATEST
