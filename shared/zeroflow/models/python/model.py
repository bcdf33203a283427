"""A model that is an object of a class: how it is made, loaded and asked.

Understood are KServe's `Model` (load, preprocess, predict, postprocess, explain; `headers` where they are taken),
MLServer's `MLModel` (settings, async load and predict of an InferenceRequest), and any class with `predict`. Methods
may be `async`. `model_dir`, set before `load`, is the directory of the model's files.

Guarantees: asked from several threads at once, as a server would; async methods share one event loop of the model's.
"""

import asyncio
import inspect
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from zeroflow.models.estimator import Tensor
from zeroflow.models.formats import ModelFile
from zeroflow.models.python import names, tensors
from zeroflow.models.python.classes import class_of

if TYPE_CHECKING:
    import numpy as np

PLACES = ("model_dir", "directory", "path", "model_path", "uri")
"""Constructor parameters that are given the directory of the model's files."""


class Loop:
    """Runs what is async: an event loop in a thread of its own, started when it is first needed."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def wait(self, found: Any) -> Any:
        """Return a value, or what a coroutine comes to."""
        if not inspect.isawaitable(found):
            return found
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="model", daemon=True).start()

        async def awaited() -> Any:
            try:
                return await found
            except (SystemExit, KeyboardInterrupt) as error:  # would end the loop, for which everybody else waits
                raise RuntimeError(f"the model's code raised {type(error).__name__}") from error

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result()


@dataclass(frozen=True)
class PythonModel:
    """An object that answers whole requests."""

    model: Any = field(repr=False)
    kind: str
    sha256: str
    style: str
    """`mlserver` takes InferenceRequests in either protocol; `kserve` dictionaries in V1, InferRequests in V2."""
    keeps: Any = field(repr=False)
    """Whatever must live as long as the model: its directory."""
    platform: str = "python_class"
    serves: str = "original"
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    declared: tuple[list[Any], list[Any]] = field(default_factory=lambda: ([], []))
    """Inputs and outputs as it describes them (KServe's get_input_types, get_output_types): for metadata alone."""
    loop: Loop = field(default_factory=Loop, repr=False)

    @property
    def explains(self) -> bool:
        """Whether it has an `explain` of its own."""
        return callable(getattr(self.model, "explain", None))

    def answer(
        self,
        body: Any,
        headers: Mapping[str, str],
        method: str = "predict",
        answer_headers: dict[str, str] | None = None,
    ) -> Any:
        """Return the answer to a V1 request: what the class returns, arrays and all; bytes and text are whole bodies.

        `body` is JSON that has been read, or bytes that are no JSON. Headers for the answer go into `answer_headers`.
        """
        more = {} if answer_headers is None else answer_headers
        if self.style == "mlserver":
            given = self._request_of(body)
            return {"predictions": self._first(self.loop.wait(self.model.predict(given)))}
        body = self._call("preprocess", body, headers, more)
        found = self._call(method, body, headers, more)
        found = self._call("postprocess", found, headers, more)
        return self._plain(found)

    def infer(
        self,
        name: str,
        given: "list[tuple[str, np.ndarray[Any, Any]]]",
        identifier: str | None,
        parameters: Any,
        said: tensors.Said | None = None,
    ) -> tensors.Outputs:
        """Return the answer to a V2 request: arrays by name."""
        said = said or tensors.Said()
        of_inputs = said.of_inputs or [{}] * len(given)
        made = [tensors.InferInput.of(each, array, more) for (each, array), more in zip(given, of_inputs, strict=True)]
        if self.style == "mlserver":
            found = self.loop.wait(
                self.model.predict(tensors.InferenceRequest(made, identifier, parameters=parameters))
            )
        else:
            outputs = [tensors.RequestedOutput(*output) for output in said.outputs]
            request: Any = tensors.InferRequest(
                name, made, identifier, parameters, outputs, said.version, said.from_grpc
            )
            found = request
            for method in ("preprocess", "predict", "postprocess"):
                found = self._call(method, found, said.headers, said.answer_headers)
        return self._arrays(found)

    def _call(self, method: str, payload: Any, headers: Mapping[str, str], answer_headers: dict[str, str]) -> Any:
        call = getattr(self.model, method, None)
        if not callable(call):
            return payload
        takes = inspect.signature(call).parameters
        more = {"headers": dict(headers)} if "headers" in takes else {}
        if "response_headers" in takes:
            more["response_headers"] = answer_headers
        return self.loop.wait(call(payload, **more))

    def _request_of(self, body: Any) -> tensors.InferenceRequest:
        import numpy as np

        rows = body.get("instances", body.get("inputs")) if isinstance(body, dict) else None
        if not isinstance(rows, list):
            raise ValueError('the body has no "instances"')
        array = np.array(rows)
        if array.dtype.kind in "OU":
            array = np.array(rows, dtype=object)
        return tensors.InferenceRequest([tensors.InferInput.of("input-0", array)])

    def _first(self, found: Any) -> Any:
        arrays = self._arrays(found)
        if not arrays:
            raise TypeError("the model answers no outputs")
        return next(iter(arrays.values()))

    def _plain(self, found: Any) -> Any:
        if not hasattr(found, "outputs"):
            return found
        outputs = [
            {"name": each.name, "shape": list(each.shape), "datatype": each.datatype, "data": each.data}
            | ({"parameters": dict(each.parameters)} if each.parameters else {})
            for each in found.outputs
        ]
        return {"id": found.id, "model_name": found.model_name, "outputs": outputs}  # as KServe's server answers it

    def _arrays(self, found: Any) -> tensors.Outputs:
        import numpy as np

        if isinstance(found, dict) and isinstance(found.get("outputs"), list):
            outputs = [
                tensors.InferOutput(each["name"], each["shape"], each["datatype"], each["data"], each.get("parameters"))
                for each in found["outputs"]
            ]
            found = tensors.InferResponse(found.get("id"), "", outputs, found.get("parameters"))
        if hasattr(found, "outputs"):
            arrays = tensors.Outputs({output.name: output.as_numpy() for output in found.outputs})
            arrays.identifier = getattr(found, "id", None)
            arrays.parameters = getattr(found, "parameters", None) or {}
            arrays.of_outputs = {each.name: dict(each.parameters) for each in found.outputs if each.parameters}
            return arrays
        if isinstance(found, dict) and "predictions" in found:
            found = found["predictions"]
        array = np.asarray(found)
        if array.dtype.kind not in "fiubOUS":
            raise TypeError(f"the model answers a {type(found).__name__}, expected arrays")
        return tensors.Outputs({"output-0": array.astype(object) if array.dtype.kind in "US" else array})


def read(model: ModelFile, sha256: str, keeps: Any) -> PythonModel:
    """Make and load the model; raise what its code raises."""
    assert model.class_name is not None
    kind = class_of(model.path, model.class_name)
    place = str(model.path.parent)
    mlserver = any(base.__module__.partition(".")[0] == "mlserver" or base is names.MLModel for base in kind.__mro__)
    made = _made(kind, place)
    if not hasattr(made, "model_dir"):
        made.model_dir = place
    found = PythonModel(made, model.class_name, sha256, "mlserver" if mlserver else "kserve", keeps)
    if callable(getattr(made, "load", None)):
        found.loop.wait(made.load())
    return replace(found, declared=(_types(found, "get_input_types"), _types(found, "get_output_types")))


def _types(found: PythonModel, method: str) -> list[Any]:
    """Return what a class says of its tensors: those that have a name, a datatype and a shape."""
    call = getattr(found.model, method, None)
    said = found.loop.wait(call()) if callable(call) else None
    fields = ("name", "datatype", "shape")
    tensors_said = said if isinstance(said, list) else []
    return [
        {name: each[name] for name in fields}
        for each in tensors_said
        if isinstance(each, dict) and all(name in each for name in fields)
    ]


def _made(kind: type, place: str) -> Any:
    """Call a class with what its constructor asks for: a name, settings, a directory."""
    given: dict[str, Any] = {}
    for parameter in inspect.signature(kind).parameters.values():
        if parameter.name == "settings":
            given["settings"] = _settings(kind, place)
        elif parameter.name in PLACES:
            given[parameter.name] = place
        elif parameter.name in ("name", "model_name"):
            given[parameter.name] = kind.__name__
    return kind(**given)


def _settings(kind: type, place: str) -> Any:
    import sys

    settings = sys.modules["mlserver"].settings
    return settings.ModelSettings(
        name=kind.__name__, implementation=kind, parameters=settings.ModelParameters(uri=place)
    )
