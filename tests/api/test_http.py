"""The HTTP surface: discovery, lists in pages, watches, and what bad requests get."""

import http.client
import json
import socket
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

MAPS = "/api/v1/namespaces/default/configmaps"
SERVICES = "/apis/serving.knative.dev/v1/namespaces/default/services"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def config_map(name: str, **fields: Any) -> dict[str, Any]:
    metadata = {"name": name} | fields.pop("metadata", {})
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **fields}


def service(name: str, **fields: Any) -> dict[str, Any]:
    metadata = {"name": name} | fields.pop("metadata", {})
    return {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": metadata, "spec": {}} | fields


@pytest.fixture
def namespace(server: Any, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"t{abs(hash(request.node.nodeid)) % 10**8}"
    server.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    server.call("DELETE", f"/api/v1/namespaces/{name}")


@contextmanager
def watching(server: Any, path: str) -> Iterator[Iterator[dict[str, Any]]]:
    address = urllib.parse.urlsplit(server.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=20)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status == 200
    try:
        yield (json.loads(line) for line in answer)
    finally:
        answer.close()
        connection.close()


def test_discovery_names_groups_versions_and_short_names(server: Any) -> None:
    groups = {group["name"] for group in server.call("GET", "/apis")[1]["groups"]}
    assert {"batch", "serving.knative.dev", "eventing.knative.dev", "serving.kserve.io"} <= groups
    resources = server.call("GET", "/apis/serving.knative.dev/v1")[1]["resources"]
    services = next(resource for resource in resources if resource["name"] == "services")
    assert services["shortNames"] == ["kservice", "ksvc"]
    assert "services/status" in {resource["name"] for resource in resources}
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    aggregated = server.call("GET", "/apis", accept=accept)[1]
    assert aggregated["kind"] == "APIGroupDiscoveryList"
    assert {item["metadata"]["name"] for item in aggregated["items"]} == groups


def test_openapi_offers_field_validation_for_every_kind(server: Any) -> None:
    index = server.call("GET", "/openapi/v3")[1]["paths"]
    for path in ("api/v1", "apis/serving.knative.dev/v1", "apis/batch/v1"):
        document = server.call("GET", index[path]["serverRelativeURL"])[1]
        patches = [item["patch"] for item in document["paths"].values() if "patch" in item]
        assert patches
        assert all("fieldValidation" in {p["name"] for p in patch["parameters"]} for patch in patches)


def test_a_list_comes_in_pages(server: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    for number in range(5):
        server.call("POST", path, config_map(f"c{number}"))
    first = server.call("GET", f"{path}?limit=2")[1]
    assert [item["metadata"]["name"] for item in first["items"]] == ["c0", "c1"]
    assert first["metadata"]["remainingItemCount"] == 3
    names, token = [], first["metadata"]["continue"]
    while token:
        page = server.call("GET", f"{path}?limit=2&continue={token}")[1]
        names += [item["metadata"]["name"] for item in page["items"]]
        assert page["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        token = page["metadata"].get("continue")
    assert names == ["c2", "c3", "c4"]
    assert server.call("GET", f"{path}?limit=2&continue=nonsense")[0] == 400


def test_a_watch_follows_a_list_without_a_gap_and_sees_selection_change(server: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    version = server.call("GET", path)[1]["metadata"]["resourceVersion"]
    server.call("POST", path, config_map("a", metadata={"labels": {"on": "yes"}}))
    with watching(server, f"{path}?watch=true&resourceVersion={version}&labelSelector=on%3Dyes") as events:
        assert (event := next(events))["type"] == "ADDED"
        assert event["object"]["kind"] == "ConfigMap"
        patch = {"metadata": {"labels": {"on": "no"}}}
        server.call("PATCH", f"{path}/a", patch, "application/merge-patch+json")
        assert next(events)["type"] == "DELETED"
        server.call("PATCH", f"{path}/a", {"metadata": {"labels": {"on": "yes"}}}, "application/merge-patch+json")
        assert next(events)["type"] == "ADDED"
        server.call("DELETE", f"{path}/a")
        assert next(events)["type"] == "DELETED"


def test_a_watch_ends_at_its_timeout_with_a_bookmark(server: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    with watching(server, f"{path}?watch=1&timeoutSeconds=1&allowWatchBookmarks=true") as events:
        assert [event["type"] for event in events] == ["BOOKMARK"]


def test_a_streaming_list_says_where_it_ends(server: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    server.call("POST", path, config_map("a"))
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1"
    with watching(server, f"{path}?{query}") as events:
        seen = list(events)
    assert [event["type"] for event in seen][:2] == ["ADDED", "BOOKMARK"]
    assert seen[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


@pytest.mark.parametrize("version", ["1", "999999999"], ids=["forgotten", "from the future"])
def test_a_watch_from_a_version_that_is_not_kept_gets_410(server: Any, version: str) -> None:
    server_reserved = server.call("GET", MAPS)[1]["metadata"]["resourceVersion"]
    assert int(server_reserved) < 999999999
    for number in range(1100 if version == "1" else 0):
        server.control("create", {"apiVersion": "v1", "kind": "Event", "metadata": {"name": f"e{number}"}})
    with watching(server, f"{MAPS}?watch=1&resourceVersion={version}") as events:
        event = next(events)
    assert event["type"] == "ERROR"
    assert event["object"]["code"] == 410
    assert event["object"]["reason"] == "Expired"


def test_a_table_has_the_printer_columns(server: Any, namespace: str) -> None:
    path = f"/apis/serving.knative.dev/v1/namespaces/{namespace}/services"
    made = server.call("POST", path, service("a"))[1]
    made["status"] = {"url": "http://a", "conditions": [{"type": "Ready", "status": "False", "reason": "Why"}]}
    assert server.call("PUT", f"{path}/a/status", made)[0] == 200
    table = server.call("GET", path, accept=TABLE)[1]
    assert table["kind"] == "Table"
    names = [column["name"] for column in table["columnDefinitions"]]
    assert names == ["Name", "URL", "LatestCreated", "LatestReady", "Ready", "Reason"]
    assert table["rows"][0]["cells"] == ["a", "http://a", None, None, "False", "Why"]


def test_the_main_resource_ignores_status_and_the_status_ignores_the_rest(server: Any, namespace: str) -> None:
    path = f"/apis/serving.knative.dev/v1/namespaces/{namespace}/services"
    made = server.call("POST", path, service("a", status={"url": "mine"}))[1]
    assert "status" not in made
    made["status"], made["spec"] = {"url": "theirs"}, {"template": {}}
    answered = server.call("PUT", f"{path}/a/status", made)[1]
    assert (answered["status"], answered["spec"]) == ({"url": "theirs"}, {})
    answered["spec"], answered["status"] = {"traffic": []}, {}
    replaced = server.call("PUT", f"{path}/a", answered)[1]
    assert (replaced["status"], replaced["spec"]) == ({"url": "theirs"}, {"traffic": []})


def test_a_dry_run_answers_and_keeps_nothing(server: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    assert server.call("POST", f"{path}?dryRun=All", config_map("a"))[0] == 201
    assert server.call("GET", f"{path}/a")[0] == 404
    server.call("POST", path, config_map("a", data={"k": "1"}))
    patch = {"data": {"k": "2"}}
    dry = server.call("PATCH", f"{path}/a?dryRun=All", patch, "application/merge-patch+json")[1]
    assert dry["data"] == {"k": "2"}
    assert server.call("DELETE", f"{path}/a?dryRun=All")[0] == 200
    assert server.call("DELETE", f"{path}/a", {"dryRun": ["All"]})[0] == 200
    assert server.call("GET", f"{path}/a")[1]["data"] == {"k": "1"}
    assert server.call("POST", f"{path}?dryRun=Some", config_map("b"))[0] == 400


def test_deleting_a_collection_takes_what_is_selected(server: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    for name, on in (("a", "yes"), ("b", "no")):
        server.call("POST", path, config_map(name, metadata={"labels": {"on": on}}))
    assert server.call("DELETE", f"{path}?labelSelector=on%3Dyes")[0] == 200
    assert [item["metadata"]["name"] for item in server.call("GET", path)[1]["items"]] == ["b"]


NEW = config_map("never")
DEEP = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"never"},"x":' + b"[" * 500 + b"]" * 500 + b"}"


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (json.dumps(NEW).encode()[:-10], 400, "no complete JSON document"),
        (b"", 400, "no complete JSON document"),
        (b"[]", 400, "expected a JSON object"),
        (b"\x00\xff", 400, "no complete JSON document"),
        (DEEP, 400, "deeper than 100 levels"),
        (b'{"x":"' + b"a" * (3 * 1024 * 1024) + b'"}', 413, "limit is 3145728 bytes"),
        (NEW | {"kind": "Secret"}, 400, "kind of the object (Secret)"),
        (NEW | {"apiVersion": "v2"}, 400, "apiVersion of the object (v2)"),
        (NEW | {"metadata": "x"}, 400, "metadata is no JSON object"),
        (config_map("Never"), 422, "metadata.name: Invalid value"),
        (config_map("a" * 254), 422, "no more than 253 characters"),
        (config_map("../../etc/passwd"), 422, "metadata.name"),
        ({"metadata": {}}, 422, "metadata.name: Required value"),
        (
            config_map("never", metadata={"name": 7}),
            400,
            "cannot unmarshal integer into Go struct field ConfigMap.metadata.name",
        ),
        (config_map("never", metadata={"namespace": "other"}), 400, "does not match the namespace on the URL"),
        (config_map("never", metadata={"labels": {"a b": "c"}}), 422, "metadata.labels"),
        (config_map("never", metadata={"labels": {"a": 7}}), 400, "field ConfigMap.metadata.labels.a of type string"),
        (config_map("never", metadata={"labels": ["a"]}), 400, "cannot unmarshal array"),
        (config_map("never", metadata={"annotations": {"a": {}}}), 400, "metadata.annotations.a of type string"),
        (config_map("never", metadata={"ownerReferences": [{}]}), 422, "metadata.ownerReferences[0].uid"),
        (config_map("never", metadata={"finalizers": [7]}), 400, "ConfigMap.metadata.finalizers[0] of type string"),
        (config_map("never", data={"a": 7}), 400, "field ConfigMap.data.a of type string"),
        (config_map("never", data=[]), 400, "ConfigMap.data of type object"),
        (config_map("never", binaryData={"a": "no base64!"}), 422, "must be base64"),
    ],
)
def test_a_bad_body_is_refused_with_a_reason_and_nothing_is_kept(server: Any, body: Any, code: int, said: str) -> None:
    before = server.call("GET", MAPS)[1]["items"]
    found, answer = server.call("POST", MAPS, body)
    assert (found, answer["kind"], answer["status"], answer["code"]) == (code, "Status", "Failure", code)
    assert said in answer["message"]
    assert server.call("GET", MAPS)[1]["items"] == before


def crd(**changes: Any) -> dict[str, Any]:
    names = {"plural": "things", "kind": "Thing"}
    version = {"name": "v1", "served": True, "storage": True} | changes.pop("version", {})
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]} | changes
    return {"metadata": {"name": "things.example.com"}, "spec": spec}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (crd(version={"name": 1}), "spec.versions[0].name"),
        (crd(version={"storage": False}), "spec.versions"),
        (crd(version={"additionalPrinterColumns": [{"name": "a"}]}), "spec.versions[0].additionalPrinterColumns[0]"),
        (crd(versions={}), "spec.versions"),
        (crd(scope="Everywhere"), "spec.scope"),
        (crd(names={"plural": "things"}), "spec.names.kind"),
        (crd(group="other.com"), "metadata.name"),
        ({"metadata": {"name": "things.example.com"}, "spec": []}, "spec"),
        ({"metadata": {"name": "things.example.com"}}, "spec"),
    ],
)
def test_a_definition_that_makes_no_kind_is_refused_by_its_field(server: Any, body: Any, field: str) -> None:
    code, answer = server.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body)
    assert code == 422
    assert answer["details"]["causes"][0]["field"].startswith(field)
    assert server.call("GET", "/apis/example.com/v1")[0] == 404


def test_a_body_that_stops_half_way_keeps_nothing(server: Any) -> None:
    address = urllib.parse.urlsplit(server.url)
    body = json.dumps(config_map("halfway")).encode()
    with socket.create_connection((address.hostname, address.port)) as sender:
        head = ["Host: x", "Content-Type: application/json", f"Content-Length: {len(body) + 1}"]
        sender.sendall("\r\n".join([f"POST {MAPS} HTTP/1.1", *head, "", ""]).encode() + body)
    assert server.call("GET", f"{MAPS}/halfway")[0] == 404


@pytest.mark.parametrize(
    ("content_type", "code"),
    [("text/plain", 415), ("application/xml", 415), ("application/vnd.kubernetes.protobuf", 400)],
)
def test_a_content_type_that_is_not_taken_is_refused(server: Any, content_type: str, code: int) -> None:
    assert server.call("POST", MAPS, b"{}", content_type)[0] == code


def test_yaml_is_taken_and_its_aliases_are_not(server: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    assert server.call("POST", path, b"metadata: {name: a}\ndata: {k: v}\n", "application/yaml")[0] == 201
    bomb = b"metadata: {name: b}\nx: &x [1]\ny: [*x, *x]\n"
    code, answer = server.call("POST", path, bomb, "application/yaml")
    assert code == 400
    assert "aliases" in answer["message"]
    code, answer = server.call("POST", path, b"a: [b\nc: }", "application/yaml")
    assert code == 400
    assert "no YAML document" in answer["message"]


@pytest.mark.parametrize(
    ("method", "path", "code", "reason"),
    [
        ("GET", f"{SERVICES}/nope", 404, "NotFound"),
        ("GET", "/apis/nope.example.com/v1", 404, "NotFound"),
        ("GET", "/apis/serving.knative.dev/v9/namespaces/default/services", 404, "NotFound"),
        ("GET", "/api/v1/namespaces/default/nopes", 404, "NotFound"),
        ("GET", f"{MAPS}/a/b/c/d", 404, "NotFound"),
        ("GET", f"{MAPS}/a/status", 404, "NotFound"),
        ("PUT", MAPS, 405, "MethodNotAllowed"),
        ("POST", "/apis", 405, "MethodNotAllowed"),
        ("DELETE", f"{SERVICES}/nope", 404, "NotFound"),
        ("GET", f"{MAPS}?labelSelector=a%20in", 400, "BadRequest"),
        ("GET", f"{MAPS}?limit=-1", 400, "BadRequest"),
        ("GET", f"{MAPS}?watch=1&resourceVersion=x", 400, "BadRequest"),
        ("DELETE", "/api/v1/configmaps", 400, "BadRequest"),
        ("DELETE", "/api/v1/namespaces/default", 403, "Forbidden"),
    ],
)
def test_errors_are_statuses_with_kubernetes_reasons(
    server: Any, method: str, path: str, code: int, reason: str
) -> None:
    found, answer = server.call(method, path)
    assert (found, answer["reason"], answer["apiVersion"]) == (code, reason, "v1")


def test_not_found_is_said_in_kubernetes_words(server: Any) -> None:
    answer = server.call("GET", f"{SERVICES}/x")[1]
    assert answer["message"] == 'services.serving.knative.dev "x" not found'
    assert answer["details"] == {"name": "x", "group": "serving.knative.dev", "kind": "services"}


def test_bare_pods_are_refused_because_nothing_would_run_them(server: Any) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": []}}
    code, answer = server.call("POST", "/api/v1/namespaces/default/pods", pod)
    assert code == 403
    assert "for Services and Jobs" in answer["message"]


def test_unknown_fields_are_refused_reported_or_ignored(server: Any, namespace: str) -> None:
    path = f"/apis/serving.knative.dev/v1/namespaces/{namespace}/services"
    body = service("a", spek={}, metadata={"labelz": {}})
    code, answer = server.call("POST", f"{path}?fieldValidation=Strict", body)
    assert code == 400
    assert 'unknown field "metadata.labelz", unknown field "spek"' in answer["message"]
    twice = b'{"metadata":{"name":"a","name":"a"}}'
    code, answer = server.call("POST", f"{path}?fieldValidation=Strict", twice)
    assert code == 400
    assert 'duplicate field "name"' in answer["message"]
    code, answer = server.call("POST", path, body)
    assert code == 201
    assert "spek" not in answer
    assert "labelz" not in answer["metadata"]


def test_a_stale_replace_and_a_stale_delete_conflict(server: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    stale = server.call("POST", path, config_map("a"))[1]
    server.call("PUT", f"{path}/a", stale | {"data": {"k": "1"}})
    code, answer = server.call("PUT", f"{path}/a", stale | {"data": {"k": "2"}})
    assert (code, answer["reason"]) == (409, "Conflict")
    uid = {"preconditions": {"uid": "another"}}
    assert server.call("DELETE", f"{path}/a", uid)[0] == 409


def test_an_immutable_secret_stays_as_it_is(server: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/secrets"
    made = server.call("POST", path, {"metadata": {"name": "s"}, "stringData": {"k": "v"}, "immutable": True})[1]
    assert (made["data"], made["type"]) == ({"k": "dg=="}, "Opaque")
    code, answer = server.call("PUT", f"{path}/s", made | {"data": {}})
    assert code == 422
    assert "immutable" in answer["message"]


def test_logs_are_read_tailed_and_followed_to_the_end(server: Any, eventually: Any) -> None:
    spec = {"containers": [{"name": "main"}, {"name": "side"}]}
    pod = server.control("create", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
    path = "/api/v1/namespaces/default/pods/p/log"
    code, answer = server.call("GET", f"{path}?container=main")
    assert code == 400
    assert "waiting to start" in answer["message"]
    log = Path(server.home) / "logs" / "default" / "p" / "main.log"
    log.parent.mkdir(parents=True)
    log.write_text("one\ntwo\nthree\n")
    assert server.call("GET", f"{path}?container=main")[1] == "one\ntwo\nthree\n"
    assert server.call("GET", f"{path}?container=main&tailLines=2")[1] == "two\nthree\n"
    assert server.call("GET", f"{path}?container=main&limitBytes=5")[1] == "one\nt"
    code, answer = server.call("GET", path)
    assert code == 400
    assert "choose one of: [main side]" in answer["message"]
    assert server.call("GET", f"{path}?container=../../x")[0] == 400
    code, answer = server.call("GET", f"{path}?container=main&tailLines=-1&limitBytes=0")
    assert code == 422
    assert "limitBytes: Invalid value: 0: must be greater than 0" in answer["message"]
    assert "tailLines: Invalid value: -1: must be greater than or equal to 0" in answer["message"]
    code, answer = server.call("GET", f"{path}?container=main&sinceSeconds=5&sinceTime=2026-01-01T00:00:00Z")
    assert code == 422
    assert "at most one of `sinceTime` or `sinceSeconds` may be specified" in answer["message"]
    pod["status"] = {"phase": "Running"}
    pod = server.control("status", pod)
    address = urllib.parse.urlsplit(server.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=20)
    connection.request("GET", f"{path}?container=main&follow=true&tailLines=1")
    answer = connection.getresponse()
    assert answer.readline() == b"three\n"
    with log.open("a") as file:
        file.write("four\n")
    assert answer.readline() == b"four\n"
    with log.open("a") as file:
        file.write("five")
    pod["status"] = {"phase": "Succeeded"}
    server.control("status", pod)
    assert answer.read() == b"five"
    connection.close()
