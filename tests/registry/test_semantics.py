"""What a Model Registry server means by each operation, over real HTTP, in both API versions."""

import base64
import json
from typing import Any

import pytest


@pytest.mark.parametrize("version", ["v1", "v1alpha3"])
def test_created_model_has_what_was_given_and_what_the_server_adds(registry: Any, version: str) -> None:
    name = f"créé {version} %_\\ 'x'"
    answer = registry.call(
        "POST",
        "registered_models",
        {"name": name, "externalId": f"ext {name}", "owner": "Ada", "language": ["en", "fr"], "readme": "# Hi"},
        version=version,
    )
    assert answer.status == 201
    assert answer.headers["content-type"] == "application/json; charset=UTF-8"
    body = answer.body
    assert body.pop("id").isdigit()
    assert body.pop("createTimeSinceEpoch") == body.pop("lastUpdateTimeSinceEpoch")
    assert body == {
        "name": name,
        "externalId": f"ext {name}",
        "owner": "Ada",
        "language": ["en", "fr"],
        "readme": "# Hi",
        "state": "LIVE",
        "customProperties": {},
    }
    for query in ({"name": name}, {"externalId": f"ext {name}"}):
        assert registry.ok("GET", "registered_model", query=query, version=version)["name"] == name


def test_both_versions_read_one_store(registry: Any) -> None:
    made = registry.ok("POST", "registered_models", {"name": "in both versions"}, version="v1")
    assert registry.ok("GET", f"registered_models/{made['id']}", version="v1alpha3") == made


def test_contexts_share_one_sequence_of_ids_and_an_id_of_another_kind_is_unknown(registry: Any) -> None:
    model = registry.model()
    version = registry.version(model)
    assert int(version["id"]) > int(model["id"])
    assert registry.call("GET", f"registered_models/{version['id']}").status == 404
    assert registry.call("GET", f"model_versions/{model['id']}").status == 404


CONFLICTS = {
    "model name": ("registered_models", lambda m, v, a: {"name": m["name"]}),
    "version name in its model": ("model_versions", lambda m, v, a: {"name": v["name"], "registeredModelId": m["id"]}),
    "artifact name in its version": (
        "model_versions/{v}/artifacts",
        lambda m, v, a: {"artifactType": "model-artifact", "name": a["name"], "uri": "s3://b/x"},
    ),
    "externalId of a version, for a model": (
        "registered_models",
        lambda m, v, a: {"name": m["name"] + "x", "externalId": v["externalId"]},
    ),
    "externalId of an artifact, for another type": (
        "artifacts",
        lambda m, v, a: {"artifactType": "doc-artifact", "externalId": a["externalId"]},
    ),
}


@pytest.mark.parametrize("what", CONFLICTS)
def test_taken_name_or_external_id_is_a_conflict(registry: Any, what: str) -> None:
    model = registry.model()
    version = registry.version(model, externalId=f"v {model['name']}")
    artifact = registry.artifact(version, externalId=f"a {model['name']}")
    path, body = CONFLICTS[what]
    answer = registry.call("POST", path.format(v=version["id"]), body(model, version, artifact))
    assert answer.status == 409
    assert answer.body["code"] == "Conflict"
    assert answer.body["message"].endswith("already exists: conflict")


def test_names_are_free_in_another_parent_and_for_another_type(registry: Any) -> None:
    first, second = registry.model(), registry.model()
    registry.version(first, name="1")
    version = registry.version(second, name="1")
    registry.artifact(version, name="same")
    registry.artifact(version, name="same", artifactType="doc-artifact")
    for _ in range(2):  # without a parent, names need not be unique
        registry.ok("POST", "model_artifacts", {"name": "free", "uri": "s3://b/x"})


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "message"),
    [
        ("registered_models", {"name": "n", "ext_id": "x"}, 400, "Bad Request", 'json: unknown field "ext_id"'),
        ("registered_models", {"name": "n", "id": "7"}, 400, "Bad Request", 'json: unknown field "id"'),
        ("registered_models", {}, 422, "Bad Request", "required field 'name' is zero value."),
        ("registered_models", {"name": ""}, 422, "Bad Request", "required field 'name' is zero value."),
        ("registered_models", {"name": None}, 422, "Bad Request", "required field 'name' is zero value."),
        (
            "model_versions",
            {"name": "1", "registeredModelId": ""},
            422,
            "Bad Request",
            "required field 'registeredModelId' is zero value.",
        ),
    ],
)
def test_texts_that_official_clients_match(
    registry: Any, path: str, body: Any, status: int, code: str, message: str
) -> None:
    answer = registry.call("POST", path, body)
    assert (answer.status, answer.body) == (status, {"code": code, "message": message})


