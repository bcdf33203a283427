"""Requests and answers of protocol V2 as the classes of models see them, under the names of KServe and MLServer.

Only what models use: KServe's InferRequest, InferInput, InferResponse, InferOutput; MLServer's InferenceRequest,
RequestInput, InferenceResponse, ResponseOutput and its numpy and string codecs. Source: kserve 0.21,
protocol/infer_type.py; MLServer 1.7, types and codecs.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zeroflow.models.estimator import datatype_of

if TYPE_CHECKING:
    import numpy as np


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
    def of(cls, name: str, array: "np.ndarray[Any, Any]") -> "InferInput":
        """Wrap an array."""
        made = cls(name, array.shape, datatype_of(array.dtype))
        made._array = array
        return made

    @property
    def data(self) -> Any:
        """The values as a flat list."""
        return self._array.ravel().tolist() if self._array is not None else self._data

    def as_numpy(self) -> "np.ndarray[Any, Any]":
        """Return the values as an array."""
        import numpy as np

        if self._array is not None:
            return self._array
        kinds = {"BOOL": "bool", "FP16": "float16", "FP32": "float32", "FP64": "float64", "BYTES": "object"}
        return np.array(self._data, dtype=kinds.get(self.datatype, self.datatype.lower())).reshape(self.shape)

    def as_string(self) -> list[str]:
        """Return the values as strings."""
        return [str(value) for value in self.as_numpy().ravel()]

    def set_data_from_numpy(self, array: "np.ndarray[Any, Any]", binary_data: bool = True) -> None:
        """Take the values of an array."""
        self._array, self._data = array, None
        self.shape, self.datatype = list(array.shape), datatype_of(array.dtype)


class InferOutput(InferInput):
    """A tensor of an answer."""


class InferRequest:
    """A request."""

    def __init__(
        self,
        model_name: str = "",
        infer_inputs: Sequence[InferInput] = (),
        request_id: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        self.model_name, self.inputs, self.id = model_name, list(infer_inputs), request_id
        self.parameters = dict(parameters or {})

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
