"""Credentials reach the predictor as references to Secrets; the refusal of a location is an event."""

import base64
import json
from typing import Any

import pytest
from sqlalchemy import select

from zeroflow.functions.inference.location import locate
from zeroflow.functions.inference.modelspec import parse_model
from zeroflow.functions.inference.refusals import REFUSED
from zeroflow.metadata.events import EventRecord
from zeroflow.predictions import refusal

KEYS = {"AWS_ACCESS_KEY_ID": "minio", "AWS_SECRET_ACCESS_KEY": "minio123"}


def encoded(values: dict[str, str]) -> dict[str, str]:
    return {name: base64.b64encode(value.encode()).decode() for name, value in values.items()}


@pytest.fixture(scope="module", autouse=True)
def declared(cluster: Any) -> None:
    """What KServe's s3 and storageSpec examples declare."""
    annotations = {
        "serving.kserve.io/s3-endpoint": "127.0.0.1:9",
        "serving.kserve.io/s3-usehttps": "0",
        "serving.kserve.io/s3-region": "us-east-2",
    }
    metadata = {"name": "mysecret", "namespace": "default", "annotations": annotations}
    cluster.resources.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded(KEYS)})
    account = {"name": "sa", "namespace": "default"}
    cluster.resources.create(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account, "secrets": [{"name": "mysecret"}]}
    )
    config = {"type": "s3", "access_key_id": "a", "secret_access_key": "b", "endpoint_url": "http://127.0.0.1:9"}
    data = encoded({"localMinIO": json.dumps({**config, "bucket": "mlpipeline"}), "broken": "no json"})
    metadata = {"name": "storage-config", "namespace": "default"}
    cluster.resources.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})


def told(cluster: Any, name: str) -> dict[str, Any]:
    isvc: dict[str, Any] = cluster.get(name)
    return next(found for found in isvc["status"]["conditions"] if found["type"] == "Ready")


def declare(cluster: Any, name: str, model: dict[str, Any], **predictor: Any) -> Any:
    """Apply an InferenceService whose storage may not answer: the event is told again later, then."""
    metadata = {"name": name, "namespace": "default", "annotations": {"zeroflow.dev/trust-pickle": "true"}}
    spec = {"predictor": {"model": {"modelFormat": {"name": "sklearn"}, **model}, **predictor}}
    isvc = cluster.resources.apply(
        {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": metadata, "spec": spec}
    )
    return cluster.send("dev.knative.apiserver.resource.update", isvc)


def test_storage_that_does_not_answer_is_said_and_asked_again(cluster: Any) -> None:
    answer = declare(cluster, "by-account", {"storageUri": "s3://examples/mnist"}, serviceAccountName="sa")
    assert answer.status_code == 503
    assert told(cluster, "by-account")["reason"] == "StorageUnavailable"
    assert "s3://examples/mnist" in told(cluster, "by-account")["message"]
    assert "minio123" not in json.dumps(cluster.get("by-account"))


def test_storage_key_names_the_location(cluster: Any) -> None:
    storage = {"key": "localMinIO", "path": "sklearn", "parameters": {"bucket": "example-models"}}
    assert declare(cluster, "by-key", {"storage": storage}).status_code == 503
    assert "s3://example-models/sklearn" in told(cluster, "by-key")["message"]


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        ({"key": "none"}, "it has broken, localMinIO"),
        ({"key": "broken"}, "is no JSON object"),
        ({"key": "localMinIO", "parameters": {"type": "hdfs"}}, "must be one of: [s3, gs]"),
        ({"path": "x", "parameters": {"type": "s3"}}, "names no bucket"),
        ({"key": "localMinIO", "schemaPath": "x"}, "schemaPath is not supported"),
    ],
    ids=["no-key", "no-json", "type", "no-bucket", "schema"],
)
def test_storage_that_cannot_be_meant_is_refused(cluster: Any, storage: dict[str, Any], words: str) -> None:
    name = f"storage-{len(words)}"
    assert declare(cluster, name, {"storage": storage}).status_code == 204
    assert words in told(cluster, name)["message"]


