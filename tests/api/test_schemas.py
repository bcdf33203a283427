"""A custom kind's schema is enforced: unknown fields, defaults, types, required fields, enums, patterns and bounds."""

import json
import urllib.error
import urllib.request

import pytest

from zeroflow.knative.local.api.schemas.pruning import default, prune, unknown
from zeroflow.knative.local.api.schemas.schema import BadSchema, compile_schema
from zeroflow.knative.local.api.schemas.validation import faults

SCHEMA = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 9},
        "ratio": {"type": "number"},
        "mode": {"type": "string", "enum": ["fast", "slow"], "default": "fast"},
        "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 3},
        "port": {"x-kubernetes-int-or-string": True},
        "note": {"type": "string", "nullable": True},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "anything": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "words": {"type": "array", "maxItems": 1, "items": {"type": "string"}},
        "steps": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "retries": {"type": "integer", "default": 3}},
            },
        },
    },
}
COMPILED = compile_schema(SCHEMA, "schema")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"size": 1}, []),
        ({"size": 5.0, "port": "http", "ratio": 1, "note": None, "labels": {"a": "b"}, "anything": {"x": [1]}}, []),
        ({}, ["size: Required value"]),
        ({"size": "5"}, ['size: Invalid value: "string": size in body must be of type integer: "string"']),
        ({"size": True}, ['size: Invalid value: "boolean": size in body must be of type integer: "boolean"']),
        ({"size": None}, ['size: Invalid value: "null": size in body must be of type integer: "null"']),
        ({"size": 0}, ["size: Invalid value: 0: size in body should be greater than or equal to 1"]),
        ({"size": 10}, ["size: Invalid value: 10: size in body should be less than or equal to 9"]),
        ({"size": 1, "mode": "other"}, ['mode: Unsupported value: "other": supported values: "fast", "slow"']),
        ({"size": 1, "name": "A"}, ["name: Invalid value: \"A\": name in body should match '^[a-z]+$'"]),
        ({"size": 1, "name": "abcd"}, ["name: Too long: may not be more than 3 bytes"]),
        (
            {"size": 1, "labels": {"a": 1}},
            ['labels.a: Invalid value: "integer": labels.a in body must be of type string: "integer"'],
        ),
        ({"size": 1, "steps": [{}]}, ["steps[0].name: Required value"]),
        (
            {"size": 1, "words": ["a", "b"]},
            ["words: Too many: 2: must have at most 1 items"],
        ),
        ({"size": 1, "steps": {}}, ['steps: Invalid value: "object": steps in body must be of type array: "object"']),
    ],
    ids=str,
)
def test_values_are_checked_in_the_words_of_the_api_server(value, said):
    assert [f"{cause.field}: {cause.message}" for cause in faults(COMPILED, value)] == said


def test_unknown_fields_are_named_by_their_paths_and_pruned():
    value = {"size": 1, "extra": {"deep": 1}, "steps": [{"name": "a", "typo": 1}], "anything": {"kept": 1}}
    assert list(unknown(COMPILED, value)) == ["extra", "steps[0].typo"]
    prune(COMPILED, value)
    assert value == {"size": 1, "steps": [{"name": "a"}], "anything": {"kept": 1}}


def test_defaults_are_filled_in_where_their_object_is():
    value = {"size": 1, "mode": None, "note": None, "steps": [{"name": "a"}, {"name": "b", "retries": 0}]}
    default(COMPILED, value)
    assert value["mode"] == "fast"
    assert value["note"] is None
    assert [step["retries"] for step in value["steps"]] == [3, 0]


@pytest.mark.parametrize("schema", [{"pattern": "("}, {"type": "text"}, {"properties": [1]}, {"items": {"type": "x"}}])
def test_a_schema_that_cannot_be_read_is_refused(schema):
    with pytest.raises(BadSchema):
        compile_schema(schema, "schema")


TRIGGER = {
    "apiVersion": "eventing.knative.dev/v1",
    "kind": "Trigger",
    "metadata": {"name": "t"},
    "spec": {"broker": "default", "subscriber": {"uri": "http://x.example"}},
}


def post(server, obj, query=""):
    path = "/apis/eventing.knative.dev/v1/namespaces/default/triggers"
    request = urllib.request.Request(
        f"{server.url}{path}{query}", json.dumps(obj).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer), answer.headers.get_all("Warning") or []
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), []


def test_a_misspelt_nested_field_is_refused_reported_or_dropped_as_asked(server):
    typo = TRIGGER | {"spec": TRIGGER["spec"] | {"delivery": {"retires": 3}}}
    status, answer, _ = post(server, typo, "?fieldValidation=Strict")
    assert (status, 'unknown field "spec.delivery.retires"' in answer["message"]) == (400, True)
    status, answer, warnings = post(server, typo, "?fieldValidation=Warn&dryRun=All")
    assert (status, answer["spec"]["delivery"]) == (201, {})
    assert any("spec.delivery.retires" in warning for warning in warnings)
    status, answer, warnings = post(server, typo, "?fieldValidation=Ignore&dryRun=All")
    assert (status, answer["spec"]["delivery"], warnings) == (201, {}, [])


def test_a_value_of_the_wrong_type_is_422_with_its_field(server):
    status, answer, _ = post(server, TRIGGER | {"spec": TRIGGER["spec"] | {"delivery": {"retry": "three"}}})
    assert status == 422
    assert [cause["field"] for cause in answer["details"]["causes"]] == ["spec.delivery.retry"]
    assert 'must be of type integer: "string"' in answer["message"]
