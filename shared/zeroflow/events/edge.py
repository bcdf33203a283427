"""The way in for events: `POST /`, before Flask.

What Flask does for any request - contexts, routes, a session, a response that may be anything - takes longer than many
a handler does for an event, and a step is two events. So this WSGI application answers `POST /` itself and hands every
other request on. Sources: PEP 3333; Knative Eventing's data plane contract 1.0 (`Prefer: reply`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wsgi import get_input_stream

from zeroflow.errors import InvalidInput, unexpected
from zeroflow.events.http import from_request

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from cloudevents.core.base import BaseCloudEvent

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Incoming:
    """A request that carries an event."""

    headers: Mapping[str, str]
    """By their names in lower case."""
    body: bytes

    @classmethod
    def of(cls, environ: WSGIEnvironment, max_bytes: int | None) -> Incoming:
        """Read a request; raise InvalidInput for a body that is cut short, RequestEntityTooLarge for one too long."""
        headers = {
            name[5:].replace("_", "-").lower(): str(value) for name, value in environ.items() if name[:5] == "HTTP_"
        }
        if said := environ.get("CONTENT_TYPE"):
            headers["content-type"] = said
        length = environ.get("CONTENT_LENGTH") or ""
        body = get_input_stream(environ, max_content_length=max_bytes).read()
        if length.isdecimal() and len(body) != int(length):
            raise InvalidInput(f"the body ended after {len(body)} of {length} bytes")
        return cls(headers, body)

    @property
    def wants_reply(self) -> bool:
        """Whether the sender takes an event as the answer."""
        return "reply" in self.headers.get("prefer", "")

    def event(self) -> BaseCloudEvent:
        """Return the event; raise InvalidInput when there is none."""
        return from_request(self.headers, self.body)


@dataclass(frozen=True)
class Answer:
    """What is answered."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def saying(cls, text: str, status: int) -> Answer:
        """Answer with a line of text."""
        return cls(status, f"{text}\n".encode(), {"content-type": "text/plain; charset=utf-8"})


class EventEdge:
    """Answers `POST /` by `on_event`, everything else by the application behind."""

    def __init__(
        self, behind: WSGIApplication, on_event: Callable[[Incoming], Answer], max_bytes: Callable[[], int | None]
    ) -> None:
        self._behind, self._on_event, self._max_bytes = behind, on_event, max_bytes

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        if environ["PATH_INFO"] != "/" or environ["REQUEST_METHOD"] != "POST":
            return self._behind(environ, start_response)
        answer = self._answer(environ)
        headers = [*answer.headers.items(), ("content-length", str(len(answer.body)))]
        start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", headers if answer.status != 204 else [])
        return [answer.body]

    def _answer(self, environ: WSGIEnvironment) -> Answer:
        try:
            return self._on_event(Incoming.of(environ, limit := self._max_bytes()))
        except InvalidInput as error:
            return Answer.saying(str(error), 400)
        except RequestEntityTooLarge:
            return Answer.saying(f"the body is larger than the {limit} bytes that this function takes", 413)
        except Exception as error:  # nobody expected it: the client learns nothing of the inside
            logger.error("POST / failed", exc_info=error)
            return Answer.saying(unexpected(error), 500)
