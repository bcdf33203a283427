"""The official Kubernetes client for Python, unmodified."""

from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client, config, dynamic, watch

GROUP = ("serving.knative.dev", "v1", "default", "services")


@pytest.fixture(scope="module")
def api(server: Any) -> Iterator[client.ApiClient]:
    with config.new_client_from_config(str(server.kubeconfig)) as made:
        yield made
        made.rest_client.pool_manager.clear()


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def test_the_kubeconfig_carries_the_token(api: client.ApiClient) -> None:
    assert api.configuration.api_key["authorization"] == "Bearer secret-token"


def test_typed_objects_round_trip(api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(generate_name="typed-"), data={"k": "1"})
    made = core.create_namespaced_config_map("default", body)
    assert made.metadata.name.startswith("typed-")
    assert made.metadata.creation_timestamp is not None
    assert core.patch_namespaced_config_map(made.metadata.name, "default", {"data": {"x": "2"}}).data == {
        "k": "1",
        "x": "2",
    }
    made.data = {"k": "3"}
    with pytest.raises(client.ApiException) as refused:
        core.replace_namespaced_config_map(made.metadata.name, "default", made)
    assert refused.value.status == 409
    assert core.delete_namespaced_config_map(made.metadata.name, "default").status == "Success"
    assert {space.metadata.name for space in core.list_namespace().items} >= {"default", "kube-system", "zeroflow"}
    assert client.VersionApi(api).get_code().major == "1"


def test_jobs_merge_strategically(api: client.ApiClient) -> None:
    batch = client.BatchV1Api(api)
    container = client.V1Container(name="c", image="a", env=[client.V1EnvVar(name="A", value="1")])
    template = client.V1PodTemplateSpec(spec=client.V1PodSpec(restart_policy="Never", containers=[container]))
    body = client.V1Job(metadata=client.V1ObjectMeta(name="j"), spec=client.V1JobSpec(template=template))
    batch.create_namespaced_job("default", body)
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "b"}]}}}}
    patched = batch.patch_namespaced_job("j", "default", patch).spec.template.spec.containers[0]
    assert (patched.image, patched.env[0].value) == ("b", "1")
    batch.delete_namespaced_job("j", "default", propagation_policy="Foreground")
    assert batch.list_namespaced_job("default").items == []


def test_custom_objects(api: client.ApiClient) -> None:
    custom = client.CustomObjectsApi(api)
    custom.create_namespaced_custom_object(*GROUP, service("custom", traffic=[]))
    status = {"status": {"url": "http://x", "conditions": [{"type": "Ready", "status": "True"}]}}
    custom.patch_namespaced_custom_object_status(*GROUP, "custom", status)
    custom.patch_namespaced_custom_object(*GROUP, "custom", {"spec": {"template": {}}})
    found = custom.get_namespaced_custom_object(*GROUP, "custom")
    assert found["spec"] == {"traffic": [], "template": {}}
    assert found["status"]["url"] == "http://x"
    assert found["metadata"]["generation"] == 2
    with pytest.raises(client.ApiException) as missing:
        custom.get_namespaced_custom_object(*GROUP, "nope")
    assert missing.value.status == 404
    custom.delete_namespaced_custom_object(*GROUP, "custom")


def test_watch_goes_on_after_a_list(api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    version = core.list_namespaced_secret("default").metadata.resource_version
    core.create_namespaced_secret("default", {"metadata": {"name": "watched"}, "stringData": {"k": "v"}})
    core.delete_namespaced_secret("watched", "default")
    stream = watch.Watch().stream(
        core.list_namespaced_secret, "default", resource_version=version, timeout_seconds=2, _request_timeout=10
    )
    assert [(event["type"], event["object"].metadata.name) for event in stream] == [
        ("ADDED", "watched"),
        ("DELETED", "watched"),
    ]


def test_the_dynamic_client_discovers_applies_and_watches(api: client.ApiClient) -> None:
    found = dynamic.DynamicClient(api)
    services = found.resources.get(api_version="serving.knative.dev/v1", kind="Service")
    applied = found.server_side_apply(
        services, service("dynamic", traffic=[{"percent": 100}]), namespace="default", field_manager="tests"
    )
    assert applied.spec.traffic[0].percent == 100
    assert "dynamic" in [item.metadata.name for item in services.get(namespace="default").items]
    events = [event["object"].metadata.name for event in services.watch(namespace="default", timeout=1)]
    assert "dynamic" in events
    services.delete(name="dynamic", namespace="default")
