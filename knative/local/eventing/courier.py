"""One attempt at one delivery: send, judge the answer, write down what follows.

Source: Knative Eventing's broker filter and dispatcher: headers to subscribers, rules for answers, retries,
dead-letter sink with the knativeerror extensions. Unlike there, a delivery that fails for good stays in the log as
failed.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Protocol

from zeroflow.knative.local.eventing.cloudevent import Event
from zeroflow.knative.local.eventing.delivery import Judgement, Verdict, error_data, judge, no_answer
from zeroflow.knative.local.eventing.destinations import Target
from zeroflow.knative.local.eventing.dispatcher import Subscriber
from zeroflow.knative.local.eventing.errors import EventExpired, EventForbidden, InvalidEvent
from zeroflow.knative.local.eventing.ingress import TTL_MAX
from zeroflow.knative.local.eventing.log import Attempt, Delivery, EventLog, NewEvent, Outcome
from zeroflow.knative.local.eventing.outside import Reply
from zeroflow.knative.local.eventing.poster import Poster
from zeroflow.knative.local.eventing.schema import Stage, State


class Replies(Protocol):
    """Where replies go (`rooms.Rooms`)."""

    def admit_reply(self, delivery: Delivery, reply: Event, subscriber: Subscriber) -> NewEvent | None:
        """Prepare a subscriber's reply for its receiver, None without one; raise what it would be refused for."""
        ...


class Courier:
    """Makes attempts; see the module."""

    def __init__(self, log: EventLog, poster: Poster, replies: Replies) -> None:
        self._log, self._poster, self._replies = log, poster, replies

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
            judgement = judge(answer, replies=subscriber.replies and not to_sink, strict=subscriber.strict)
            status: int | None = answer.status
        except asyncio.CancelledError:
            raise
        except Exception as error:
            judgement, status = no_answer(str(error) or type(error).__name__), None
        attempt = Attempt(destination.uri, started, time.monotonic() - clock, status, judgement.error or None)
        return await self._settle(delivery, subscriber, attempt, judgement)

    async def _post(self, target: Target, delivery: Delivery, subscriber: Subscriber) -> Reply:
        record, policy = delivery.record, subscriber.policy
        own = {"Kn-Namespace": subscriber.namespace} | ({"Prefer": "reply"} if subscriber.replies else {})
        # What a source sends straight to a broker has made no hop yet, and may say itself how many it has.
        ttl = record.ttl if record.broker or record.ttl < TTL_MAX else None
        return await self._poster.send(
            target,
            record.event.extended(delivery.error),
            record.headers,
            own,
            policy.timeout_s,
            structured=policy.structured,
            ttl=ttl,
        )

    async def _settle(
        self, delivery: Delivery, subscriber: Subscriber, attempt: Attempt, judgement: Judgement
    ) -> float | None:
        reply: NewEvent | None = None
        if judgement.reply is not None:
            try:
                reply = self._replies.admit_reply(delivery, judgement.reply, subscriber)
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
