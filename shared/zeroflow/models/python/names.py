"""Modules called `kserve` and `mlserver` for models that are written against them, where those are not installed.

They hold what a model's class imports - base classes, requests and answers, errors - and nothing that serves.
"""

import argparse
import importlib.util
import logging
import sys
from types import ModuleType
from typing import Any

from zeroflow.models.python import payloads, tensors


class Model:
    """KServe's base class of models."""

    def __init__(self, name: str, return_response_headers: bool = False, **_: Any) -> None:
        self.name, self.required_response_headers = name, return_response_headers
        self.ready = False

    def load(self) -> bool:
        """Say that there is nothing to load."""
        self.ready = True
        return True


class MLModel:
    """MLServer's base class of models."""

    def __init__(self, settings: "ModelSettings") -> None:
        self.settings = self._settings = settings
        self.name, self.version, self.ready = settings.name, settings.version, False

    async def load(self) -> bool:
        """Say that there is nothing to load."""
        return True


class ModelParameters:
    """MLServer's parameters of a model: `uri` is its directory."""

    def __init__(self, uri: str | None = None, version: str | None = None, **extra: Any) -> None:
        self.uri, self.version, self.extra = uri, version, extra.get("extra") or {}


class ModelSettings:
    """MLServer's settings of a model."""

    def __init__(self, name: str, parameters: ModelParameters | None = None, **_: Any) -> None:
        self.name, self.parameters = name, parameters or ModelParameters()

    @property
    def version(self) -> str | None:
        """The version in the parameters."""
        return self.parameters.version


class InvalidInput(ValueError):
    """KServe's error for a request that a model refuses."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class InferenceError(RuntimeError):
    """The error of a model that fails, in both."""


class ModelServer:
    """Stands for KServe's server, which a model's file may mention below `if __name__ == "__main__"`."""


def install() -> None:
    """Make the names importable."""
    for name, make in (("kserve", _kserve), ("mlserver", _mlserver)):
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            for module in make():
                sys.modules[module.__name__] = module


def _module(name: str, **members: Any) -> ModuleType:
    module = ModuleType(name, "Names for models; see zeroflow.models.python.names.")
    vars(module).update(members, __path__=[])
    return module


def _kserve() -> list[ModuleType]:
    names = ("InferInput", "InferOutput", "InferRequest", "InferResponse", "RequestedOutput")
    requests = {name: getattr(tensors, name) for name in names}
    errors = _module("kserve.errors", InvalidInput=InvalidInput, InferenceError=InferenceError)
    infer_type = _module("kserve.protocol.infer_type", **requests)
    protocol = _module("kserve.protocol", infer_type=infer_type)
    model = _module("kserve.model", Model=Model)
    inner = {name: getattr(payloads, name) for name in ("get_predict_input", "get_predict_response", "generate_uuid")}
    utils_utils = _module("kserve.utils.utils", **inner)
    codec = _module("kserve.utils.numpy_codec", from_np_dtype=payloads.from_np_dtype, to_np_dtype=payloads.to_np_dtype)
    utils = _module("kserve.utils", utils=utils_utils, numpy_codec=codec)
    logger = logging.getLogger("kserve")
    log = _module("kserve.logging", logger=logger, trace_logger=logging.getLogger("kserve.trace"))
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--model_name", default="model")
    server = _module("kserve.model_server", ModelServer=ModelServer, parser=parser)
    top = {"Model": Model, "ModelServer": ModelServer, "errors": errors, "protocol": protocol, "model": model}
    more = {"utils": utils, "logging": log, "model_server": server}
    whole = _module("kserve", **requests, **top, **more)
    return [whole, errors, infer_type, protocol, model, utils, utils_utils, codec, log, server]


def _mlserver() -> list[ModuleType]:
    types = _module(
        "mlserver.types",
        **{
            name: getattr(tensors, name)
            for name in ("InferenceRequest", "InferenceResponse", "RequestInput", "ResponseOutput")
        },
        Parameters=dict,
    )
    codecs = _module("mlserver.codecs", NumpyCodec=tensors.NumpyCodec, StringCodec=tensors.StringCodec)
    errors = _module("mlserver.errors", InferenceError=InferenceError, MLServerError=InferenceError)
    settings = _module("mlserver.settings", ModelSettings=ModelSettings, ModelParameters=ModelParameters)
    top = {"MLModel": MLModel, "ModelSettings": ModelSettings, "types": types, "codecs": codecs, "errors": errors}
    return [_module("mlserver", **top, settings=settings), types, codecs, errors, settings]
