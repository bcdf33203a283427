"""What cannot be honoured is refused in the status, by the name of the field; nothing is made for it."""

from typing import Any

import pytest

URI = "store://models/refused/model.joblib"
BARE = {"modelFormat": {"name": "sklearn"}}
SKLEARN = {"modelFormat": {"name": "sklearn"}, "storageUri": URI}


@pytest.fixture(scope="module", autouse=True)
def model(cluster: Any, constant: Any) -> None:
    cluster.put("models/refused/model.joblib", constant(1))


def ready(isvc: dict[str, Any]) -> dict[str, Any]:
    return next(found for found in isvc["status"]["conditions"] if found["type"] == "Ready")


@pytest.mark.parametrize(
    ("predictor", "reason", "words"),
    [
        ({"model": SKLEARN, "logger": {"mode": "some"}}, "InvalidSpec", "invalid logger type"),
        ({"model": SKLEARN, "logger": {"storage": {"path": "x"}}}, "UnsupportedField", "spec.predictor.logger.storage"),
        ({"model": SKLEARN, "batcher": {"rows": 2}}, "UnsupportedField", "spec.predictor.batcher.rows"),
        ({"model": SKLEARN, "batcher": {"timeout": 0}}, "InvalidField", "spec.predictor.batcher.timeout must be 1 or"),
        ({"model": SKLEARN, "storageUris": [{"uri": URI}]}, "InvalidField", "storageUri exclude each other"),
        ({"model": BARE, "storageUris": [{"uri": URI, "mountPath": "a"}]}, "InvalidField", "must be an absolute path"),
        ({"model": BARE, "storageUris": [{"uri": URI, "mountPath": "/a/../b"}]}, "InvalidField", "that climbs nowhere"),
        (
            {"model": BARE, "storageUris": [{"mountPath": "/a"}]},
            "InvalidField",
            "spec.predictor.storageUris[0].uri is mi",
        ),
        (
            {"model": BARE, "storageUris": "store://x"},
            "InvalidField",
            "must be a list of objects with uri and mountPath",
        ),
        (
            {"model": BARE, "storageUris": [{"uri": URI, "mountPath": "/a/b"}, {"uri": URI, "mountPath": "/c/d"}]},
            "InvalidField",
            "must have a common directory, got /a/b, /c/d",
        ),
        (
            {"model": BARE, "storageUris": [{"uri": URI, "path": "/mnt/models/a"}, {"uri": URI}]},
            "UnsupportedField",
            "for our predictor, which loads one location put at /mnt/models",
        ),
        (
            {"model": {**SKLEARN, "storageUri": "https://github.com/kserve/models.git"}},
            "InvalidStorageUri",
            "is a git repository, which is not cloned here",
        ),
        ({"model": SKLEARN, "hostNetwork": True}, "UnsupportedField", "spec.predictor.hostNetwork is not supported"),
        ({"model": SKLEARN, "workerSpec": {}}, "UnsupportedField", "spec.predictor.workerSpec is not supported"),
        ({"model": {**SKLEARN, "lifecycle": {"x": 1}}}, "UnsupportedField", "spec.predictor.model.lifecycle"),
        (
            {"model": {**SKLEARN, "storage": {"key": "x"}}},
            "StorageKeyNotFound",
            "specified storage key x not found in storage secret storage-config",
        ),
        (
            {"model": SKLEARN, "scaleMetric": "qps"},
            "InvalidField",
            "spec.predictor.scaleMetric is 'qps', supported are",
        ),
        ({"model": SKLEARN, "autoScaling": [1]}, "InvalidField", "spec.predictor.autoScaling must be an object"),
        ({"model": SKLEARN, "deploymentStrategy": {"type": "x"}}, "UnsupportedField", "spec.predictor.deploymentStr"),
        ({"model": SKLEARN, "canaryTrafficPercent": 101}, "InvalidSpec", "must be 0 to 100"),
        (
            {"model": SKLEARN, "minReplicas": 3, "maxReplicas": 2},
            "InvalidSpec",
            "MinReplicas cannot be greater than MaxReplicas",
        ),
        ({"model": SKLEARN, "sklearn": {"storageUri": URI}}, "InvalidSpec", "exactly one of [model, sklearn, xgboost"),
        ({"minReplicas": 1}, "InvalidSpec", "must be specified in PredictorSpec"),
        ({"model": {**SKLEARN, "protocolVersion": "v3"}}, "InvalidSpec", "invalid protocol v3. Must be one of"),
        (
            {"model": {**SKLEARN, "protocolVersion": "grpc-v1"}},
            "NoSupportingRuntime",
            "no runtime found to support predictor with model type: sklearn, protocol grpc-v1",
        ),
        (
            {"model": {"modelFormat": {"name": "huggingface"}}},
            "InvalidField",
            "spec.predictor.model.storageUri is missing",
        ),
        ({"model": {"storageUri": URI}}, "InvalidSpec", "spec.predictor.model.modelFormat.name: Required value"),
        ({"model": {**SKLEARN, "modelFormat": {"name": "fortran"}}}, "NoSupportingRuntime", "model type: fortran"),
        ({"xgboost": {"storageUri": URI}}, "FormatNotSupported", "is a sklearn model, but modelFormat says xgboost"),
        (
            {"model": {**SKLEARN, "runtime": "kserve-xgbserver"}},
            "NoSupportingRuntime",
            "kserve-xgbserver does not support specified framework/version sklearn",
        ),
        (
            {"model": {**SKLEARN, "runtime": "kserve-mlserver", "protocolVersion": "v1"}},
            "NoSupportingRuntime",
            "kserve-mlserver does not support specified protocol version v1",
        ),
        (
            {"model": {**SKLEARN, "modelFormat": {"name": "sklearn", "version": "2"}}},
            "NoSupportingRuntime",
            "model type: sklearn version 2",
        ),
        ({"model": {**SKLEARN, "runtime": "my-runtime"}}, "RuntimeNotRecognized", "'my-runtime' is not known"),
        (
            {"model": {**SKLEARN, "env": [{"name": "STORAGE_EMULATOR_HOST", "value": "http://10.0.0.1"}]}},
            "InvalidField",
            "sets STORAGE_EMULATOR_HOST, which the platform sets",
        ),
        (
            {"model": {**SKLEARN, "env": [{"name": "ZEROFLOW_MODEL_VOUCHED_BY", "value": "me"}]}},
            "InvalidField",
            "sets ZEROFLOW_MODEL_VOUCHED_BY, which the platform sets",
        ),
        ({"model": {**SKLEARN, "storageUri": "hdfs://bucket/model"}}, "InvalidStorageUri", "cannot read 'hdfs://"),
        ({"model": {**SKLEARN, "storageUri": "store://models/../../etc"}}, "InvalidStorageUri", "climbs out"),
        ({"model": {**SKLEARN, "storageUri": "file:///etc/passwd"}}, "InvalidInput", "lies outside the store"),
        ({"model": {**SKLEARN, "storageUri": "store://models/none"}}, "ModelNotFound", "there is nothing at"),
        (
            {"model": {**SKLEARN, "storageUri": "http://169.254.169.254/latest/meta-data"}},
            "Forbidden",
            "has the address 169.254.169.254, which is not public",
        ),
        ({"model": {**SKLEARN, "storageUri": "http://localhost/model"}}, "Forbidden", "which is not public"),
        ({"model": {**SKLEARN, "storageUri": "hf://org/model"}}, "ModelNotFound", "ZEROFLOW_HF_MIRROR"),
        ({"model": {**SKLEARN, "storageUri": "oci://registry.io/model:v1"}}, "ModelNotFound", "ZEROFLOW_OCI_MIRROR"),
        ({"model": {**SKLEARN, "storageUri": "model-registry://none/1"}}, "ModelNotFound", "no deployable version '1'"),
    ],
    ids=lambda value: value.replace(" ", "-")[:40] if isinstance(value, str) and " " in value else "",
)
def test_refused_by_name(
    cluster: Any, request: pytest.FixtureRequest, predictor: dict[str, Any], reason: str, words: str
) -> None:
    name = f"refused-{abs(hash(request.node.name)) % 10**8}"
    isvc = cluster.apply(name, predictor)
    found = ready(isvc)
    assert (found["status"], found["reason"]) == ("False", reason)
    assert words in found["message"]
    assert isvc["status"]["modelStatus"]["lastFailureInfo"]["message"] == found["message"]
    assert cluster.resources.find("serving.knative.dev/v1", "Service", "default", f"{name}-predictor") is None


