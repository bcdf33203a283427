"""A component as the SDK writes them, which a process runs before it knows its step (`zygote`); it does nothing."""

from typing import NamedTuple

from kfp.dsl import Metrics, Model, Output


class Outputs(NamedTuple):
    """What it gives."""

    length: int
    text: str


def rehearsed(text: str, model: Output[Model], metrics: Output[Metrics]) -> Outputs:
    """Return what it got."""
    return Outputs(len(text), text)
