"""Pipelines: the KFP v2beta1 API, and the engine that advances runs from event to event. Runs no step itself."""
