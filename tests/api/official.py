"""What an operator written with the official client does: `official.py KUBECONFIG`; exits 0 when all of it works.

Run with several versions of the client, each in an environment of its own.
"""

import sys
import threading
from datetime import UTC, datetime

from kubernetes import client, config, dynamic, watch

CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "farms.example.org"},
    "spec": {
        "group": "example.org",
        "scope": "Namespaced",
        "names": {"plural": "farms", "singular": "farm", "kind": "Farm"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "properties": {"size": {"type": "integer", "default": 1}}},
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}
FARMS = ("example.org", "v1", "default", "farms")


def farm(name, **metadata):
    return {"apiVersion": "example.org/v1", "kind": "Farm", "metadata": {"name": name, **metadata}, "spec": {}}


def status_of(call, *args, **kwargs):
    """Return the code with which a call is refused."""
    try:
        call(*args, **kwargs)
    except client.ApiException as error:
        return error.status
    return 200


def typed(api):
    core, batch, lease = client.CoreV1Api(api), client.BatchV1Api(api), client.CoordinationV1Api(api)
    made = core.create_namespaced_config_map(
        "default", client.V1ConfigMap(metadata=client.V1ObjectMeta(generate_name="gen-"), data={"k": "v"})
    )
    assert made.metadata.name.startswith("gen-")
    assert len(made.metadata.name) == 9
    made.data["k"] = "w"
    stale = made.metadata.resource_version
    made = core.replace_namespaced_config_map(made.metadata.name, "default", made)
    made.metadata.resource_version = stale
    assert status_of(core.replace_namespaced_config_map, made.metadata.name, "default", made) == 409
    core.patch_namespaced_config_map(made.metadata.name, "default", {"data": {"x": "1"}}, dry_run="All")
    assert core.read_namespaced_config_map(made.metadata.name, "default").data == {"k": "w"}

    claim = client.V1PersistentVolumeClaim(
        metadata=client.V1ObjectMeta(name="disk"),
        spec={"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    )
    assert core.create_namespaced_persistent_volume_claim("default", claim).metadata.uid
    container = client.V1Container(name="main", image="any", command=["true"])
    template = client.V1PodTemplateSpec(spec=client.V1PodSpec(containers=[container], restart_policy="Never"))
    cron = client.V1CronJob(
        metadata=client.V1ObjectMeta(name="tick"),
        spec=client.V1CronJobSpec(
            schedule="@hourly", job_template=client.V1JobTemplateSpec(spec=client.V1JobSpec(template=template))
        ),
    )
    assert batch.create_namespaced_cron_job("default", cron).spec.schedule == "@hourly"
    assert batch.list_namespaced_cron_job("default").items[0].metadata.name == "tick"
    job = client.V1Job(metadata=client.V1ObjectMeta(name="once"), spec=client.V1JobSpec(template=template))
    batch.create_namespaced_job("default", job)
    now = datetime.now(UTC)
    held = client.V1Lease(
        metadata=client.V1ObjectMeta(name="leader"),
        spec=client.V1LeaseSpec(holder_identity="me", lease_duration_seconds=15, renew_time=now, acquire_time=now),
    )
    lease.create_namespaced_lease("default", held)
    found = lease.read_namespaced_lease("leader", "default")
    assert abs((found.spec.renew_time - now).total_seconds()) < 0.001
    assert client.VersionApi(api).get_code().minor == "32"
    misspelt = {"metadata": {"name": "odd"}, "daat": {"k": "v"}}
    assert status_of(core.create_namespaced_config_map, "default", misspelt, field_validation="Strict") == 400
    assert status_of(core.create_namespaced_config_map, "default", misspelt, field_validation="Ignore") == 200


def pages(api):
    core = client.CoreV1Api(api)
    for number in range(7):
        labels = {"batch": "pages"}
        body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name=f"p{number}", labels=labels))
        core.create_namespaced_config_map("default", body)
    names, token = [], None
    while True:
        page = core.list_namespaced_config_map("default", label_selector="batch=pages", limit=3, _continue=token)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert names == [f"p{number}" for number in range(7)]
    assert status_of(core.list_namespaced_config_map, "default", limit=3, _continue="bm9uc2Vuc2U=") == 400
    fields = core.list_namespaced_config_map("default", field_selector="metadata.name=p3")
    assert [item.metadata.name for item in fields.items] == ["p3"]
    core.delete_collection_namespaced_config_map("default", label_selector="batch=pages")
    assert not core.list_namespaced_config_map("default", label_selector="batch=pages").items


