"""The methods of `inference.GRPCInferenceService`, by name: a message in, a message out."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from time import perf_counter
from types import MappingProxyType
from typing import Any

from zeroflow.functions.predictor.answers import Answers
from zeroflow.functions.predictor.errors import BadRequest
from zeroflow.functions.predictor.grpc import tensors
from zeroflow.functions.predictor.grpc.messages import classes
from zeroflow.functions.predictor.models.repository import READY
from zeroflow.functions.predictor.models.served import Served
from zeroflow.functions.predictor.predictor import Predictor
from zeroflow.functions.predictor.protocols import v2
from zeroflow.models.python import PythonModel
from zeroflow.models.python.tensors import Outputs, Said

Method = Callable[[Any], Any]


class Service:
    """Answers for a predictor; `asked` tells whoever wants to know which model a request is for."""

    def __init__(
        self, predictor: Predictor, asked: Callable[[Answers], None], headers: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._headers = headers
        self._predictor, self._repository, self._asked = predictor, predictor.repository, asked
        self._messages = classes()

    def method(self, name: str) -> tuple[type, Method] | None:
        """Return a method's request class and what answers; None when there is no such method."""
        answer = getattr(self, f"_{name}", None) if name[:1].isupper() else None
        return None if answer is None else (getattr(self._messages, f"{name}Request"), answer)

    def _ServerLive(self, _: Any) -> Any:  # noqa: N802 - gRPC's names
        return self._messages.ServerLiveResponse(live=True)

    def _ServerReady(self, _: Any) -> Any:  # noqa: N802
        return self._messages.ServerReadyResponse(ready=True)

    def _ModelReady(self, request: Any) -> Any:  # noqa: N802
        index = {each["name"]: each for each in self._repository.index()}
        known = index.get(request.name)
        if known is None or (known["state"] == READY and request.version):
            self._repository.get(request.name, request.version or None)
        return self._messages.ModelReadyResponse(ready=known is not None and known["state"] == READY)

    def _ServerMetadata(self, _: Any) -> Any:  # noqa: N802
        return self._messages.ServerMetadataResponse(**v2.server_metadata())

    def _ModelMetadata(self, request: Any) -> Any:  # noqa: N802
        said = v2.model_metadata(self._repository.get(request.name, request.version or None))
        return self._messages.ModelMetadataResponse(**said)

    def _ModelInfer(self, request: Any) -> Any:  # noqa: N802
        answers = self._predictor.answers_of(request.model_name, request.model_version or None)
        self._asked(answers)
        begun = perf_counter()
        served = answers.served
        if not request.inputs:
            raise BadRequest("inputs is empty; expected at least one tensor")
        own = isinstance(served.model, PythonModel)
        given = tensors.read(request, own)
        names = [output.name for output in request.outputs]
        question = v2.asked(served, given, v2.outputs_of(served, names), request.id or None, _plain(request.parameters))
        if own:
            question = replace(question, said=self._said(served, request))
        read = perf_counter()
        found = v2.ask(served, question)
        asked = perf_counter()
        response = self._messages.ModelInferResponse(
            model_name=served.name, model_version=served.version or "", id=request.id
        )
        raw = bool(request.raw_input_contents) or tensors.must_be_raw(found)
        for name, array in found.items():
            tensors.write(response, name, array, raw)
        if isinstance(found, Outputs):
            _tell(response.parameters, found.parameters)
            for output in response.outputs:
                _tell(output.parameters, found.of_outputs.get(output.name, {}))
        answers.record(begun, read, asked, perf_counter())
        return response

    def _said(self, served: Served, request: Any) -> Said:
        of_inputs = [_plain(tensor.parameters) for tensor in request.inputs]
        outputs = [(output.name, _plain(output.parameters)) for output in request.outputs]
        return Said(self._headers, of_inputs, outputs, served.version, from_grpc=True)

    def _RepositoryIndex(self, request: Any) -> Any:  # noqa: N802
        models = [self._messages.ModelIndex(**each) for each in self._repository.index(request.ready)]
        return self._messages.RepositoryIndexResponse(models=models)

    def _RepositoryModelLoad(self, request: Any) -> Any:  # noqa: N802
        name = self._predictor.load(_model(request)).name
        return self._messages.RepositoryModelLoadResponse(model_name=name, isLoaded=True)

    def _RepositoryModelUnload(self, request: Any) -> Any:  # noqa: N802
        name = _model(request)
        self._predictor.unload(name)
        return self._messages.RepositoryModelUnloadResponse(model_name=name, isUnloaded=True)


def _model(request: Any) -> str:
    """Return the model's name: KServe's only field, or Triton's second, after the repository's name."""
    return str(request.second or request.first)


def _tell(parameters: Any, said: Mapping[str, Any]) -> None:
    """Fill a message's parameters; what has no type there goes as text."""
    kinds = {bool: "bool_param", int: "int64_param", float: "double_param"}
    for name, value in said.items():
        kind = kinds.get(type(value), "string_param")
        setattr(parameters[name], kind, value if type(value) in kinds else str(value))


def _plain(parameters: Any) -> dict[str, Any]:
    found = {}
    for name, parameter in parameters.items():
        chosen = parameter.WhichOneof("choice")
        found[name] = getattr(parameter, chosen) if chosen else None
    return found
