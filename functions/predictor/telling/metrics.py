"""How long requests take, as Prometheus histograms with KServe's names: request_<phase>_seconds{model_name}.

Beside them: `request_failures_total{model_name,code}`, and `payload_events{result}` where payloads are logged.
Guarantees: a predictor without prometheus_client serves as before, and /metrics says what is missing. A registry of
each application's own; nothing about the process itself is exported, which a scraper knows already.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import accumulate
from threading import Lock
from typing import Any

from zeroflow.functions.predictor.errors import NotImplementedHere
from zeroflow.functions.predictor.telling.payloads import PayloadLog

PHASES = ("preprocess", "predict", "postprocess", "explain")

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""prometheus_client's own, which KServe's servers have. Its histograms cost three times as much for each request."""

Record = Callable[[float, float, float, float], None]


class Phases:
    """Latencies of one model by phase: cumulative counts are made when they are asked for, not with each request."""

    def __init__(self) -> None:
        self.counts = [[0] * (len(BOUNDS_S) + 1) for _ in PHASES]
        self.sums = [0.0] * len(PHASES)
        self._lock = Lock()

    def record(self, begun: float, read: float, asked: float, written: float) -> None:
        """Count one answered prediction, given its moments in seconds of one clock."""
        preprocess, predict, postprocess = read - begun, asked - read, written - asked
        counts, sums = self.counts, self.sums
        with self._lock:
            counts[0][bisect_left(BOUNDS_S, preprocess)] += 1
            counts[1][bisect_left(BOUNDS_S, predict)] += 1
            counts[2][bisect_left(BOUNDS_S, postprocess)] += 1
            sums[0] += preprocess
            sums[1] += predict
            sums[2] += postprocess

    def buckets(self, phase: int) -> list[tuple[str, float]]:
        """Return upper bounds and how many were at most that."""
        with self._lock:
            bounds = [*(str(bound) for bound in BOUNDS_S), "+Inf"]
            return list(zip(bounds, map(float, accumulate(self.counts[phase])), strict=True))


class Metrics:
    """The histograms and counters of one predictor; prometheus_client is imported when somebody reads them."""

    def __init__(self) -> None:
        self._phases: dict[str, Phases] = {}
        self._failures: Counter[tuple[str, str]] = Counter()
        self._lock = Lock()
        self._log: PayloadLog | None = None

    def recorder(self, model_name: str) -> Record:
        """Return what records one answered prediction of a model, given its moments in seconds of one clock."""
        return self._phases.setdefault(model_name, Phases()).record

    def failed(self, model_name: str, status: int) -> None:
        """Count a refused or failed request."""
        with self._lock:
            self._failures[model_name, str(status)] += 1

    def watch(self, log: PayloadLog) -> None:
        """Export what becomes of payload events."""
        self._log = log

    def collect(self) -> Iterator[Any]:
        """Yield what there is, for prometheus_client."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        for at, phase in enumerate(PHASES):
            family = HistogramMetricFamily(
                f"request_{phase}_seconds", f"{phase} request latency", labels=["model_name"]
            )
            for name, phases in list(self._phases.items()):
                family.add_metric([name], phases.buckets(at), phases.sums[at])
            yield family
        failures = CounterMetricFamily(
            "request_failures", "requests answered 4xx or 5xx", labels=["model_name", "code"]
        )
        with self._lock:
            for labels, count in self._failures.items():
                failures.add_metric(labels, count)
        yield failures
        if self._log is not None:
            payloads = GaugeMetricFamily("payload_events", "payload events so far, by result", labels=["result"])
            for result in ("sent", "failed", "dropped"):
                payloads.add_metric([result], getattr(self._log, result))
            yield payloads

    def exposition(self) -> tuple[bytes, str]:
        """Return the text of /metrics and its content type."""
        try:
            from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
        except ImportError:
            raise NotImplementedHere("/metrics needs prometheus_client, which is not installed") from None
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry), CONTENT_TYPE_LATEST
