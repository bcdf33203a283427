"""Routes: shares, tags, names, what is missing, gradual rollout, visibility; Configurations and Routes by themselves.

After knative.dev/serving test/conformance/api.
"""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

APIS = "/apis/serving.knative.dev/v1/namespaces/default"


def env(**values):
    return {"env": [{"name": name, "value": str(value)} for name, value in values.items()]}


def revision_of(cluster, name, **options):
    return cluster.ask(name, **options).json()["env"]["K_REVISION"]


@pytest.fixture(scope="module")
def split(cluster):
    cluster.service("split", "runtime", container=env(V=1))
    traffic = [
        {"revisionName": "split-00001", "percent": 70, "tag": "stable"},
        {"latestRevision": True, "percent": 30, "tag": "next"},
        {"revisionName": "split-00001", "tag": "idle"},
    ]
    cluster.service("split", "runtime", container=env(V=2), traffic=traffic)
    yield "split"
    cluster.delete("split")


def test_status_traffic_names_revisions_tags_and_urls(cluster, split):
    traffic = cluster.get(split)["status"]["traffic"]
    told = [(one["revisionName"], one["latestRevision"], one.get("percent"), one["tag"]) for one in traffic]
    assert told == [
        ("split-00001", False, 70, "stable"),
        ("split-00002", True, 30, "next"),
        ("split-00001", False, None, "idle"),
    ]
    assert all(one["tag"] in one["url"] for one in traffic)
    assert cluster.host.request("GET", traffic[0]["url"].removeprefix(cluster.url)).status == 200


def test_a_tag_leads_to_its_revision_also_without_a_share(cluster, split):
    assert revision_of(cluster, "stable-split") == "split-00001"
    assert revision_of(cluster, "next-split") == "split-00002"
    assert revision_of(cluster, "idle-split") == "split-00001"


def test_a_header_names_a_tag_where_that_is_a_feature(cluster, split, wait_until):
    def asked(tag):
        return {revision_of(cluster, split, headers={"Knative-Serving-Tag": tag}) for _ in range(12)}

    assert cluster.configure("config-features", {"tag-header-based-routing": "enabled"}).status == 200
    try:
        wait_until(lambda: asked("next") == {"split-00002"}, "the feature")
        assert asked("stable") == {"split-00001"}
    finally:
        cluster.configure("config-features", {"tag-header-based-routing": None})


def test_shares_are_kept(cluster, split):
    assert share_is_kept(cluster, split, 400)


@pytest.mark.scale
def test_shares_are_kept_over_ten_thousand_requests(cluster, split):
    assert share_is_kept(cluster, split, 10_000)


def share_is_kept(cluster, split, requests):
    """Ask from eight clients; say whether the second revision's 30 % is within four standard deviations."""
    with ThreadPoolExecutor(8) as clients:
        counted = Counter(clients.map(lambda _: revision_of(cluster, split), range(requests)))
    print(f"{counted['split-00002']} of {requests} requests by 30 %")
    return abs(counted["split-00002"] - 0.3 * requests) < 4 * (requests * 0.3 * 0.7) ** 0.5


def test_a_change_of_traffic_makes_no_revision(cluster, split):
    template = {"container": env(V=2)}
    cluster.service(split, "runtime", traffic=[{"latestRevision": True, "percent": 100}], **template)
    assert cluster.get(split)["status"]["latestCreatedRevisionName"] == "split-00002"
    assert {revision_of(cluster, split) for _ in range(10)} == {"split-00002"}
    assert cluster.ask("stable-split").status == 404


def test_a_missing_revision_keeps_the_assignment(cluster, removed, wait_until):
    cluster.service(removed("kept"), "runtime")
    cluster.service("kept", "runtime", traffic=[{"revisionName": "kept-00042", "percent": 100}], wait=False)
    wait_until(lambda: cluster.condition("kept").get("status") == "False", "the route to fail")
    assigned = cluster.condition("kept", "AllTrafficAssigned", "routes")
    assert (assigned["status"], assigned["reason"]) == ("False", "RevisionMissing")
    assert assigned["message"] == 'Revision "kept-00042" referenced in traffic not found.'
    assert cluster.condition("kept")["reason"] == "RevisionMissing"
    assert revision_of(cluster, "kept") == "kept-00001"


def test_a_name_of_the_users_own_and_one_that_is_taken(cluster, removed, wait_until):
    cluster.service(removed("named"), "runtime", container=env(V=1), revision="named-blue")
    assert revision_of(cluster, "named") == "named-blue"
    cluster.service("named", "runtime", container=env(V=2), revision="named-blue", wait=False)
    wait_until(lambda: cluster.condition("named").get("status") == "False", "the name to be taken")
    routes = cluster.condition("named", "RoutesReady")
    assert routes["reason"] == "RevisionNameTaken"
    assert routes["message"].startswith('The revision name "named-blue" is taken by a conflicting Revision')
    assert cluster.ask("named").json()["env"]["V"] == "1"


