"""Serving environments, inference services and serve models, as v1alpha3 and v1 have them."""

from typing import Any

import pytest


def environment(registry: Any, **fields: Any) -> dict[str, Any]:
    name = "environment of " + registry.model()["name"]
    made: dict[str, Any] = registry.ok("POST", "serving_environments", {"name": name, **fields})
    return made


def service(registry: Any, model: dict[str, Any], where: dict[str, Any], **fields: Any) -> dict[str, Any]:
    body = {"registeredModelId": model["id"], "servingEnvironmentId": where["id"], **fields}
    made: dict[str, Any] = registry.ok("POST", "inference_services", body)
    return made


@pytest.mark.parametrize("version", ["v1alpha3", "v1"])
def test_environment_is_found_changed_and_unique(registry: Any, version: str) -> None:
    made = environment(registry, externalId="env " + registry.model()["name"])
    for query in ({"name": made["name"]}, {"externalId": made["externalId"]}):
        assert registry.ok("GET", "serving_environment", query=query, version=version) == made
    path = f"serving_environments/{made['id']}"
    assert registry.ok("PATCH", path, {"description": "d"}, version=version)["description"] == "d"
    assert registry.call("POST", "serving_environments", {"name": made["name"]}, version=version).status == 409
    assert registry.call("POST", "serving_environments", {}, version=version).status == 422


@pytest.mark.parametrize(("version", "status"), [("v1alpha3", 200), ("v1", 201)])
def test_inference_service_is_created_with_the_status_of_its_document(registry: Any, version: str, status: int) -> None:
    model, where = registry.model(), environment(registry)
    body = {"name": "s", "registeredModelId": model["id"], "servingEnvironmentId": where["id"], "runtime": "mlserver"}
    answer = registry.call("POST", "inference_services", body, version=version)
    assert (answer.status, answer.body["desiredState"]) == (status, "DEPLOYED")
    assert body.items() <= answer.body.items()
    found = registry.ok("GET", "inference_service", query={"name": "s", "parentResourceId": where["id"]})
    assert found == answer.body
    below = registry.ok("GET", f"serving_environments/{where['id']}/inference_services")["items"]
    assert below == [answer.body]


def test_inference_service_serves_the_version_it_names_or_the_newest(registry: Any) -> None:
    model, where = registry.model(), environment(registry)
    first, second = registry.version(model), registry.version(model)
    made = service(registry, model, where)
    path = f"inference_services/{made['id']}"
    assert registry.ok("GET", f"{path}/model")["id"] == model["id"]
    assert registry.ok("GET", f"{path}/version")["id"] == second["id"]
    assert (
        registry.ok("PATCH", path, {"modelVersionId": first["id"], "desiredState": "UNDEPLOYED"})["modelVersionId"]
        == first["id"]
    )
    assert registry.ok("GET", f"{path}/version")["id"] == first["id"]
    assert "modelVersionId" not in registry.ok("PATCH", path, {"modelVersionId": ""})
    empty = service(registry, registry.model(), where)
    assert registry.call("GET", f"inference_services/{empty['id']}/version").status == 404


def test_what_an_inference_service_names_must_be_there(registry: Any) -> None:
    model, where = registry.model(), environment(registry)
    other = registry.version()
    body = {"registeredModelId": model["id"], "servingEnvironmentId": where["id"]}
    for wrong, status in (
        ({"registeredModelId": where["id"]}, 404),
        ({"servingEnvironmentId": model["id"]}, 404),
        ({"modelVersionId": "2147483647"}, 404),
        ({"modelVersionId": other["id"]}, 400),
        ({"servingEnvironmentId": None}, 422),
        ({"desiredState": "GONE"}, 400),
    ):
        assert registry.call("POST", "inference_services", body | wrong).status == status, wrong
    made = service(registry, model, where)
    assert registry.call("PATCH", f"inference_services/{made['id']}", {"modelVersionId": other["id"]}).status == 400


def test_inference_services_are_filtered(registry: Any) -> None:
    model, where = registry.model(), environment(registry)
    blue = service(registry, model, where, runtime="blue")
    service(registry, model, where, runtime="green")
    for query in (f"runtime = 'blue' AND servingEnvironmentId = {where['id']}", f"id = {blue['id']}"):
        found = registry.ok("GET", "inference_services", query={"filterQuery": query})
        assert [one["id"] for one in found["items"]] == [blue["id"]]
    mine = registry.ok("GET", "inference_services", query={"filterQuery": f"registeredModelId = '{model['id']}'"})
    assert len(mine["items"]) == 2


def test_serve_models_are_kept_below_their_service(registry: Any) -> None:
    model, where = registry.model(), environment(registry)
    version = registry.version(model)
    made = service(registry, model, where)
    path = f"inference_services/{made['id']}/serves"
    properties = {"p": {"metadataType": "MetadataStringValue", "string_value": "x"}}
    body = {
        "name": "today",
        "modelVersionId": version["id"],
        "lastKnownState": "RUNNING",
        "customProperties": properties,
    }
    answer = registry.call("POST", path, body)
    assert answer.status == 201
    assert body.items() <= answer.body.items()
    unnamed = registry.ok("POST", path, {"modelVersionId": version["id"]}, version="v1")
    assert unnamed["lastKnownState"] == "UNKNOWN"
    assert [one["id"] for one in registry.ok("GET", path)["items"]] == [answer.body["id"], unnamed["id"]]
    filtered = registry.ok("GET", path, query={"filterQuery": "p = 'x' AND lastKnownState = 'RUNNING'"})
    assert [one["id"] for one in filtered["items"]] == [answer.body["id"]]
    assert registry.call("POST", path, body).status == 409
    assert registry.call("POST", path, {"modelVersionId": model["id"]}).status == 404
    assert registry.call("POST", path, {}).status == 422
