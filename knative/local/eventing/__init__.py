"""Knative Eventing on one machine: the durable broker, triggers, sources and sinks."""
