"""How long requests take, as Prometheus histograms with KServe's names: request_<phase>_seconds{model_name}.

Guarantees: a predictor without prometheus_client serves as before, and /metrics says what is missing. A registry of
each application's own; nothing about the process itself is exported, which a scraper knows already.
"""

from typing import Any

from zeroflow.functions.predictor.errors import NotImplementedHere

PHASES = ("preprocess", "predict", "postprocess", "explain")


class Metrics:
    """The histograms of one model."""

    def __init__(self, model_name: str) -> None:
        self._registry: Any = None
        self._observe: list[Any] = []
        try:
            from prometheus_client import CollectorRegistry, Histogram
        except ImportError:
            return
        self._registry = CollectorRegistry()
        for phase in PHASES:
            histogram = Histogram(
                f"request_{phase}_seconds", f"{phase} request latency", ["model_name"], registry=self._registry
            )
            self._observe.append(histogram.labels(model_name).observe)

    def record(self, begun: float, read: float, asked: float, written: float) -> None:
        """Record one answered prediction, given its moments in seconds of one clock."""
        if self._observe:
            preprocess, predict, postprocess, _ = self._observe
            preprocess(read - begun)
            predict(asked - read)
            postprocess(written - asked)

    def exposition(self) -> tuple[bytes, str]:
        """Return the text of /metrics and its content type."""
        if self._registry is None:
            raise NotImplementedHere("/metrics needs prometheus_client, which is not installed")
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self._registry), CONTENT_TYPE_LATEST
