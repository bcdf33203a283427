"""What cannot be honoured is refused in the status, by the name of the field; nothing is made for it."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

URI = "store://models/refused/model.joblib"
SKLEARN = {"modelFormat": {"name": "sklearn"}, "storageUri": URI}


@pytest.fixture(scope="module", autouse=True)
def model(cluster: Any, constant: Any) -> None:
    cluster.put("models/refused/model.joblib", constant(1))


def ready(isvc: dict[str, Any]) -> dict[str, Any]:
    return next(found for found in isvc["status"]["conditions"] if found["type"] == "Ready")


@pytest.mark.parametrize(
    ("predictor", "reason", "words"),
    [
        ({"containers": [{"image": "x"}]}, "UnsupportedField", "spec.predictor.containers is not supported yet"),
        ({"model": SKLEARN, "logger": {"mode": "all"}}, "UnsupportedField", "spec.predictor.logger"),
        ({"model": SKLEARN, "batcher": {"maxBatchSize": 2}}, "UnsupportedField", "spec.predictor.batcher"),
        ({"model": SKLEARN, "nodeSelector": {"a": "b"}}, "UnsupportedField", "spec.predictor.nodeSelector"),
        ({"model": {**SKLEARN, "args": ["--x"]}}, "UnsupportedField", "spec.predictor.model.args"),
        ({"model": {**SKLEARN, "storage": {"key": "x"}}}, "UnsupportedField", "spec.predictor.model.storage"),
        ({"model": SKLEARN, "scaleMetric": "cpu"}, "InvalidField", "spec.predictor.scaleMetric is 'cpu'"),
        ({"model": SKLEARN, "canaryTrafficPercent": 101}, "InvalidField", "must be 0 to 100, got 101"),
        ({"model": SKLEARN, "minReplicas": 3, "maxReplicas": 2}, "InvalidField", "less than minReplicas 3"),
        ({"model": SKLEARN, "sklearn": {"storageUri": URI}}, "InvalidField", "contradicts spec.predictor.model"),
        ({"model": {**SKLEARN, "protocolVersion": "grpc-v2"}}, "InvalidField", "supported are v1 and v2"),
        ({"model": {"modelFormat": {"name": "sklearn"}}}, "InvalidField", "spec.predictor.model.storageUri is missing"),
        ({"model": {"storageUri": URI}}, "InvalidField", "spec.predictor.model.modelFormat.name is missing"),
        ({"tensorflow": {"storageUri": URI}}, "FormatNotSupported", "tensorflow is not served yet"),
        ({"xgboost": {"storageUri": URI}}, "FormatNotSupported", "is a sklearn model, but modelFormat says xgboost"),
        (
            {"model": {**SKLEARN, "runtime": "kserve-xgbserver"}},
            "NoSupportingRuntime",
            "kserve-xgbserver does not serve sklearn",
        ),
        (
            {"model": {**SKLEARN, "modelFormat": {"name": "sklearn", "version": "2"}}},
            "FormatNotSupported",
            "modelFormat.version 2 is not served",
        ),
        ({"model": {**SKLEARN, "runtime": "my-runtime"}}, "RuntimeNotRecognized", "'my-runtime' is not known"),
        (
            {"model": {**SKLEARN, "env": [{"name": "ZEROFLOW_MODEL_VOUCHED_BY", "value": "me"}]}},
            "InvalidField",
            "sets ZEROFLOW_MODEL_VOUCHED_BY, which the platform sets",
        ),
        (
            {"model": {**SKLEARN, "storageUri": "gs://bucket/model"}},
            "InvalidStorageUri",
            "cannot read 'gs://bucket/model'",
        ),
        ({"model": {**SKLEARN, "storageUri": "store://models/../../etc"}}, "InvalidStorageUri", "climbs out"),
        ({"model": {**SKLEARN, "storageUri": "file:///etc/passwd"}}, "InvalidInput", "lies outside the store"),
        ({"model": {**SKLEARN, "storageUri": "store://models/none"}}, "ModelNotFound", "there is nothing at"),
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
        ({"serving.kserve.io/deploymentMode": "RawDeployment"}, "deploymentMode: RawDeployment is not supported"),
        ({"serving.kserve.io/autoscalerClass": "hpa"}, "autoscalerClass is not supported"),
        ({"zeroflow.dev/canary-percent": "many"}, "must be 0 to 100, got 'many'"),
        ({"zeroflow.dev/trust-pickle": "yes"}, 'must be "true" or "false"'),
    ],
    ids=["mode", "autoscaler", "canary", "trust"],
)
def test_annotations_are_refused_by_name(cluster: Any, annotations: dict[str, str], words: str) -> None:
    assert words in ready(cluster.apply(f"annotated-{len(words)}", {"model": SKLEARN}, annotations))["message"]


@pytest.mark.parametrize("field", ["transformer", "explainer"])
def test_other_components_are_refused(cluster: Any, field: str) -> None:
    metadata = {"name": f"with-{field}", "namespace": "default"}
    spec = {"predictor": {"model": SKLEARN}, field: {"containers": [{"image": "x"}]}}
    cluster.resources.apply(
        {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": metadata, "spec": spec}
    )
    cluster.tell(cluster.get(f"with-{field}"))
    assert f"spec.{field} is not supported yet" in ready(cluster.get(f"with-{field}"))["message"]


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
    first = cluster.apply("once", {"containers": [{"image": "x"}]})
    cluster.tell(first)
    assert cluster.get("once")["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_official_examples_are_accepted_or_refused_by_name(cluster: Any, contracts: Path) -> None:
    """Each official InferenceService gets a verdict that names what is missing; none is ignored."""
    examples = sorted((contracts / "kserve" / "examples").glob("*.yaml"))
    assert examples
    verdicts, numbers = {}, itertools.count()
    for path in examples:
        for document in yaml.safe_load_all(path.read_text()):
            if not document or document["kind"] != "InferenceService":
                continue
            document["metadata"] |= {"namespace": "default", "name": f"example-{next(numbers)}"}
            isvc = cluster.resources.create(document)
            cluster.tell(isvc)
            verdicts[path.name] = ready(cluster.get(document["metadata"]["name"]))
    assert {verdict["status"] for verdict in verdicts.values()} == {"False"}  # their models lie in gs:// and on the web
    assert (
        "cannot read 'gs://kfserving-examples/models/sklearn/1.0/model'"
        in verdicts["sklearn-v1-sklearn.yaml"]["message"]
    )
    assert "spec.predictor.containers" in verdicts["custom-simple.yaml"]["message"]
    assert "spec.transformer" in verdicts["transformer-torchserve_image_transformer-transformer.yaml"]["message"]
    assert "spec.predictor.batcher" in verdicts["batcher-basic-batcher_v1beta1.yaml"]["message"]
    assert "RawDeployment" in verdicts["benchmark-sklearn_hpa.yaml"]["message"]


def test_stop_removes_what_runs_and_keeps_the_object(cluster: Any) -> None:
    cluster.apply("stopped", {"model": SKLEARN})
    assert cluster.service("stopped")
    isvc = cluster.apply("stopped", {"model": SKLEARN}, {"serving.kserve.io/stop": "true"})
    assert ready(isvc)["reason"] == "Stopped"
    assert cluster.resources.find("serving.knative.dev/v1", "Service", "default", "stopped-predictor") is None
    assert ready(cluster.apply("stopped", {"model": SKLEARN}))["status"] == "Unknown"
    assert cluster.service("stopped")