def owners(api):
    custom, core = client.CustomObjectsApi(api), client.CoreV1Api(api)

    def family(name):
        parent = custom.create_namespaced_custom_object(*FARMS, farm(name))
        owner = client.V1OwnerReference(
            api_version="example.org/v1",
            kind="Farm",
            name=name,
            uid=parent["metadata"]["uid"],
            controller=True,
            block_owner_deletion=True,
        )
        meta = client.V1ObjectMeta(name=f"{name}-child", owner_references=[owner])
        core.create_namespaced_config_map("default", client.V1ConfigMap(metadata=meta))

    for policy in ("Background", "Foreground"):
        family(policy.lower())
        custom.delete_namespaced_custom_object(*FARMS, policy.lower(), propagation_policy=policy)
        assert status_of(core.read_namespaced_config_map, f"{policy.lower()}-child", "default") == 404
        assert status_of(custom.get_namespaced_custom_object, *FARMS, policy.lower()) == 404
    family("orphan")
    custom.delete_namespaced_custom_object(*FARMS, "orphan", propagation_policy="Orphan")
    assert core.read_namespaced_config_map("orphan-child", "default").metadata.owner_references is None
    family("held")
    child = {"metadata": {"finalizers": ["example.org/hold"]}}
    core.patch_namespaced_config_map("held-child", "default", child)
    custom.delete_namespaced_custom_object(*FARMS, "held", propagation_policy="Foreground")
    assert custom.get_namespaced_custom_object(*FARMS, "held")["metadata"]["finalizers"] == ["foregroundDeletion"]
    core.patch_namespaced_config_map("held-child", "default", {"metadata": {"finalizers": None}})
    assert status_of(custom.get_namespaced_custom_object, *FARMS, "held") == 404


def operator(api):
    """Reconcile as operators do: list, watch from there, finalizer, status, bookmarks."""
    custom = client.CustomObjectsApi(api)
    begun = custom.list_namespaced_custom_object(*FARMS)["metadata"]["resourceVersion"]
    seen, ready = [], threading.Event()

    def follow():
        stream = watch.Watch()
        for event in stream.stream(
            custom.list_namespaced_custom_object,
            *FARMS,
            resource_version=begun,
            allow_watch_bookmarks=True,
            timeout_seconds=30,
        ):
            obj, meta = event["object"], event["object"]["metadata"]
            seen.append((event["type"], meta["name"]))
            if event["type"] == "DELETED":
                return
            if meta.get("deletionTimestamp"):
                custom.patch_namespaced_custom_object(*FARMS, meta["name"], {"metadata": {"finalizers": None}})
            elif "example.org/done" not in meta.get("finalizers", []):
                patch = {"metadata": {"finalizers": ["example.org/done"]}}
                custom.patch_namespaced_custom_object(*FARMS, meta["name"], patch)
            elif obj.get("status", {}).get("observedGeneration") != meta["generation"]:
                status = {"status": {"observedGeneration": meta["generation"], "size": obj["spec"]["size"]}}
                custom.patch_namespaced_custom_object_status(*FARMS, meta["name"], status)
            else:
                ready.set()

    follower = threading.Thread(target=follow)
    follower.start()
    custom.create_namespaced_custom_object(*FARMS, farm("managed"))
    assert ready.wait(20), seen
    found = custom.get_namespaced_custom_object(*FARMS, "managed")
    assert found["status"] == {"observedGeneration": 1, "size": 1}
    custom.delete_namespaced_custom_object(*FARMS, "managed")
    follower.join(20)
    assert seen[-1] == ("DELETED", "managed"), seen


def dynamically(api):
    found = dynamic.DynamicClient(api)
    farms = found.resources.get(api_version="example.org/v1", kind="Farm")
    farms.create(body=farm("dyn"), namespace="default")
    body = farm("dyn") | {"spec": {"size": 4}}
    farms.server_side_apply(body=body, namespace="default", field_manager="me", force_conflicts=True)
    assert farms.get(name="dyn", namespace="default").spec.size == 4
    farms.patch(
        name="dyn", namespace="default", body={"spec": {"size": 5}}, content_type="application/merge-patch+json"
    )
    farms.status.patch(
        name="dyn", namespace="default", body={"status": {"a": 1}}, content_type="application/merge-patch+json"
    )
    assert farms.get(name="dyn", namespace="default").status.a == 1
    events = farms.watch(namespace="default", name="dyn", timeout=1)
    assert [event["type"] for event in events] == ["ADDED"]
    farms.delete(name="dyn", namespace="default")
    services = found.resources.get(api_version="v1", kind="Service")
    assert services.api_version == "v1"


def main():
    api = config.new_client_from_config(sys.argv[1])
    client.ApiextensionsV1Api(api).create_custom_resource_definition(CRD)
    for part in (typed, pages, owners, operator, dynamically):
        part(api)
        print(part.__name__, "ok", flush=True)


main()
