"""Requests and answers of protocol V2 as the classes of models see them, under the names of KServe and MLServer.

Only what models use: KServe's InferRequest, InferInput, InferResponse, InferOutput; MLServer's InferenceRequest,
RequestInput, InferenceResponse, ResponseOutput and its numpy and string codecs. Source: kserve 0.21,
protocol/infer_type.py; MLServer 1.7, types and codecs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from zeroflow.models.estimator import datatype_of

if TYPE_CHECKING:
    import numpy as np


KINDS = {
    **{f"{sign.upper()}INT{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "BOOL": "bool",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "BYTES": "object",
}
"""numpy's names of the protocol's datatypes."""


@dataclass(frozen=True)
class Said:
    """What a V2 request says besides its tensors, for the classes that look at it."""

    headers: Mapping[str, str] = field(default_factory=dict)
    of_inputs: Sequence[Mapping[str, Any]] = ()
    """The parameters of each input."""
    outputs: Sequence[tuple[str, Mapping[str, Any]]] = ()
    """Name and parameters of each output that it asks for."""
    version: str | None = None
    from_grpc: bool = False
    answer_headers: dict[str, str] = field(default_factory=dict)
    """Where a class puts headers for the answer."""


class Outputs(dict[str, "np.ndarray[Any, Any]"]):
    """A class's answer to a V2 request: arrays by name, and what else it says."""

    identifier: str | None = None
    parameters: Mapping[str, Any] = MappingProxyType({})
    of_outputs: Mapping[str, Mapping[str, Any]] = MappingProxyType({})


class InferInput:
    """A tensor of a request."""

    def __init__(
        self,
        name: str,
        shape: Sequence[int],
        datatype: str,
        data: Any = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self.shape, self.datatype = name, list(shape), datatype
        self.parameters = dict(parameters or {})
        self._array: np.ndarray[Any, Any] | None = None
        self._data = data

    @classmethod
    def of(cls, name: str, array: "np.ndarray[Any, Any]", parameters: Mapping[str, Any] | None = None) -> "InferInput":
        """Wrap an array."""
        made = cls(name, array.shape, datatype_of(array.dtype), parameters=parameters)
        made._array = array
        return made

    @property
    def data(self) -> Any:
        """The values as a flat list."""
        return self._array.ravel().tolist() if self._array is not None else self._data

    @data.setter
    def data(self, data: Any) -> None:
        self._array, self._data = None, data

    @property
    def holds_text(self) -> bool:
        """Whether its first value is text and no bytes."""
        values = self.data
        return values is not None and len(values) > 0 and isinstance(values[0], str)

    def as_numpy(self) -> "np.ndarray[Any, Any]":
        """Return the values as an array."""
        import numpy as np

        if self._array is not None:
            return self._array
        kind = KINDS.get(self.datatype.upper())
        if kind is None:
            raise ValueError(f"tensor {self.name!r} is of datatype {self.datatype!r}, which is none")
        return np.array(self._data, dtype=kind).reshape(self.shape)

    def as_string(self) -> list[str]:
        """Return the values as strings."""
        values = self.as_numpy().ravel()
        return [value.decode() if isinstance(value, bytes) else str(value) for value in values]

    def set_data_from_numpy(self, array: "np.ndarray[Any, Any]", binary_data: bool = True) -> None:
        """Take the values of an array."""
        self._array, self._data = array, None
        self.shape, self.datatype = list(array.shape), datatype_of(array.dtype)


class InferOutput(InferInput):
    """A tensor of an answer."""


class RequestedOutput:
    """An output that a request asks for."""

    def __init__(self, name: str, parameters: Mapping[str, Any] | None = None) -> None:
        self.name, self.parameters = name, dict(parameters or {})

    @property
    def binary_data(self) -> bool | None:
        """Whether it is to be sent as raw bytes; None when the request does not say."""
        return self.parameters.get("binary_data")


class InferRequest:
    """A request."""

    def __init__(
        self,
        model_name: str = "",
        infer_inputs: Sequence[InferInput] = (),
        request_id: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        request_outputs: Sequence[RequestedOutput] | None = None,
        model_version: str | None = None,
        from_grpc: bool = False,
        **_: Any,
    ) -> None:
        self.model_name, self.inputs, self.id = model_name, list(infer_inputs), request_id
        self.parameters = dict(parameters or {})
        self.request_outputs = list(request_outputs) if request_outputs else None
        self.model_version, self.from_grpc = model_version, from_grpc

    @property
    def use_binary_outputs(self) -> bool:
        """Whether the caller asks for raw bytes; the server sees to it, whatever a class answers."""
        return bool(self.parameters.get("binary_data_output", False))

    def get_input_by_name(self, name: str) -> InferInput | None:
        """Return the input of a name; None when there is none."""
        return next((each for each in self.inputs if each.name == name), None)

    def as_dataframe(self) -> Any:
        """Return the inputs as the columns of a data frame."""
        import pandas as pd

        return pd.DataFrame({each.name: each.as_numpy().ravel() for each in self.inputs})


class InferResponse:
    """An answer."""

    def __init__(
        self,
        response_id: str | None = None,
        model_name: str = "",
        infer_outputs: Sequence[InferOutput] = (),
        parameters: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        self.id, self.model_name, self.outputs = response_id, model_name, list(infer_outputs)
        self.parameters = dict(parameters or {})


class RequestInput(InferInput):
    """MLServer's input; its fields come by keyword."""

    def __init__(self, name: str, shape: Sequence[int], datatype: str, data: Any = None, **more: Any) -> None:
        super().__init__(name, shape, datatype, data, more.get("parameters"))


class ResponseOutput(RequestInput, InferOutput):
    """MLServer's output."""


class InferenceRequest(InferRequest):
    """MLServer's request."""

    def __init__(self, inputs: Sequence[InferInput] = (), id: str | None = None, **more: Any) -> None:  # noqa: A002
        super().__init__(infer_inputs=inputs, request_id=id, parameters=more.get("parameters"))


class InferenceResponse(InferResponse):
    """MLServer's answer."""

    def __init__(
        self,
        model_name: str = "",
        outputs: Sequence[InferOutput] = (),
        id: str | None = None,  # noqa: A002
        **more: Any,
    ) -> None:
        super().__init__(id, model_name, outputs, more.get("parameters"))
        self.model_version = more.get("model_version")


class NumpyCodec:
    """MLServer's codec between tensors and arrays."""

    @staticmethod
    def decode_input(tensor: InferInput) -> "np.ndarray[Any, Any]":
        """Return an input's array."""
        return tensor.as_numpy()

    decode = decode_input

    @staticmethod
    def encode_output(name: str, payload: "np.ndarray[Any, Any]", **_: Any) -> InferOutput:
        """Return an output of an array."""
        import numpy as np

        made = InferOutput.of(name, np.asarray(payload))
        assert isinstance(made, InferOutput)
        return made

    encode = encode_output


class StringCodec:
    """MLServer's codec between tensors and strings."""

    @staticmethod
    def decode_input(tensor: InferInput) -> list[str]:
        """Return an input's strings."""
        return tensor.as_string()

    decode = decode_input

    @staticmethod
    def encode_output(name: str, payload: Sequence[str], **_: Any) -> InferOutput:
        """Return an output of strings."""
        return InferOutput(name, [len(payload)], "BYTES", list(payload))

    encode = encode_output
