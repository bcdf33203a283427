"""Metrics that a trial serves in Prometheus' text format.

Scraped once a second while it runs; a value counts when it differs from the one before, so that a gauge that is set
once an epoch is a series of epochs. Source: Prometheus text exposition format 0.0.4.
"""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from zeroflow.functions.trial.collector.lines import pair

SAMPLE = re.compile(r"([A-Za-z_:][A-Za-z0-9_:]*)(\{.*\})?\s+(\S+)(\s+-?\d+)?\s*")
TIMEOUT_S = 2.0
SIZE_LIMIT = 8 << 20


@dataclass
class Scrape:
    """Reads `http://127.0.0.1:<port><path>`."""

    port: int
    path: str
    metrics: Sequence[str]
    _last: dict[str, str] = field(default_factory=dict)

    def new(self) -> Iterator[str]:
        """Yield a line `TIME NAME=VALUE` for each metric that has changed; nothing while the trial does not serve."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", self.path)
            answer = connection.getresponse()
            text = answer.read(SIZE_LIMIT).decode("utf-8", "replace") if answer.status == 200 else ""
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()
        for name, value in samples(text):
            if name in self.metrics and self._last.get(name) != value:
                self._last[name] = value
                yield pair(name, float(value), time.time())


def samples(text: str) -> Iterator[tuple[str, str]]:
    """Yield (name, value) of each sample whose value is a number."""
    for line in text.splitlines():
        match = SAMPLE.fullmatch(line)
        if match is None:
            continue
        try:
            float(match[3])
        except ValueError:
            continue
        yield match[1], match[3]
