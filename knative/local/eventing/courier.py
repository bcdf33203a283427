"""One attempt at one delivery: send, judge the answer, write down what follows.

Source: Knative Eventing's broker filter and dispatcher: headers to subscribers, rules for answers, retries,
dead-letter sink with the knativeerror extensions. Unlike there, a delivery that fails for good stays in the log as
failed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from zeroflow.knative.local.eventing.cloudevent import Event, to_http
from zeroflow.knative.local.eventing.delivery import Answer, Judgement, Verdict, error_data, judge, no_answer
from zeroflow.knative.local.eventing.destinations import Target, ToBroker, ToJobSink, ToService, ToUri
from zeroflow.knative.local.eventing.dispatcher import Subscriber
from zeroflow.knative.local.eventing.errors import (
    BrokerNotFound,
    EventExpired,
    EventForbidden,
    InvalidEvent,
    JobSinkNotFound,
    NoAnswer,
)
from zeroflow.knative.local.eventing.log import Attempt, Delivery, EventLog, NewEvent, Outcome, Record
from zeroflow.knative.local.eventing.outside import OutsideClient, Reply, lowered
from zeroflow.knative.local.eventing.schema import Stage, State


class Subscribers(Protocol):
    """Posts to Services of this host: serving's activator. Any exception means that no answer came."""

    async def post(
        self, namespace: str, name: str, path: str, headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> Answer:
        """Post to a Service, waking it when it sleeps, and return its whole answer."""
        ...


class Rooms(Protocol):
    """The receivers inside this process."""

    async def accept(
        self, namespace: str, broker: str, event: Event, ttl: int | None, headers: Mapping[str, str]
    ) -> int:
        """Accept an event of the platform's own hands for a broker."""
        ...

    def admit_reply(self, record: Record, reply: Event, subscriber: Subscriber) -> NewEvent:
        """Prepare a subscriber's reply for its broker; raise what the ingress would refuse it for."""
        ...

    async def run_job(self, namespace: str, name: str, event: Event) -> None:
        """Hand an event to a JobSink."""
        ...


class Courier:
    """Makes attempts; see the module."""

    def __init__(self, log: EventLog, subscribers: Subscribers, outside: OutsideClient, rooms: Rooms) -> None:
        self._log, self._subscribers, self._outside, self._rooms = log, subscribers, outside, rooms

    async def deliver(self, delivery: Delivery, subscriber: Subscriber) -> float | None:
        """Make one attempt and settle it; return when a retry is due."""
        if delivery.record.on_disk:
            data = await self._log.data(delivery.record.seq)
            record = replace(delivery.record, event=replace(delivery.record.event, data=data), on_disk=False)
            delivery = replace(delivery, record=record)
        to_sink = delivery.stage is Stage.DEAD_LETTER_SINK
        destination = subscriber.dead_letter if to_sink else subscriber.destination
        if destination is None:  # the dead-letter sink was taken out of the spec meanwhile
            return await self._settle(
                delivery, subscriber, Attempt("", time.time(), 0.0, None), Judgement(Verdict.REFUSED)
            )
        started, clock = time.time(), time.monotonic()
        try:
            answer = await self._post(destination.target, delivery, subscriber)
            judgement = judge(answer, replies=subscriber.replies and not to_sink)
            status: int | None = answer.status
        except asyncio.CancelledError:
            raise
        except Exception as error:
            judgement, status = no_answer(str(error) or type(error).__name__), None
        attempt = Attempt(destination.uri, started, time.monotonic() - clock, status, judgement.error or None)
        return await self._settle(delivery, subscriber, attempt, judgement)

    async def _post(self, target: Target, delivery: Delivery, subscriber: Subscriber) -> Reply:
        event, policy = delivery.record.event.extended(delivery.error), subscriber.policy
        match target:
            case ToService() | ToUri():
                headers, body = to_http(event, structured=policy.structured)
                headers.update(delivery.record.headers)
                if subscriber.replies:
                    headers["Prefer"] = "reply"
                headers["Kn-Namespace"] = subscriber.namespace
                if isinstance(target, ToUri):
                    return await self._outside.post(target.uri, headers, body, policy.timeout_s)
                try:
                    async with asyncio.timeout(policy.timeout_s):
                        answer = await self._subscribers.post(
                            target.namespace, target.name, target.path, headers, body, policy.timeout_s
                        )
                except TimeoutError as error:
                    raise NoAnswer(f"no answer within {policy.timeout_s:g} s") from error
                return Reply(answer.status, lowered(answer.headers), answer.body)
            case ToBroker():
                return await self._to_broker(target, event, delivery)
            case ToJobSink():
                return await self._to_job_sink(target, event)

    async def _to_broker(self, target: ToBroker, event: Event, delivery: Delivery) -> Reply:
        record = delivery.record
        try:
            ttl = record.ttl if record.broker else None
            await self._rooms.accept(target.namespace, target.name, event, ttl, record.headers)
        except BrokerNotFound as error:
            return _refusal(404, error)
        except (InvalidEvent, EventExpired) as error:
            return _refusal(400, error)
        return Reply(202, {})

    async def _to_job_sink(self, target: ToJobSink, event: Event) -> Reply:
        try:
            await self._rooms.run_job(target.namespace, target.name, event)
        except JobSinkNotFound as error:
            return _refusal(404, error)
        return Reply(202, {})

    async def _settle(
        self, delivery: Delivery, subscriber: Subscriber, attempt: Attempt, judgement: Judgement
    ) -> float | None:
        reply: NewEvent | None = None
        if judgement.reply is not None and delivery.record.broker:
            try:
                reply = self._rooms.admit_reply(delivery.record, judgement.reply, subscriber)
            except (InvalidEvent, EventExpired, EventForbidden) as error:
                code = 403 if isinstance(error, EventForbidden) else 400
                problem = f"replied with an event that the broker refuses: {error}"
                judgement = Judgement(Verdict.REFUSED, None, code, problem, str(error).encode())
                attempt = replace(attempt, error=problem)
        outcome = _outcome(delivery, subscriber, attempt, judgement, reply)
        await self._log.settle(outcome)
        return outcome.due if outcome.state is State.WAITING else None


def _outcome(
    delivery: Delivery, subscriber: Subscriber, attempt: Attempt, judgement: Judgement, reply: NewEvent | None
) -> Outcome:
    now, stage, error = time.time(), delivery.stage, delivery.error
    if judgement.verdict is Verdict.DONE:
        state = State.DONE if stage is Stage.SUBSCRIBER else State.DEAD_LETTERED
        return Outcome(delivery, attempt, state, stage, now, delivery.failures, error, reply)
    failures = delivery.failures + 1
    if judgement.verdict is Verdict.RETRY and failures <= subscriber.policy.retry:
        due = now + subscriber.policy.delay_s(failures)
        return Outcome(delivery, attempt, State.WAITING, stage, due, failures, error)
    if stage is Stage.SUBSCRIBER and subscriber.dead_letter is not None:
        error = {
            "knativeerrordest": attempt.destination,
            "knativeerrorcode": judgement.code,
            "knativeerrordata": error_data(judgement.body),
        }
        return Outcome(delivery, attempt, State.WAITING, Stage.DEAD_LETTER_SINK, now, 0, error)
    return Outcome(delivery, attempt, State.FAILED, stage, now, failures, error)


def _refusal(status: int, error: Exception) -> Reply:
    return Reply(status, {}, str(error).encode())
