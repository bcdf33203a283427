"""`filterQuery`: what it finds, and that what it cannot mean is refused."""

from typing import Any

import pytest

VERSIONS: dict[str, dict[str, Any]] = {
    "one": {"n": 1, "auc": 0.91, "team": "blue", "ok": True, "a b": "x"},
    "two": {"n": 2, "auc": 0.5, "team": "Green", "ok": False, "input.train": "s3://b/x"},
    "three": {"n": 3.0, "team": "it's 100%", "big": 5_000_000_000},
    "four": {"team": 'ends with "', "n": "text"},
}


def as_properties(values: dict[str, Any]) -> dict[str, Any]:
    kinds = {bool: "bool", int: "int", float: "double", str: "string"}
    return {
        name: {
            "metadataType": f"Metadata{kinds[type(value)].capitalize()}Value",
            f"{kinds[type(value)]}_value": str(value) if type(value) is int else value,
        }
        for name, value in values.items()
    }


@pytest.fixture(scope="module")
def model(registry: Any) -> dict[str, Any]:
    made: dict[str, Any] = registry.model()
    for name, values in VERSIONS.items():
        author = "Ada" if name in ("one", "two") else "Bob"
        registry.version(made, name=name, author=author, customProperties=as_properties(values))
    registry.ok("PATCH", f"model_versions/{registry.version(made, name='five')['id']}", {"state": "ARCHIVED"})
    return made


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("name = 'one'", "one"),
        ('name = "one"', "one"),
        ("name != 'one'", "two three four five"),
        ("name <> 'one' and name <> 'two'", "three four five"),
        ("name LIKE 't%'", "two three"),
        ("name like 't_o'", "two"),
        ("name LIKE 'T%'", ""),
        ("name ILIKE 'T%'", "two three"),
        ("name IN ('one', 'four')", "one four"),
        ("state = 'ARCHIVED'", "five"),
        ("author = 'Ada'", "one two"),
        ("author = 'Ada' AND n > 1", "two"),
        ("n = 1", "one"),
        ("n >= 2", "two three"),
        ("n = 3", "three"),
        ("n IN (1, 3)", "one three"),
        ("n > 1.5", "two three"),
        ("n != 1", "two three"),
        ("n.string_value = 'text'", "four"),
        ("n.double_value = 3", "three"),
        ("n.int_value = 3", ""),
        ("big = 5000000000", "three"),
        ("auc > 0.9 OR team = 'Green'", "one two"),
        ("(auc > 0.9 OR team = 'Green') AND ok = false", "two"),
        ("auc > 0.9 OR team = 'Green' AND ok = true", "one"),
        ("ok = TRUE", "one"),
        ("ok != true", "two"),
        (r"team = 'it\'s 100%'", "three"),
        ('team = "it\'s 100%"', "three"),
        (r"team LIKE '%100\%'", "three"),
        ("team LIKE '%*%'", ""),
        ("team LIKE '%[%'", ""),
        (r"""team = 'ends with "'""", "four"),
        ("team ILIKE 'green'", "two"),
        ("`a b` = 'x'", "one"),
        ("input.train = 's3://b/x'", "two"),
        ("`input.train` LIKE 's3://%' -- a comment\n AND n = 2", "two"),
        ("nothing = 'x'", ""),
        ("nothing != 'x'", ""),
        ("description = 'd'", ""),
        ("createTimeSinceEpoch > 0", "one two three four five"),
        ("lastUpdateTimeSinceEpoch < 1", ""),
        ("id = 99999999999999999999999", ""),
        ("  ", "one two three four five"),
    ],
)
def test_finds_versions(registry: Any, model: dict[str, Any], query: str, expected: str) -> None:
    found = registry.ok("GET", f"registered_models/{model['id']}/versions", query={"filterQuery": query})
    assert [item["name"] for item in found["items"]] == expected.split()


