"""The receivers of events inside this process, and where a subscriber's reply goes."""

from __future__ import annotations

from collections.abc import Mapping

from zeroflow.errors import ZeroflowError
from zeroflow.knative.local.eventing.cloudevent import Event
from zeroflow.knative.local.eventing.destinations import ToBroker, ToChannel, ToJobSink, ToTransform
from zeroflow.knative.local.eventing.dispatcher import Subscriber
from zeroflow.knative.local.eventing.errors import (
    BrokerNotFound,
    ChannelNotFound,
    EventExpired,
    InvalidEvent,
    JobSinkNotFound,
    TransformNotFound,
)
from zeroflow.knative.local.eventing.ingress import TTL_MAX, Ingress, reply_headers
from zeroflow.knative.local.eventing.jobsink import JobSinks
from zeroflow.knative.local.eventing.log import Delivery, EventLog, NewEvent
from zeroflow.knative.local.eventing.messaging.channels import Channels
from zeroflow.knative.local.eventing.messaging.subscriptions import REPLY
from zeroflow.knative.local.eventing.outside import Reply
from zeroflow.knative.local.eventing.transforms.transforms import Transforms

Room = ToBroker | ToChannel | ToJobSink | ToTransform


class Rooms:
    """Brokers, channels, JobSinks and EventTransforms as one."""

    def __init__(
        self, log: EventLog, ingress: Ingress, channels: Channels, jobsinks: JobSinks, transforms: Transforms
    ) -> None:
        self._log, self._ingress, self._channels = log, ingress, channels
        self._jobsinks, self._transforms = jobsinks, transforms

    async def hand(
        self, target: Room, event: Event, ttl: int | None, headers: Mapping[str, str], timeout_s: float
    ) -> Reply:
        """Hand an event of the host to a receiver and return the answer; `ttl`: hops left, None for a new event."""
        try:
            match target:
                case ToBroker():
                    await self._ingress.accept(target.namespace, target.name, event, ttl, headers)
                case ToChannel():
                    hops = TTL_MAX if ttl is None else ttl
                    await self._log.accept(self._channels.admit(target.namespace, target.name, event, hops, headers))
                case ToJobSink():
                    await self._jobsinks.run_job(target.namespace, target.name, event)
                case ToTransform():
                    return await self._transforms.transform(target.namespace, target.name, event, headers, timeout_s)
        except (BrokerNotFound, ChannelNotFound, JobSinkNotFound, TransformNotFound) as error:
            return _refusal(404, error)
        except (InvalidEvent, EventExpired) as error:
            return _refusal(400, error)
        return Reply(202, {})

    def admit_reply(self, delivery: Delivery, reply: Event, subscriber: Subscriber) -> NewEvent | None:
        """Prepare a subscriber's reply: for its broker, or for who gets the replies of its channel's subscription.

        None when nobody does. Raises what its receiver would refuse it for.
        """
        record, to = delivery.record, subscriber.reply_to
        if record.broker:
            return self._ingress.admit_reply(record, reply, subscriber)
        if to is None:
            return None
        self._ingress.check_replier(reply, subscriber)
        headers = reply_headers(record)
        try:
            match to.target:
                case ToChannel(namespace, name):
                    return self._channels.admit(namespace, name, reply, record.ttl, headers)
                case ToBroker(namespace, name):
                    return self._ingress.admit(namespace, name, reply, record.ttl, headers)
        except (BrokerNotFound, ChannelNotFound):
            pass  # it went a moment ago: the reply waits for it and shows the failure
        return NewEvent(record.namespace, "", reply, record.ttl, headers, [delivery.subscription + REPLY])


def _refusal(status: int, error: ZeroflowError) -> Reply:
    return Reply(status, {}, str(error).encode())