BAD_BODIES: dict[str, tuple[bytes, str]] = {
    "cut in half": (b'{"name": "half', "not JSON"),
    "empty": (b"", "empty"),
    "an array": (b"[]", "must be a JSON object, got an array"),
    "raw NUL": (b'{"name": "a\0b"}', "not JSON"),
    "escaped NUL": (b'{"name": "a\\u0000b"}', "NUL"),
    "NUL in a key": (b'{"name": "a", "customProperties": {"\\u0000": {}}}', "NUL"),
    "half a surrogate pair": (b'{"name": "\\ud800"}', "surrogate"),
    "not UTF-8": (b'{"name": "\xff"}', "not UTF-8"),
    "duplicate key": (b'{"name": "a", "name": "b"}', "'name' is there twice"),
    "NaN": (b'{"name": "a", "customProperties": {"x": {"double_value": NaN}}}', "NaN"),
    "infinite": (b'{"name": "a", "customProperties": {"x": {"double_value": 1e999}}}', "too large"),
    "deep": (b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    "huge integer": (b'{"name": ' + b"9" * 5000 + b"}", "usable"),
    "name of a wrong type": (b'{"name": 5}', "field 'name' must be a string, got a number"),
    "name too long": (json.dumps({"name": "n" * 256}).encode(), "at most 255"),
    "a million characters": (json.dumps({"name": "n", "description": "d" * 1_000_000}).encode(), "at most 262144"),
    "unknown state": (b'{"name": "n", "state": "live"}', "must be one of LIVE, ARCHIVED"),
    "properties of a wrong type": (b'{"name": "n", "customProperties": []}', "must be an object, got an array"),
    "texts of a wrong type": (b'{"name": "n", "tasks": [1]}', "tasks[0]"),
}


@pytest.mark.parametrize("fault", BAD_BODIES)
def test_bad_body_is_refused_naming_the_fault(registry: Any, fault: str) -> None:
    body, expected = BAD_BODIES[fault]
    answer = registry.call("POST", "registered_models", body)
    assert answer.status == 400, answer
    assert answer.body["code"] == "Bad Request"
    assert expected in answer.body["message"]
    assert len(answer.body["message"]) < 500


def test_oversized_body_is_refused(registry: Any) -> None:
    answer = registry.call("POST", "registered_models", b'{"name": "' + b"n" * 9_000_000 + b'"}')
    assert (answer.status, answer.body["code"]) == (413, "Request Entity Too Large")
    # the connection, which the client keeps, is in order for what comes next
    assert registry.call("POST", "registered_models", {}).status == 422


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("registered_models/abc", 400),
        ("registered_models/2147483648", 400),
        ("registered_models/-1", 400),
        ("registered_models/2147483647", 404),
        ("model_versions/x", 400),
        ("model_artifacts/x", 400),
        ("artifacts/x", 400),
        ("artifacts/2147483647", 404),
        ("registered_model?name=no such", 404),
        ("registered_model?externalId=no such", 404),
        ("registered_model", 400),
        ("registered_model?name=a%00b", 400),
        ("model_version?name=1", 400),
        ("model_version?name=1&parentResourceId=x", 400),
        ("model_version?parentResourceId=1", 400),
        ("model_artifact?name=1", 400),
        ("artifact", 400),
        ("registered_models/2147483647/versions", 404),
        ("model_versions/2147483647/artifacts", 404),
        ("registered_models?pageSize=x", 400),
        ("registered_models?pageSize=-1", 400),
        ("registered_models?orderBy=NAME", 400),
        ("registered_models?sortOrder=asc", 400),
        ("registered_models?nextPageToken=%25", 400),
        ("registered_models?nextPageToken=bm9uZQ==", 400),
        ("artifacts?artifactType=model", 400),
        ("experiments/2147483647", 404),
        ("experiments/2147483647/experiment_runs", 404),
        ("experiment", 400),
        ("experiment_run?name=1", 400),
        ("experiment_runs/x", 400),
        ("experiment_runs/2147483647/artifacts", 404),
        ("experiment_runs/2147483647/metric_history", 404),
        ("experiment_runs/metric_history?stepIds=a", 400),
        ("serving_environment?name=no such", 404),
        ("serving_environments/2147483647/inference_services", 404),
        ("inference_service?name=1", 400),
        ("inference_services/2147483647/version", 404),
        ("inference_services/2147483647/serves", 404),
        ("nothing/here", 404),
    ],
)
def test_reading_what_is_not_there_or_not_well_asked(registry: Any, path: str, status: int) -> None:
    answer = registry.call("GET", path)
    assert answer.status == status, answer
    assert answer.body["code"] == {400: "Bad Request", 404: "Not Found"}[status]
    assert answer.body["message"]