def test_a_rollout_moves_step_by_step(cluster, removed, wait_until):
    duration = {"serving.knative.dev/rollout-duration": "4s"}
    cluster.service(removed("gradual"), "runtime", container=env(V=1), service_annotations=duration)
    cluster.service("gradual", "runtime", container=env(V=2), service_annotations=duration, wait=False)
    seen = []

    def over():
        traffic = cluster.get("gradual")["status"].get("traffic", [])
        shares = {one["revisionName"]: one.get("percent") for one in traffic}
        assert sum(shares.values()) == 100
        if not seen or seen[-1] != shares.get("gradual-00002", 0):
            seen.append(shares.get("gradual-00002", 0))
        return seen[-1] == 100

    wait_until(over, "the end of the rollout")
    assert seen == [0, 1, 26, 51, 76, 100]


def test_a_cluster_local_service_is_not_reached_from_outside(cluster, removed):
    label = {"networking.knative.dev/visibility": "cluster-local"}
    service = cluster.service(removed("inner"), "runtime", labels=label)
    assert service["status"]["url"] == "http://inner.default.svc.cluster.local"
    assert cluster.ask("inner").status == 404
    assert cluster.ask("x", headers={"Host": "inner.default.svc.cluster.local"}).status == 200


def test_objects_labels_and_conditions_are_those_of_knative(cluster, split):
    revision = cluster.get("split-00001", "revisions")
    labels, annotations = revision["metadata"]["labels"], revision["metadata"]["annotations"]
    assert labels["serving.knative.dev/configuration"] == labels["serving.knative.dev/service"] == "split"
    assert labels["serving.knative.dev/configurationGeneration"] == "1"
    assert labels["serving.knative.dev/routingState"] in ("active", "reserve")
    assert annotations["serving.knative.dev/creator"]
    for name, kind, types in (
        ("split", "services", ["ConfigurationsReady", "Ready", "RoutesReady"]),
        ("split", "configurations", ["Ready"]),
        ("split", "routes", ["AllTrafficAssigned", "CertificateProvisioned", "IngressReady", "Ready"]),
        ("split-00001", "revisions", ["Active", "ContainerHealthy", "Ready", "ResourcesAvailable"]),
    ):
        status = cluster.get(name, kind)["status"]
        assert [one["type"] for one in status["conditions"]] == types
        assert all(one["status"] in ("True", "False", "Unknown") for one in status["conditions"])
    active = next(one for one in revision["status"]["conditions"] if one["type"] == "Active")
    assert active["severity"] == "Info"


def test_a_configuration_and_a_route_work_without_a_service(cluster, wait_until):
    for name in ("left", "right"):
        configuration = {"metadata": {"name": name}, "spec": {"template": cluster.template(env(SIDE=name), "runtime")}}
        answer = cluster.host.request("POST", f"{APIS}/configurations", json=whole("Configuration", configuration))
        assert answer.status == 201, answer.data
    traffic = [{"configurationName": "left", "percent": 50}, {"configurationName": "right", "percent": 50}]
    route = {"metadata": {"name": "both"}, "spec": {"traffic": traffic}}
    assert cluster.host.request("POST", f"{APIS}/routes", json=whole("Route", route)).status == 201
    wait_until(lambda: cluster.condition("both", kind="routes").get("status") == "True", "the route")
    assert cluster.get("left", "configurations")["status"]["latestReadyRevisionName"] == "left-00001"
    assert {cluster.ask("both").json()["env"]["SIDE"] for _ in range(40)} == {"left", "right"}
    assert cluster.ask("both").json()["env"]["K_SERVICE"] == ""
    for kind, name in (("routes", "both"), ("configurations", "left"), ("configurations", "right")):
        cluster.host.request("DELETE", f"{APIS}/{kind}/{name}")
    wait_until(lambda: cluster.ask("both").status == 404, "the route to go")


def test_a_route_to_a_configuration_that_is_not_there(cluster, wait_until):
    route = {"metadata": {"name": "astray"}, "spec": {"traffic": [{"configurationName": "none", "percent": 100}]}}
    assert cluster.host.request("POST", f"{APIS}/routes", json=whole("Route", route)).status == 201
    wait_until(lambda: cluster.condition("astray", kind="routes").get("status") == "False", "the route to fail")
    assert cluster.condition("astray", kind="routes")["reason"] == "ConfigurationMissing"
    cluster.host.request("DELETE", f"{APIS}/routes/astray")


def whole(kind, obj):
    return {"apiVersion": "serving.knative.dev/v1", "kind": kind} | obj


def test_who_created_a_service_is_written_down_and_cannot_be_changed(cluster, split):
    annotations = cluster.get(split)["metadata"]["annotations"]
    assert annotations["serving.knative.dev/creator"] == annotations["serving.knative.dev/lastModifier"]
    patch = {"metadata": {"annotations": {"serving.knative.dev/creator": "somebody else"}}}
    headers = {"Content-Type": "application/merge-patch+json"}
    refused = cluster.host.request("PATCH", f"{APIS}/services/{split}", json=patch, headers=headers)
    assert refused.status == 400
    assert (
        "annotation value is immutable: metadata.annotations.serving.knative.dev/creator" in refused.json()["message"]
    )
