"""Documents that are read as arrays at once say the same as orjson's; whatever is out of the ordinary is orjson's."""

import json
from typing import Any

import numpy as np
import orjson
import pytest

from zeroflow.functions.predictor.errors import BadRequest
from zeroflow.functions.predictor.protocols import documents

pytest.importorskip("simdjson", reason="pysimdjson is not installed")

ROW = [round(0.001 * at, 3) for at in range(400)]


def plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


def rows(*values: Any, field: str = "instances") -> bytes:
    return json.dumps({field: list(values)}).encode()


def tensors(*inputs: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"inputs": list(inputs), **more}).encode()


TENSOR = {"name": "x", "shape": [1, 400], "datatype": "FP32", "data": ROW}


@pytest.mark.parametrize("body", [rows(ROW), rows(ROW, ROW, field="inputs"), rows([1] * 600, ROW + ROW[:200])])
def test_rows_of_numbers_are_an_array(body: bytes) -> None:
    (found,) = documents.with_rows(body).values()
    assert isinstance(found, np.ndarray)
    assert found.tolist() == next(iter(orjson.loads(body).values()))


@pytest.mark.parametrize(
    "body",
    [
        rows(ROW, ROW[:-1]),  # ragged
        rows(ROW, [*ROW[:-1], [1]]),  # too deep, at the right length
        rows(ROW, [*ROW[:-1], None]),
        rows(ROW, [*ROW[:-1], True]),
        rows(ROW, [*ROW[:-1], "1"]),
        rows(ROW, [*ROW[:-1], {}]),
        rows(ROW, [*ROW[:-1], 10**30]),
        rows(ROW, "[" * 400),
        rows(ROW, 5),
        rows([], [], [1] * 500),
        rows({"a": 1}, {"b": ROW}),
        json.dumps({"instances": [ROW], "more": 1}).encode(),
        b'{"instances": [[1]], "instances": ' + json.dumps([ROW]).encode() + b"}",
        json.dumps([ROW]).encode(),
        json.dumps("x" * 2000).encode(),
    ],
)
def test_other_documents_are_as_orjson_reads_them(body: bytes) -> None:
    assert plain(documents.with_rows(body)) == orjson.loads(body)


@pytest.mark.parametrize("body", [rows(ROW)[:-3], b"{" * 2000, rows(ROW).replace(b"0.001", b"NaN"), b"\xff" * 2000])
def test_what_is_no_json_is_refused_in_the_same_words(body: bytes) -> None:
    with pytest.raises(BadRequest, match="Unrecognized request format"):
        documents.with_rows(body)
    assert plain(documents.with_rows(rows(ROW))) == {"instances": [ROW]}  # and the next one is read


@pytest.mark.parametrize(
    ("body", "quick"),
    [
        (tensors(TENSOR), True),
        (tensors(TENSOR, {**TENSOR, "name": "y"}, id="7", parameters={"a": 1}, outputs=[{"name": "z"}]), True),
        (tensors({**TENSOR, "shape": [2, 200], "data": [ROW[:200], ROW[200:]]}), False),
        (tensors({**TENSOR, "data": [1, [], ROW]}), False),
        (tensors({**TENSOR, "datatype": "INT64", "data": list(range(400))}), False),
        (tensors({**TENSOR, "datatype": "FP32", "data": [None, *ROW[1:]]}), False),
        (tensors({"name": "x", "data": ROW}), False),
        (tensors(TENSOR, parameters={"a": "["}), False),
    ],
)
def test_tensors(body: bytes, quick: bool) -> None:
    found = documents.with_tensors(body)
    assert plain(found) == orjson.loads(body)
    assert isinstance(found["inputs"][0]["data"], np.ndarray) == quick
