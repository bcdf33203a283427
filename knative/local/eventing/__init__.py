"""Knative Eventing on one machine: the durable broker, triggers, sources and sinks."""

from zeroflow.knative.local.eventing.eventing import Eventing

__all__ = ["Eventing"]
