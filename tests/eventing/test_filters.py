"""Which events pass which filters (Knative's evaluation, which differs from the specification in places)."""

from __future__ import annotations

from typing import Any

import pytest

from zeroflow.knative.local.eventing.errors import InvalidSpec
from zeroflow.knative.local.eventing.filters import compile_spec

EVENT: dict[str, str | int | bool] = {
    "specversion": "1.0",
    "id": "1",
    "type": "com.example.created",
    "source": "/shop",
    "time": "2026-01-02T03:04:05Z",
    "color": "red",
    "number": 7,
    "flag": True,
}


@pytest.mark.parametrize(
    ("attributes", "passes"),
    [
        ({}, True),
        ({"type": "com.example.created"}, True),
        ({"type": "com.example.Created"}, False),
        ({"type": "com.example.created", "source": "/shop"}, True),
        ({"type": "com.example.created", "source": "/other"}, False),
        ({"color": ""}, True),
        ({"absent": ""}, False),
        ({"subject": ""}, True),
        ({"subject": "x"}, False),
        ({"number": "7"}, False),
        ({"number": ""}, True),
        ({"flag": "true"}, False),
        ({"time": "2026-01-02T04:04:05+01:00"}, True),
        ({"time": "2026-01-02T03:04:06Z"}, False),
    ],
    ids=str,
)
def test_filter_attributes(attributes: dict[str, str], passes: bool) -> None:
    assert compile_spec({"filter": {"attributes": attributes}})(EVENT) is passes


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ([{"exact": {"type": "com.example.created"}}], True),
        ([{"exact": {"type": "com.example"}}], False),
        ([{"exact": {"type": "com.example.created", "color": "blue"}}], False),
        ([{"exact": {"number": "7"}}], False),
        ([{"prefix": {"type": "com.example."}}], True),
        ([{"prefix": {"type": "example"}}], False),
        ([{"prefix": {"number": "7"}}], True),
        ([{"prefix": {"absent": "x"}}], False),
        ([{"suffix": {"type": ".created"}}], True),
        ([{"suffix": {"type": ".CREATED"}}], False),
        ([{"prefix": {"type": "com."}}, {"suffix": {"type": ".deleted"}}], False),
        ([{"all": [{"prefix": {"type": "com."}}, {"exact": {"color": "red"}}]}], True),
        ([{"all": [{"prefix": {"type": "com."}}, {"exact": {"color": "blue"}}]}], False),
        ([{"any": [{"exact": {"color": "blue"}}, {"exact": {"color": "red"}}]}], True),
        ([{"any": [{"exact": {"color": "blue"}}]}], False),
        ([{"not": {"exact": {"color": "blue"}}}], True),
        ([{"not": {"exact": {"color": "red"}}}], False),
        ([{"not": {"any": [{"exact": {"color": "red"}}, {"prefix": {"type": "x"}}]}}], False),
        ([{"not": {"exact": {"absent": "x"}}}], True),
        ([{}], True),
        ([{"any": []}], True),
        ([{"all": []}], True),
        ([{"exact": {}}], True),
        ([{"not": {}}], True),
        ([{"not": {"any": []}}], True),
    ],
    ids=str,
)
def test_filter_dialects(filters: list[dict[str, Any]], passes: bool) -> None:
    assert compile_spec({"filters": filters})(EVENT) is passes


def test_filters_outweigh_filter_unless_they_are_empty() -> None:
    other = {"filter": {"attributes": {"type": "other"}}}
    assert compile_spec({**other, "filters": [{"exact": {"color": "red"}}]})(EVENT)
    assert not compile_spec({**other, "filters": []})(EVENT)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"filters": [{"cesql": "type = "}]}, r"spec\.filters\[0\]\.cesql: invalid CloudEvents SQL"),
        ({"filters": [{"exact": {"type": "a"}, "prefix": {"type": "a"}}]}, "multiple dialects found"),
        ({"filters": [{"exact": {"Type": "a"}}]}, "invalid attribute name 'Type'"),
        ({"filters": [{"exact": {"type": ""}}]}, "non-empty"),
        ({"filters": [{"regex": {"type": "a"}}]}, "unknown dialect"),
        ({"filters": [{"any": {"exact": {"type": "a"}}}]}, "must be a list"),
        ({"filters": [{"not": {"cesql": "x y"}}]}, r"spec\.filters\[0\]\.not\.cesql"),
        ({"filters": {"exact": {}}}, "must be a list"),
        ({"filter": {"attributes": {"a-b": "c"}}}, "invalid attribute name 'a-b'"),
        ({"filter": {"attributes": {"a": 1}}}, "must be a string"),
    ],
    ids=str,
)
def test_filters_that_cannot_be_evaluated_are_refused(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSpec, match=said):
        compile_spec(spec)
