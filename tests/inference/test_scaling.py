"""Where a Deployment, an HPA or KEDA is asked for: what runs instead, and that the status says so."""

from typing import Any

import pytest

RAW = {"serving.kserve.io/deploymentMode": "RawDeployment"}
STANDARD = {"serving.kserve.io/deploymentMode": "Standard"}
CPU = {"metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 50}}}]}
PROMETHEUS = {"metrics": [{"type": "External", "external": {"metric": {"backend": "prometheus", "query": "x"}}}]}
NOT_A_DEPLOYMENT = "runs as a Knative Service, not as a Deployment"


def scaler(name: str) -> dict[str, str]:
    return {**STANDARD, "serving.kserve.io/autoscalerClass": name}


@pytest.fixture(scope="module")
def uri(cluster: Any, constant: Any) -> str:
    return str(cluster.put("models/scaled/model.joblib", constant(1)))


@pytest.mark.parametrize(
    ("annotations", "scaling", "expected", "adapted"),
    [
        ({}, {"scaleMetric": "rps", "scaleTarget": 5}, {"metric": "rps", "target": "5", "min-scale": "0"}, None),
        ({}, {"minReplicas": 0, "maxReplicas": 3}, {"min-scale": "0", "max-scale": "3"}, None),
        (RAW, {}, {"min-scale": "1", "max-scale": "1"}, NOT_A_DEPLOYMENT),
        (RAW, {"minReplicas": 0}, {"min-scale": "0", "max-scale": "1"}, NOT_A_DEPLOYMENT),
        (STANDARD, {"minReplicas": 2, "maxReplicas": 2}, {"min-scale": "2", "max-scale": "2"}, NOT_A_DEPLOYMENT),
        (
            {**RAW, "serving.kserve.io/metric": "memory", "serving.kserve.io/targetUtilizationPercentage": "80"},
            {"maxReplicas": 3},
            {"min-scale": "1", "max-scale": "3"},
            "predictor: 1 to 3 replicas, by concurrency instead of memory",
        ),
        (scaler("hpa"), {"scaleMetric": "cpu", "scaleTarget": 80}, {"max-scale": "1"}, NOT_A_DEPLOYMENT),
        (
            scaler("keda"),
            {"minReplicas": 1, "maxReplicas": 5, "autoScaling": CPU},
            {"min-scale": "1", "max-scale": "5"},
            "predictor: 1 to 5 replicas, by concurrency instead of cpu",
        ),
        (scaler("keda"), {"maxReplicas": 2, "autoScaling": PROMETHEUS}, {}, "instead of an External metric"),
        (scaler("none"), {"minReplicas": 2, "maxReplicas": 9}, {"min-scale": "2", "max-scale": "2"}, NOT_A_DEPLOYMENT),
        (scaler("external"), {}, {"min-scale": "1"}, "autoscalerClass external has no Deployment to scale here"),
        (RAW, {"deploymentStrategy": {"type": "Recreate"}}, {}, "predictor: deploymentStrategy is left to Knative"),
        (STANDARD, {"maxReplicas": 4, "scaleMetric": "concurrency", "scaleTarget": 7}, {"target": "7"}, "Knative Serv"),
        ({}, {"scaleMetric": "cpu", "scaleTarget": 50}, {}, "0 or more replicas, by concurrency instead of cpu"),
        (
            {"autoscaling.knative.dev/class": "hpa.autoscaling.knative.dev"},
            {"scaleMetric": "cpu", "scaleTarget": 50},
            {"class": "hpa.autoscaling.knative.dev", "metric": "cpu", "target": "50"},
            None,
        ),
    ],
    ids=str,
)
def test_the_model_is_served_and_the_status_says_how(
    cluster: Any,
    uri: str,
    request: pytest.FixtureRequest,
    annotations: dict[str, str],
    scaling: dict[str, Any],
    expected: dict[str, str],
    adapted: str | None,
) -> None:
    name = f"scaled-{abs(hash(request.node.name)) % 10**8}"
    declared = {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": uri}, **scaling}
    status = cluster.apply(name, declared, annotations)["status"]
    if "class" in expected:  # this host refuses the class, in Knative's words
        said = next(each for each in status["conditions"] if each["type"] == "Ready")["message"]
        assert "invalid value: hpa.autoscaling.knative.dev (this host has kpa" in said
        return
    told = {each["type"]: each for each in status["conditions"]}
    assert status["deploymentMode"] == "Knative"
    found = cluster.service(name)["spec"]["template"]["metadata"]["annotations"]
    prefix = "autoscaling.knative.dev/"
    ours = {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}
    assert {key: ours.get(key) for key in expected} == expected
    if not {"metric", "target"} & set(expected):
        assert not {"metric", "target"} & set(ours)
    if adapted is None:
        assert "Adapted" not in told
    else:
        assert (told["Adapted"]["status"], told["Adapted"]["severity"]) == ("True", "Info")
        assert adapted in told["Adapted"]["message"]
    if "instead of" not in (adapted or ""):
        assert "instead of" not in told.get("Adapted", {}).get("message", "")


def test_what_is_done_otherwise_goes_with_its_reason(cluster: Any, uri: str) -> None:
    declared = {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": uri}}
    kinds = {each["type"] for each in cluster.apply("back", declared, RAW)["status"]["conditions"]}
    assert "Adapted" in kinds
    kinds = {each["type"] for each in cluster.apply("back", declared)["status"]["conditions"]}
    assert "Adapted" not in kinds


def test_what_only_our_predictor_does_is_said_of_other_containers(cluster: Any, uri: str) -> None:
    containers = [{"image": "me/it", "command": ["true"]}]
    batcher, log = {"maxBatchSize": 4, "maxLatency": 100}, {"mode": "all", "url": "http://logs.example.com"}
    declared = {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": uri}, "batcher": batcher, "logger": log}
    found = cluster.apply("logged", declared, None, {"transformer": {"containers": containers, "logger": log}})
    (said,) = (each["message"] for each in found["status"]["conditions"] if each["type"] == "Adapted")
    assert said == "transformer: its container is not our predictor, and has no logger"
    found = cluster.apply("custom-logged", {"containers": containers, "batcher": batcher, "logger": log})
    (said,) = (each["message"] for each in found["status"]["conditions"] if each["type"] == "Adapted")
    assert [each.rpartition(" ")[2] for each in said.split("; ")] == ["logger", "batcher"]


def test_each_component_scales_by_itself(cluster: Any, uri: str) -> None:
    containers = [{"image": "me/it", "command": ["true"]}]
    declared = {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": uri}, "maxReplicas": 5, "autoScaling": CPU}
    spec = {"transformer": {"minReplicas": 2, "maxReplicas": 10, "autoScaling": CPU, "containers": containers}}
    found = cluster.apply("both", declared, scaler("hpa"), spec)["status"]["conditions"]
    said = next(each["message"] for each in found if each["type"] == "Adapted")
    assert "predictor: 1 to 5 replicas, by concurrency instead of cpu" in said
    assert "transformer: 2 to 10 replicas, by concurrency instead of cpu" in said


def test_an_old_name_of_the_service_account_is_taken(cluster: Any, uri: str) -> None:
    declared = {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": uri}, "serviceAccount": "serving"}
    cluster.apply("account", declared)
    assert cluster.service("account")["spec"]["template"]["spec"]["serviceAccountName"] == "serving"
