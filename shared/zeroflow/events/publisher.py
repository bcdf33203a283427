"""Sending events to the broker.

A publisher answers only after the broker accepted the event durably (202). It does not retry for long: what could not
be sent stays in the outbox, and the sweep sends it.
"""

from typing import Protocol

import urllib3
from cloudevents.core.base import BaseCloudEvent

from zeroflow.errors import Unavailable
from zeroflow.events.http import to_message

TIMEOUT = urllib3.Timeout(connect=2.0, read=10.0)
RETRIES = urllib3.Retry(total=2, backoff_factor=0.05, status_forcelist=(502, 503, 504), allowed_methods=None)
CONNECTIONS = 8
"""Connections that are kept to the sink; a function's threads share them."""


class Publisher(Protocol):
    """Where events go. Safe to use from several threads."""

    def publish(self, event: BaseCloudEvent) -> None:
        """Return once the event is accepted durably; raise Unavailable otherwise."""


class SinkPublisher:
    """Publishes to the URL in K_SINK, with the platform's token."""

    def __init__(self, sink: str, token: str | None) -> None:
        self._sink = sink
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._pool = urllib3.PoolManager(maxsize=CONNECTIONS, timeout=TIMEOUT, retries=RETRIES)

    def publish(self, event: BaseCloudEvent) -> None:
        """POST the event in binary mode."""
        message = to_message(event)
        try:
            answer = self._pool.request(
                "POST", self._sink, body=message.body, headers={**message.headers, **self._headers}
            )
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"the broker at {self._sink} does not answer: {error}") from error
        if answer.status // 100 != 2:
            detail = answer.data[:200].decode("utf-8", "replace")
            raise Unavailable(f"the broker at {self._sink} answered {answer.status} to {event.get_type()}: {detail}")


class NoSink:
    """A publisher without a broker: everything stays in the outbox."""

    def publish(self, event: BaseCloudEvent) -> None:
        """Refuse."""
        raise Unavailable(f"no broker to publish {event.get_type()} to: K_SINK is not set")
