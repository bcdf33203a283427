"""Rows in tables, as KServe's servers take them through pandas: LightGBM's official example sends one."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from zeroflow.functions.predictor.errors import BadRequest
from zeroflow.functions.predictor.protocols import rows
from zeroflow.models.estimator import Estimator

ROW = {"a": 1.5, "b": 2.5}


def model(takes_missing: bool) -> Estimator:
    return Estimator(
        model=None,
        kind="test",
        sha256="0" * 64,
        width=2,
        columns=("a", "b"),
        text_columns=frozenset(),
        takes_text=False,
        takes_missing=takes_missing,
        needs_frame=False,
    )


@pytest.mark.parametrize(
    ("instances", "expected"),
    [
        ([{"b": {"0": 2.5}, "a": {"0": 1.5}}], [[1.5, 2.5]]),
        ([{"a": [1.5, 3], "b": [2.5, 4]}], [[1.5, 2.5], [3, 4]]),
        ([{"a": {"x": 1, "y": 3}, "b": {"y": 4, "x": 2}}], [[1, 2], [3, 4]]),
        ([[ROW, {"a": 3, "b": 4}], [ROW]], [[1.5, 2.5], [3, 4], [1.5, 2.5]]),
        ([{"a": [1]}], [[1, np.nan]]),
        ([[{"b": 4}]], [[np.nan, 4]]),
    ],
    ids=str,
)
def test_tables_are_rows(instances: Any, expected: Any) -> None:
    assert np.array_equal(rows.from_json(instances, model(True)), np.array(expected), equal_nan=True)


def test_a_model_without_names_takes_a_tables_columns_in_their_order() -> None:
    nameless = dataclasses.replace(model(True), columns=None)
    found = rows.from_json([{"sepal": {"0": 2.5, "1": 4}, "petal": {"0": 1.5, "1": 3}}], nameless)
    assert np.array_equal(found, [[2.5, 1.5], [4, 3]])


@pytest.mark.parametrize(
    ("instances", "said"),
    [
        ([{"a": [1], "b": 2}], "instances[0]['b'] is a number, but other columns hold values of several rows"),
        ([{"a": [1], "b": [1, 2]}], "instances[0]['b'] has other rows than the columns before it"),
        ([{"a": {"0": 1}, "b": {"1": 1}}], "instances[0]['b'] has other rows than the columns before it"),
        ([{"a": [], "b": []}], "holds tables without rows"),
        ([{"a": [1], "b": [2]}, [1, 2]], "instances[1] is a list, expected a table, as the first one is"),
        ([{"a": [1]}], "instances[0] lacks column 'b'"),
        ([{"a": [1], "b": [2], "c": [3]}], "has a column 'c' that the model does not know"),
        ([{"a": ["x"], "b": [2]}], "instances[0][0] (a) is a string, expected a number"),
        ([{"a": [[1]], "b": [2]}], "instances[0][0] (a) is a list, expected a number"),
    ],
    ids=str,
)
def test_faults_of_tables_are_named(instances: Any, said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        rows.from_json(instances, model(False))
    assert said in str(refused.value)