def test_finds_by_parent_and_by_id_across_models(registry: Any, model: dict[str, Any]) -> None:
    query = {"filterQuery": f"registeredModelId = '{model['id']}' AND name = 'one'"}
    (found,) = registry.ok("GET", "model_versions", query=query)["items"]
    assert registry.ok("GET", "model_versions", query={"filterQuery": f"id = {found['id']}"})["items"] == [found]


def test_finds_artifacts_by_fields_that_only_some_types_have(registry: Any) -> None:
    version = registry.version()
    path = f"model_versions/{version['id']}/artifacts"
    registry.artifact(version, name="m", uri="s3://b/m", modelFormatName="sklearn")
    registry.artifact(version, name="onnx", uri="s3://b/o", modelFormatName="onnx")
    registry.ok("POST", path, {"artifactType": "metric", "name": "auc", "value": 0.75, "step": 7})
    registry.ok("POST", path, {"artifactType": "parameter", "name": "lr", "value": "0.75"})
    for query, names in (
        ("modelFormatName = 'sklearn'", ["m"]),
        ("value > 0.7", None),
        ("uri LIKE '%/o'", ["onnx"]),
    ):
        answer = registry.call("GET", path, query={"filterQuery": query})
        if names is None:
            assert answer.status == 400
        else:
            assert [item["name"] for item in answer.body["items"]] == names
    metrics = registry.ok("GET", path, query={"filterQuery": "value > 0.7 AND step = 7", "artifactType": "metric"})
    assert [item["name"] for item in metrics["items"]] == ["auc"]
    everywhere = registry.ok("GET", "model_artifacts", query={"filterQuery": "modelFormatName = 'no such'"})
    assert everywhere["items"] == []


@pytest.mark.parametrize(
    "query",
    [
        "name",
        "name =",
        "= 'x'",
        "name = x",
        "name = 'x",
        "name = 'x' AND",
        "(name = 'x'",
        "name = 'x')",
        "name = 'x' name = 'y'",
        "name IN 'x'",
        "name IN ()",
        "name IN ('x',)",
        "name == 'x'",
        "name ~ 'x'",
        "name = 5",
        "author = true",
        "id = 'x'",
        "id LIKE 'x'",
        "n LIKE 5",
        "ok > true",
        "n.int_value = 'x'",
        "n = 1e999",
        "n = 1x",
        "name = 'x'; DROP TABLE registry_contexts",
        "(" * 60 + "n = 1" + ")" * 60,
        " OR ".join(["n = 1"] * 101),
        "n IN (" + ",".join(["1"] * 501) + ")",
        "n = '" + "x" * 8_001 + "'",
    ],
    ids=lambda query: query[:30],
)
def test_what_makes_no_sense_is_refused_with_a_hint(registry: Any, query: str) -> None:
    answer = registry.call("GET", "model_versions", query={"filterQuery": query})
    assert answer.status == 400, answer
    assert answer.body["message"].startswith("invalid filterQuery: ")


@pytest.mark.parametrize("name", ["'; DROP TABLE x --", "a' OR '1'='1", "%", "_", "\\", "\\'", "`", "日本", "\u202e"])
def test_values_never_become_sql(registry: Any, name: str) -> None:
    made = registry.model(name=registry.model()["name"] + name)
    quoted = made["name"].replace("\\", "\\\\").replace("'", "\\'")
    for operator in ("=", "LIKE"):
        found = registry.ok("GET", "registered_models", query={"filterQuery": f"name {operator} '{quoted}'"})
        assert made["id"] in [item["id"] for item in found["items"]]


def test_a_filter_that_is_too_long_is_refused_as_any_other(registry: Any) -> None:
    answer = registry.call("GET", "model_versions", query={"filterQuery": f"name = '{'ü' * 9_000}'"})
    assert (answer.status, answer.body["code"]) == (400, "Bad Request")
    assert "at most 8000" in answer.body["message"]
