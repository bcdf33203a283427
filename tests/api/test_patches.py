"""Merge patch, JSON patch, strategic merge patch, and selectors and JSONPath beside them."""

from typing import Any

import pytest

from zeroflow.knative.local.api import jsonpath, times
from zeroflow.knative.local.api.errors import BadRequest, Invalid
from zeroflow.knative.local.api.patches import json_patch, merge_patch, strategic_patch
from zeroflow.knative.local.api.selectors import field_selector, label_selector


# The examples of RFC 7386, appendix A.
@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_follows_the_rfc(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch(target, patch) == result


def test_json_patch_is_all_or_nothing() -> None:
    obj = {"spec": {"a": 1}}
    assert json_patch(obj, [{"op": "replace", "path": "/spec/a", "value": 2}]) == {"spec": {"a": 2}}
    steps = [{"op": "replace", "path": "/spec/a", "value": 3}, {"op": "test", "path": "/spec/a", "value": 4}]
    with pytest.raises(Invalid):
        json_patch(obj, steps)
    assert obj == {"spec": {"a": 1}}


@pytest.mark.parametrize(
    "operations",
    [
        {"op": "add"},
        [{"op": "nonsense", "path": "/a"}],
        [{"path": "/a"}],
        ["add"],
        [{"op": "add", "path": 3, "value": 1}],
        [{"op": "copy", "from": "/spec", "path": f"/spec/{index}"} for index in range(60)],
    ],
    ids=["no list", "unknown operation", "no operation", "no object", "no path", "copies that double"],
)
def test_a_json_patch_that_cannot_be_read_is_refused(operations: Any) -> None:
    with pytest.raises(BadRequest):
        json_patch({"spec": {"a": "x" * 1000}}, operations)


def test_strategic_patch_merges_containers_by_name() -> None:
    pod = {"containers": [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}, {"name": "b"}]}
    patch = {
        "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
        "containers": [{"name": "a", "image": "2", "env": [{"name": "Y", "value": "2"}]}],
    }
    assert strategic_patch(pod, patch) == {
        "containers": [
            {"name": "b"},
            {"name": "a", "image": "2", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]},
        ]
    }
    removed = strategic_patch(pod, {"containers": [{"name": "a", "$patch": "delete"}]})
    assert removed == {"containers": [{"name": "b"}]}
    assert strategic_patch({"command": ["a", "b"]}, {"command": ["c"]}) == {"command": ["c"]}
    finalizers = {"$deleteFromPrimitiveList/finalizers": ["a"]}
    assert strategic_patch({"finalizers": ["a", "b"]}, finalizers) == {"finalizers": ["b"]}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("a=1", True),
        ("a==1,b=2", True),
        ("a!=1", False),
        ("missing!=1", True),
        ("a in (0,1)", True),
        ("a notin (0,1)", False),
        ("missing notin (0)", True),
        ("a", True),
        ("!a", False),
        ("!missing,b in (2, 3)", True),
        ("example.com/x=", True),
    ],
)
def test_label_selectors(selector: str, matches: bool) -> None:
    assert label_selector(selector)({"a": "1", "b": "2", "example.com/x": ""}) is matches


@pytest.mark.parametrize("selector", ["a in", "a in (", "=b", "a b", "a>1", "a=b=c"])
def test_an_unreadable_label_selector_is_refused(selector: str) -> None:
    with pytest.raises(BadRequest, match="unable to parse label selector"):
        label_selector(selector)


def test_field_selectors() -> None:
    obj = {"metadata": {"name": "x"}, "status": {"phase": "Running"}}
    assert field_selector("metadata.name=x,status.phase!=Failed")(obj)
    assert not field_selector("metadata.name!=x")(obj)
    assert field_selector("spec.nodeName=")(obj)
    with pytest.raises(BadRequest):
        field_selector("metadata.name")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (".status.url", "u"),
        (".status.conditions[?(@.type=='Ready')].status", "True"),
        ('.status.conditions[?(@.type=="Ready")].status', "True"),
        (".status.traffic[?(@.latestRevision==true)].percent", 80),
        (r".metadata.labels['serving\.knative\.dev/x']", "y"),
        (r".metadata.annotations.eventing\.knative\.dev/broker\.class", "C"),
        (".status.conditions[0].type", "Other"),
        (".status.conditions[*].type", "Other"),
        (".nothing.here", None),
        (".status.conditions[?(", None),
    ],
)
def test_printer_columns_find_what_upstream_definitions_ask_for(path: str, value: Any) -> None:
    obj = {
        "metadata": {
            "labels": {"serving.knative.dev/x": "y"},
            "annotations": {"eventing.knative.dev/broker.class": "C"},
        },
        "status": {
            "url": "u",
            "conditions": [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}],
            "traffic": [{"percent": 20}, {"latestRevision": True, "percent": 80}],
        },
    }
    assert jsonpath.first(path, obj) == value


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (119, "119s"), (120, "2m"), (130, "2m10s"), (3599, "59m"), (3 * 3600 + 60, "3h1m"), (90000, "25h")],
)
def test_durations_read_as_kubectl_prints_them(seconds: int, text: str) -> None:
    assert times.human(seconds) == text
