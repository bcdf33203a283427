"""Routes where the contract has none."""

from collections.abc import Callable

from flask import Response

from zeroflow.events import FunctionApp


def routes(app: FunctionApp) -> list[tuple[str, str, Callable[..., Response]]]:
    return []