def test_scheduling_and_gpus_reach_the_revision(cluster: Any, constant: Any) -> None:
    uri = cluster.put("models/scheduled/model.joblib", constant(1))
    model = {"storageUri": uri, "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    pod = {"nodeSelector": {"accelerator": "h200"}, "tolerations": [{"key": "gpu", "operator": "Exists"}]}
    declare(cluster, "scheduled", model, **pod, logger={"mode": "all", "url": "http://x/"}, batcher={"maxBatchSize": 4})
    template = cluster.service("scheduled")["spec"]["template"]
    assert {name: template["spec"][name] for name in pod} == pod
    (container,) = template["spec"]["containers"]
    assert container["resources"] == model["resources"]
    env = {each["name"]: each.get("value") for each in container["env"]}
    assert json.loads(env["ZEROFLOW_BATCHER"]) == {"maxBatchSize": 4, "maxLatency": 5000}
    log = json.loads(env["ZEROFLOW_LOGGER"])
    assert (log["mode"], log["url"], log["inferenceservice"], log["component"]) == (
        "all",
        "http://x/",
        "scheduled",
        "predictor",
    )


def test_the_hubs_token_may_be_a_variable_of_the_model(cluster: Any) -> None:
    metadata = {"name": "hf", "namespace": "default"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded({"token": "hf_mine"})}
    cluster.resources.create(secret)
    env = [
        {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "token"}}},
        {"name": "HF_ENDPOINT", "value": "https://hub.example.com"},
        {"name": "OTHER", "value": "1"},
    ]
    model = {"modelFormat": {"name": "huggingface"}, "args": ["--model_id=org/gated"], "env": env}
    declared = parse_model({"model": model})
    assert declared is not None
    found = locate(declared, "default", None, cluster.resources.find, cluster.database)
    assert found.uri == "hf://org/gated"
    assert found.access.values == {"HF_TOKEN": "hf_mine", "HF_ENDPOINT": "https://hub.example.com"}
    assert not found.access.env


def test_what_is_the_platforms_to_say_does_not_come_by_env_from(cluster: Any, constant: Any) -> None:
    uri = cluster.put("models/from/model.joblib", constant(1))
    brought = [{"configMapRef": {"name": "mine"}}]
    declare(cluster, "brought", {"storageUri": uri, "envFrom": brought})
    (container,) = cluster.service("brought")["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"] == brought
    said = {each["name"]: each.get("value") for each in container["env"]}  # a variable of env wins
    assert said["ZEROFLOW_ALLOW_PRIVATE_HOSTS"] == said["STORAGE_EMULATOR_HOST"] == ""
    assert said["ZEROFLOW_MODEL_VOUCHED_BY"]


def test_account_credentials_are_references_to_its_secret(cluster: Any) -> None:
    from zeroflow.functions.inference.credentials import of_service_account

    found = of_service_account(cluster.resources.find, "default", "sa")
    env = {variable["name"]: variable for variable in found.env}
    assert env["AWS_SECRET_ACCESS_KEY"]["valueFrom"]["secretKeyRef"] == {
        "name": "mysecret",
        "key": "AWS_SECRET_ACCESS_KEY",
    }
    assert env["AWS_ENDPOINT_URL_S3"]["value"] == "http://127.0.0.1:9"
    assert env["AWS_DEFAULT_REGION"]["value"] == "us-east-2"
    assert "minio123" not in repr(found)


def test_malicious_locations_and_models_are_events(cluster: Any) -> None:
    cluster.put("models/evil/model.pkl", b"\x80\x04cos\nsystem\n.", recorded_by=None)
    for name, uri in (("evil-uri", "http://169.254.169.254/x"), ("evil-file", "file:///etc/passwd")):
        declare(cluster, name, {"storageUri": uri})
    cluster.apply("evil-pickle", {"sklearn": {"storageUri": "store://models/evil/model.pkl"}})
    with cluster.database.reading() as session:
        rows = session.scalars(select(EventRecord).where(EventRecord.type.in_([REFUSED, refusal.REFUSED]))).all()
        events = {(row.type, row.subject): (row.data or {})["reason"] for row in rows}
    assert events[REFUSED, "default/evil-uri"] == "Forbidden"
    assert events[REFUSED, "default/evil-file"] == "InvalidInput"
    assert events[REFUSED, "default/evil-pickle"] == "PickleNotVouched"
    assert events[refusal.REFUSED, "default/evil-pickle"] == "PickleNotVouched"
