"""CustomResourceDefinitions of several versions: served as asked for, and none is lost that may be stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from api.conftest import Server

SCHEMA = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def version(name: str, *, storage: bool = False, served: bool = True) -> dict[str, Any]:
    return {"name": name, "served": served, "storage": storage, "schema": {"openAPIV3Schema": SCHEMA}}


def definition(plural: str, *versions: dict[str, Any], **spec: Any) -> dict[str, Any]:
    names = {"plural": plural, "singular": plural.rstrip("s"), "kind": plural.rstrip("s").capitalize()}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.many.example"},
        "spec": {"group": "many.example", "scope": "Namespaced", "names": names, "versions": list(versions), **spec},
    }


@pytest.fixture
def create(server: Server) -> Callable[..., tuple[int, Any]]:
    return lambda obj: server.call("POST", DEFINITIONS, obj)


def test_an_object_is_written_in_one_version_and_read_and_watched_in_another(server: Server, create: Any) -> None:
    versions = (version("v2", storage=True), version("v1"), version("v1alpha1", served=False))
    assert create(definition("herds", *versions, conversion={"strategy": "None"}))[0] == 201
    old, new = (f"/apis/many.example/{each}/namespaces/default/herds" for each in ("v1", "v2"))
    herd = {"apiVersion": "many.example/v1", "kind": "Herd", "metadata": {"name": "h"}, "spec": {"size": 3}}
    assert server.call("POST", old, herd)[0] == 201
    code, read = server.call("GET", f"{new}/h")
    assert (code, read["apiVersion"], read["spec"]) == (200, "many.example/v2", {"size": 3})
    listed = server.call("GET", old)[1]
    assert {listed["apiVersion"], *(each["apiVersion"] for each in listed["items"])} == {"many.example/v1"}
    changes = server.call("GET", f"{old}?watch=true&timeoutSeconds=1")[1]
    assert changes["object"]["apiVersion"] == "many.example/v1"
    assert server.call("GET", old.replace("/v1/", "/v1alpha1/"))[0] == 404


def test_a_version_in_which_objects_may_be_stored_stays(server: Server, create: Any) -> None:
    code, made = create(definition("barns", version("v1", storage=True)))
    assert (code, made["status"]["storedVersions"]) == (201, ["v1"])
    made["spec"]["versions"] = [version("v1"), version("v2", storage=True)]
    code, made = server.call("PUT", f"{DEFINITIONS}/barns.many.example", made)
    assert (code, made["status"]["storedVersions"]) == (200, ["v1", "v2"])
    made["spec"]["versions"] = [version("v2", storage=True)]
    code, refused = server.call("PUT", f"{DEFINITIONS}/barns.many.example", made)
    assert (code, refused["details"]["causes"][0]["field"]) == (422, "status.storedVersions[0]")
    assert 'Invalid value: "v1": must appear in spec.versions' in refused["message"]
    made["status"]["storedVersions"] = ["v2"]  # who has rewritten all objects says so
    code, made = server.call("PUT", f"{DEFINITIONS}/barns.many.example/status", made)
    assert code == 200, made
    made["spec"]["versions"] = [version("v2", storage=True)]
    assert server.call("PUT", f"{DEFINITIONS}/barns.many.example", made)[0] == 200


@pytest.mark.parametrize(
    ("strategy", "versions", "code", "words"),
    [
        ("Webhook", ("v1", "v2"), 422, "spec.conversion.strategy: Forbidden: this host calls no conversion webhooks"),
        ("Webhook", ("v1",), 201, ""),
        ("Magic", ("v1",), 422, 'Unsupported value: "Magic"'),
    ],
    ids=["webhook", "webhook-for-nothing", "unknown"],
)
def test_conversion_by_webhook_is_refused_where_it_would_be_needed(
    create: Any, strategy: str, versions: tuple[str, ...], code: int, words: str
) -> None:
    given = [version(each, storage=each == "v1") for each in versions]
    answered, body = create(
        definition(f"{'x' * (code % 7 + len(versions))}s", *given, conversion={"strategy": strategy})
    )
    assert (answered, words in str(body.get("message", ""))) == (code, True), body
