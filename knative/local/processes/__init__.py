"""Containers as processes: fork servers per runtime, plain commands, environment, volumes, logs and limits."""
