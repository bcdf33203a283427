"""Which function project to serve, and its function instance.

A project is a folder that exports `new()` (a function instance) or `handle` (a plain handler) from a Python module,
with a `func.yaml` beside it. Where an argument does not say, the environment does, then `func.yaml`.

Source: Knative Functions, func.yaml; func-python 0.8, the function object.
"""

import importlib
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from zeroflow.errors import InvalidInput

logger = logging.getLogger(__name__)

INVOCATIONS = ("http", "cloudevent")
SYNCHRONOUS = ("start", "stop", "alive", "ready")
"""The optional methods of a function instance; only `handle` is a coroutine."""


class Instance(Protocol):
    """What `new()` returns. `start(cfg)`, `stop()`, `alive()` and `ready()` are optional."""

    def handle(self, scope: dict[str, Any], receive: Any, send: Any) -> Awaitable[None]:
        """Answer one request or event by calling `send`."""


class _Static:
    """The instance that a module with a plain `handle` amounts to."""

    def __init__(self, handle: Callable[..., Awaitable[None]]) -> None:
        self.handle = handle


@dataclass(frozen=True)
class Project:
    """Where the function is and how it is invoked."""

    module: str = "function"
    """ZEROFLOW_FUNCTION_MODULE: the module that exports new() or handle, importable from the working directory."""
    invoke: str = "http"
    """ZEROFLOW_FUNCTION_INVOKE, else `invoke` of ./func.yaml: http or cloudevent."""

    def __post_init__(self) -> None:
        if self.invoke not in INVOCATIONS:
            raise InvalidInput(
                f"invoke (ZEROFLOW_FUNCTION_INVOKE or func.yaml) must be http or cloudevent, got {self.invoke!r}"
            )

    @classmethod
    def find(cls, module: str | None, invoke: str | None, environment: Mapping[str, str], folder: Path) -> "Project":
        """Fill in what the arguments leave open; raise InvalidInput when what is said cannot be meant."""
        return cls(
            module or environment.get("ZEROFLOW_FUNCTION_MODULE") or cls.module,
            invoke or environment.get("ZEROFLOW_FUNCTION_INVOKE") or _invoke_of(folder / "func.yaml") or cls.invoke,
        )

    def new(self) -> Instance:
        """Import the module and make its function instance; raise InvalidInput when there is none in it."""
        exported = importlib.import_module(self.module)
        new, handle = getattr(exported, "new", None), getattr(exported, "handle", None)
        if new is not None:
            instance: Instance = new()
        elif handle is not None:
            instance = _Static(handle)
        else:
            raise InvalidInput(f"module {self.module!r} must export new() or handle; it exports neither")
        if not callable(getattr(instance, "handle", None)):
            raise InvalidInput(
                f"new() of module {self.module!r} returned {type(instance).__name__}, "
                f"which has no method handle(scope, receive, send)"
            )
        for name in SYNCHRONOUS:
            if inspect.iscoroutinefunction(getattr(instance, name, None)):
                logger.warning("%s of the function is a coroutine and never runs; make it a plain method", name)
        return instance


def _invoke_of(path: Path) -> str | None:
    if not path.exists():
        return None
    import yaml

    from zeroflow import safe_yaml

    try:
        document = safe_yaml.load(path.read_text())
    except yaml.YAMLError as error:
        raise InvalidInput(f"{path} is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise InvalidInput(f"{path} must hold a mapping, got {type(document).__name__}")
    return document.get("invoke")