def test_root_is_404_and_a_wrong_method_is_405(registry: Any) -> None:
    assert registry.raw("GET", "/").status == 404
    answer = registry.call("DELETE", "registered_models")
    assert (answer.status, answer.body["code"]) == (405, "Method Not Allowed")


def test_version_needs_a_model_that_exists(registry: Any) -> None:
    body = {"name": "1", "registeredModelId": registry.version()["id"]}
    assert registry.call("POST", "model_versions", body).status == 404


def test_version_below_a_model_takes_the_model_from_the_path(registry: Any) -> None:
    model, other = registry.model(), registry.model()
    path = f"registered_models/{model['id']}/versions"
    assert registry.ok("POST", path, {"name": "1"})["registeredModelId"] == model["id"]
    assert registry.ok("POST", path, {"name": "2", "registeredModelId": model["id"], "id": None})["name"] == "2"
    assert registry.call("POST", path, {"name": "3", "registeredModelId": other["id"]}).status == 400
    assert [item["name"] for item in registry.ok("GET", path)["items"]] == ["1", "2"]
    assert [item["name"] for item in registry.ok("GET", path, query={"name": "2"})["items"]] == ["2"]


@pytest.mark.parametrize(("length", "status"), [(240, 201), (255, 400)])
def test_name_of_a_version_shares_255_characters_with_its_models_id(registry: Any, length: int, status: int) -> None:
    body = {"name": "n" * length, "registeredModelId": registry.model()["id"]}
    assert registry.call("POST", "model_versions", body).status == status


def test_names_are_compared_exactly(registry: Any) -> None:
    base = registry.model()["name"]
    for name in (f"{base}a_b", f"{base}axb", f"{base}A_B", f"{base}%", f"{base}\\", f"{base}it's"):
        registry.model(name=name)
        assert registry.ok("GET", "registered_model", query={"name": name})["name"] == name


PROPERTIES = {
    "string": {"metadataType": "MetadataStringValue", "string_value": "ü 'q' \" \\"},
    "label": {"metadataType": "MetadataStringValue", "string_value": ""},
    "int": {"metadataType": "MetadataIntValue", "int_value": "-12"},
    "double": {"metadataType": "MetadataDoubleValue", "double_value": 0.1},
    "bool": {"metadataType": "MetadataBoolValue", "bool_value": False},
    "struct": {
        "metadataType": "MetadataStructValue",
        "struct_value": base64.b64encode(b'{"a": [1, null]}').decode(),
    },
    "proto": {"metadataType": "MetadataProtoValue", "type": "t", "proto_value": "AAE="},
}


def test_custom_properties_of_every_kind_come_back_as_given(registry: Any) -> None:
    made = registry.model(customProperties=PROPERTIES)
    assert registry.ok("GET", f"registered_models/{made['id']}")["customProperties"] == PROPERTIES


def test_integer_beyond_what_clients_read_comes_back_as_a_double(registry: Any) -> None:
    big = {"n": {"metadataType": "MetadataIntValue", "int_value": "5000000000"}}
    assert registry.model(customProperties=big)["customProperties"] == {
        "n": {"metadataType": "MetadataDoubleValue", "double_value": 5e9}
    }


@pytest.mark.parametrize(
    "prop",
    [
        {"metadataType": "MetadataIntValue", "int_value": 5},
        {"metadataType": "MetadataIntValue", "int_value": "5.0"},
        {"metadataType": "MetadataIntValue", "int_value": "9" * 18},
        {"metadataType": "MetadataStringValue", "string_value": 5},
        {"metadataType": "MetadataStringValue"},
        {"metadataType": "MetadataDoubleValue", "double_value": "1"},
        {"metadataType": "MetadataBoolValue", "bool_value": 1},
        {"metadataType": "MetadataStructValue", "struct_value": "not base64!"},
        {"metadataType": "MetadataStructValue", "struct_value": base64.b64encode(b"[1]").decode()},
        {"metadataType": "MetadataProtoValue", "proto_value": "AAE="},
        {"metadataType": "Other", "string_value": "x"},
        {"string_value": "x"},
        {"metadataType": "MetadataStringValue", "string_value": "x", "int_value": "1"},
        "x",
        None,
    ],
    ids=repr,
)
def test_malformed_property_is_refused(registry: Any, prop: Any) -> None:
    answer = registry.call("POST", "registered_models", {"name": "never", "customProperties": {"p": prop}})
    assert answer.status == 400, answer
    assert registry.call("GET", "registered_model", query={"name": "never"}).status == 404


