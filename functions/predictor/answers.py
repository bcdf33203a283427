"""One prediction, from the bytes of a request to those of its answer, timed; it knows no web framework."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter
from types import MappingProxyType
from typing import Any

import orjson

from zeroflow.functions.predictor.errors import ModelFailed
from zeroflow.functions.predictor.http.pace import Pace
from zeroflow.functions.predictor.models.served import Served
from zeroflow.functions.predictor.protocols import binary, documents, v1, v2
from zeroflow.functions.predictor.telling.metrics import Record
from zeroflow.models.python import PythonModel
from zeroflow.models.tensormodel import TensorModel


@dataclass(frozen=True)
class Answers:
    """Answers for one model."""

    served: Served
    record: Record
    pace: Pace = field(default_factory=Pace)

    @property
    def may_be_quick(self) -> bool:
        """Whether to learn how quick it is: not when requests are joined, nor for a class of somebody's own, nor on a
        GPU, where one request is copied while another one is computed."""
        served = self.served
        if served.is_quick or served.batcher is not None or isinstance(served.model, PythonModel):
            return False
        return not isinstance(served.model, TensorModel) or served.model.only_in is None

    def predict(
        self,
        body: bytes,
        headers: Mapping[str, str] = MappingProxyType({}),
        answer_headers: dict[str, str] | None = None,
    ) -> bytes:
        """Answer a V1 request; a Python class may look at its headers, add some to the answer, and take what is no
        JSON, if the content type says so."""
        if self.served.takes_any(headers):
            return self._predict(perf_counter(), body, headers, answer_headers)
        read = documents.with_rows if self.served.takes_floats else documents.parsed
        return self._predict(perf_counter(), read(body), headers, answer_headers)

    def predict_parsed(
        self,
        document: Any,
        headers: Mapping[str, str] = MappingProxyType({}),
        answer_headers: dict[str, str] | None = None,
    ) -> bytes:
        """Answer a V1 request that has been read, as the data of an event."""
        return self._predict(perf_counter(), document, headers, answer_headers)

    def _predict(
        self, begun: float, document: Any, headers: Mapping[str, str], answer_headers: dict[str, str] | None
    ) -> bytes:
        question = v1.read(self.served, document)
        read = perf_counter()
        found = v1.ask(self.served, question, headers, answer_headers)
        asked = perf_counter()
        if isinstance(found, bytes | str) and answer_headers is not None:
            kind = "application/octet-stream" if isinstance(found, bytes) else "text/plain; charset=utf-8"
            answer_headers |= {"content-type": kind} | {name.lower(): value for name, value in answer_headers.items()}
        answer = written(v1.write(self.served, found))
        self.record(begun, read, asked, perf_counter())
        return answer

    def infer(
        self,
        body: bytes,
        head_length: str | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        answer_headers: dict[str, str] | None = None,
    ) -> tuple[bytes, int | None]:
        """Answer a V2 request; also return the length of the answer's JSON part when bytes follow it.

        `head_length` is the request's Inference-Header-Content-Length, where it has one.
        """
        begun = perf_counter()
        if head_length is None:
            booleans = b"true" in body or b"false" in body
            request = v2.read(self.served, documents.with_tensors(body), None, booleans, headers, answer_headers)
        else:
            head, raw = binary.split(body, head_length)
            request = v2.read(self.served, documents.parsed(head), raw, True, headers, answer_headers)
        read = perf_counter()
        found = v2.ask(self.served, request)
        asked = perf_counter()
        answer = v2.write(self.served, request, found)
        self.record(begun, read, asked, perf_counter())
        return answer


def written(found: Any) -> bytes:
    """Return what a model answers as JSON, whole bodies as they are; raise ModelFailed for what JSON cannot hold."""
    if isinstance(found, bytes | str):
        return found if isinstance(found, bytes) else found.encode()
    try:
        return encoded(found)
    except (TypeError, ValueError) as error:
        raise ModelFailed(f"the model's answer is no JSON: {error}") from error


def encoded(answer: Any) -> bytes:
    """Return JSON; numpy's arrays go in as they are; raise TypeError for what JSON cannot hold."""
    return orjson.dumps(answer, _plain, orjson.OPT_SERIALIZE_NUMPY)


def _plain(value: Any) -> Any:
    """Return what the encoder does not take, as it does: arrays of other layouts and types, bytes that are text."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, set | frozenset):
        return list(value)
    raise TypeError(f"{type(value).__name__} is no JSON")