@pytest.mark.parametrize(
    ("annotations", "words"),
    [
        ({"serving.kserve.io/deploymentMode": "ModelMesh"}, "deploymentMode: ModelMesh is not supported"),
        ({"serving.kserve.io/autoscalerClass": "mine"}, "[mine] is not a supported autoscaler class type"),
        ({"zeroflow.dev/canary-percent": "many"}, "must be 0 to 100, got 'many'"),
        ({"zeroflow.dev/trust-pickle": "yes"}, 'must be "true" or "false"'),
    ],
    ids=["mode", "no-autoscaler", "canary", "trust"],
)
def test_annotations_are_refused_by_name(cluster: Any, annotations: dict[str, str], words: str) -> None:
    assert words in ready(cluster.apply(f"annotated-{len(words)}", {"model": SKLEARN}, annotations))["message"]


def test_changed_bytes_are_refused(cluster: Any, constant: Any) -> None:
    uri = cluster.put("models/changed/model.joblib", constant(1))
    cluster.put("models/changed/model.joblib", constant(2), recorded_by=None)
    found = ready(cluster.apply("changed", {"model": {**SKLEARN, "storageUri": uri}}))
    assert "are not those that run/1/train recorded" in found["message"]


def test_foreign_service_is_not_taken_over(cluster: Any) -> None:
    spec = {"template": {"spec": {"containers": [{"image": "x", "command": ["true"]}]}}}
    metadata = {"name": "taken-predictor", "namespace": "default"}
    cluster.resources.create(
        {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": metadata, "spec": spec}
    )
    assert ready(cluster.apply("taken", {"model": SKLEARN}))["reason"] == "NameTaken"
    assert "ownerReferences" not in cluster.service("taken")["metadata"]


def test_what_knative_refuses_is_said(cluster: Any) -> None:
    found = ready(
        cluster.apply("denied", {"model": SKLEARN, "annotations": {"autoscaling.knative.dev/min-scale": "x"}})
    )
    assert (found["status"], found["reason"]) == ("False", "KnativeServiceRefused")
    assert "autoscaling.knative.dev/min-scale" in found["message"]


def test_refused_twice_is_written_once(cluster: Any) -> None:
    first = cluster.apply("once", {"model": SKLEARN, "hostNetwork": True})
    cluster.tell(first)
    assert cluster.get("once")["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_stop_removes_what_runs_and_keeps_the_object(cluster: Any) -> None:
    cluster.apply("stopped", {"model": SKLEARN})
    assert cluster.service("stopped")
    isvc = cluster.apply("stopped", {"model": SKLEARN}, {"serving.kserve.io/stop": "true"})
    assert ready(isvc)["reason"] == "Stopped"
    assert cluster.resources.find("serving.knative.dev/v1", "Service", "default", "stopped-predictor") is None
    assert ready(cluster.apply("stopped", {"model": SKLEARN}))["status"] == "Unknown"
    assert cluster.service("stopped")