def test_patch_changes_what_is_given_and_nothing_else(registry: Any) -> None:
    made = registry.model(description="d", owner="Ada", customProperties=PROPERTIES)
    path = f"registered_models/{made['id']}"
    changed = registry.ok(
        "PATCH",
        path,
        {"name": "ignored", "id": "1", "lastUpdateTimeSinceEpoch": "1", "state": "ARCHIVED", "owner": None},
    )
    assert int(changed["lastUpdateTimeSinceEpoch"]) > int(made["lastUpdateTimeSinceEpoch"])
    time = changed["lastUpdateTimeSinceEpoch"]
    assert changed == made | {"state": "ARCHIVED", "lastUpdateTimeSinceEpoch": time}
    assert registry.ok("PATCH", path, {"description": ""})["description"] == ""
    one = {"only": PROPERTIES["int"]}
    assert registry.ok("PATCH", path, {"customProperties": one})["customProperties"] == one
    assert registry.ok("PATCH", path, {"customProperties": None})["customProperties"] == one
    assert registry.ok("PATCH", path, {"customProperties": {}})["customProperties"] == {}
    assert registry.call("PATCH", path, {"ownr": "x"}).body["message"] == 'json: unknown field "ownr"'
    assert registry.call("PATCH", "registered_models/2147483647", {}).status == 404


def test_patch_does_not_move_a_version_to_another_model(registry: Any) -> None:
    version, other = registry.version(), registry.model()
    changed = registry.ok("PATCH", f"model_versions/{version['id']}", {"registeredModelId": other["id"], "author": "B"})
    assert (changed["registeredModelId"], changed["author"]) == (version["registeredModelId"], "B")


def test_patch_to_a_taken_external_id_is_a_conflict(registry: Any) -> None:
    first = registry.model(externalId="ext of " + registry.model()["name"])
    second = registry.model()
    assert (
        registry.call("PATCH", f"registered_models/{second['id']}", {"externalId": first["externalId"]}).status == 409
    )
    assert registry.ok("PATCH", f"registered_models/{first['id']}", {"externalId": first["externalId"]})


def test_update_times_are_strictly_increasing(registry: Any) -> None:
    models = [registry.model() for _ in range(5)]
    times = [
        int(registry.ok("PATCH", f"registered_models/{model['id']}", {})["lastUpdateTimeSinceEpoch"])
        for model in models * 3
    ]
    assert times == sorted(set(times))


def test_artifact_types_have_their_fields(registry: Any) -> None:
    version = registry.version()
    path = f"model_versions/{version['id']}/artifacts"
    for given in (
        {"artifactType": "doc-artifact", "name": "doc", "uri": "s3://b/doc"},
        {"artifactType": "dataset-artifact", "name": "data", "digest": "abc", "sourceType": "s3", "schema": "{}"},
        {"artifactType": "parameter", "name": "lr", "value": "0.1", "parameterType": "number"},
        {"artifactType": "model-artifact", "name": "model", "uri": "s3://b/m", "modelFormatName": "onnx"},
    ):
        made = registry.call("POST", path, given)
        assert made.status == 201
        assert given.items() <= made.body.items()
        assert registry.ok("GET", f"artifacts/{made.body['id']}") == made.body
    assert [one["name"] for one in registry.ok("GET", path)["items"]] == ["doc", "data", "lr", "model"]
    only = registry.ok("GET", path, query={"artifactType": "parameter"})
    assert [one["name"] for one in only["items"]] == ["lr"]
    query = {"name": "doc", "parentResourceId": version["id"]}
    assert registry.ok("GET", "artifact", query=query)["artifactType"] == "doc-artifact"
    assert registry.call("GET", "model_artifact", query=query).status == 404


def test_metric_is_upserted_by_name_and_its_step_is_spelled_by_version(registry: Any) -> None:
    path = f"model_versions/{registry.version()['id']}/artifacts"
    metric = {"artifactType": "metric", "name": "auc", "value": 0.7, "step": 3, "timestamp": "1700000000000"}
    made = registry.call("POST", path, metric)
    again = registry.call("POST", path, {**metric, "value": 1, "step": "4"}, version="v1")
    assert (made.status, again.status) == (201, 200)
    assert made.body["id"] == again.body["id"]
    assert (made.body["step"], again.body["step"], again.body["value"]) == (3, "4", 1.0)
    without = {"artifactType": "metric", "name": "loss"}
    assert registry.call("POST", path, without).status == 400


def test_artifact_with_an_id_is_updated_and_a_free_one_comes_under_the_version(registry: Any) -> None:
    version = registry.version()
    path = f"model_versions/{version['id']}/artifacts"
    made = registry.artifact(version)
    changed = registry.call("POST", path, {**made, "uri": "s3://b/new"})
    assert (changed.status, changed.body["uri"], changed.body["id"]) == (200, "s3://b/new", made["id"])
    free = registry.ok("POST", "model_artifacts", {"uri": "s3://b/free"})
    assert len(free["name"]) == 36
    assert registry.call("POST", path, free).status == 200
    assert [one["id"] for one in registry.ok("GET", path)["items"]] == [made["id"], free["id"]]
    elsewhere = f"model_versions/{registry.version()['id']}/artifacts"
    assert registry.call("POST", elsewhere, made).status == 400
    assert registry.call("POST", path, {**made, "id": "2147483647"}).status == 404


def test_artifact_type_cannot_be_changed(registry: Any) -> None:
    made = registry.artifact()
    answer = registry.call("PATCH", f"artifacts/{made['id']}", {"artifactType": "doc-artifact"})
    assert answer.status == 400
    assert answer.body["message"] == "cannot change artifact type from 'model-artifact' to 'doc-artifact'"
    assert registry.ok("PATCH", f"model_artifacts/{made['id']}", {"uri": "s3://b/y"})["uri"] == "s3://b/y"


@pytest.mark.parametrize("order", ["ID", "CREATE_TIME", "LAST_UPDATE_TIME"])
@pytest.mark.parametrize("direction", ["ASC", "DESC"])
def test_pages_hold_every_entity_once_in_order(registry: Any, order: str, direction: str) -> None:
    model = registry.model()
    versions = [registry.version(model) for _ in range(5)]
    registry.ok("PATCH", f"model_versions/{versions[1]['id']}", {"author": "touched"})
    expected = [version["id"] for version in versions]
    if order == "LAST_UPDATE_TIME":
        expected.append(expected.pop(1))
    if direction == "DESC":
        expected.reverse()
    path, query = f"registered_models/{model['id']}/versions", {"orderBy": order, "sortOrder": direction}
    seen, tokens, token = [], [], ""
    while True:
        page = registry.ok("GET", path, query={**query, "pageSize": "2", "nextPageToken": token})
        assert (page["pageSize"], page["size"]) == (2, len(page["items"]))
        seen += [item["id"] for item in page["items"]]
        token = page["nextPageToken"]
        tokens.append(token)
        if not token:
            break
    assert seen == expected
    assert len(tokens) == 3
    first = registry.ok("GET", path, query={**query, "pageSize": "2"})["nextPageToken"]
    assert first == tokens[0], "tokens are deterministic: clients recognise the end by the first one coming back"
    everything = registry.ok("GET", path, query=query)
    assert (everything["pageSize"], everything["size"], everything["nextPageToken"]) == (0, 5, "")
    other = {"orderBy": "ID" if order != "ID" else "CREATE_TIME", "nextPageToken": first}
    assert registry.call("GET", path, query=other).status == 400


def test_a_logo_is_a_uri_and_an_empty_one_clears_it(registry: Any) -> None:
    model = registry.model(logo="data:image/png;base64,AA==", licenseLink="https://example.com/a%20b?c=d#e")
    path = f"registered_models/{model['id']}"
    assert "logo" not in registry.ok("PATCH", path, {"logo": ""})
    for wrong in ("logo.png", "https://a b", "1:x", "https://x/%zz", "http://[::1", "a:b#c#d"):
        answer = registry.call("PATCH", path, {"licenseLink": wrong})
        assert (answer.status, "licenseLink" in answer.body["message"]) == (400, True), wrong
