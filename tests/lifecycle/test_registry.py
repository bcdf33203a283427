"""A model from outside, by command: pushed, served, and found again in lineage and audit trail."""

import json
import os
import subprocess
import sys

import joblib
from sklearn.dummy import DummyClassifier


def zeroflow(host, *arguments: str) -> str:
    environment = {**os.environ, "ZEROFLOW_URL": host.url}
    ran = subprocess.run(
        [sys.executable, "-m", "zeroflow", *arguments], env=environment, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_pushed_model_is_served_and_traced(host, tmp_path, wait_until):
    folder = tmp_path / "pushed"
    folder.mkdir()
    joblib.dump(DummyClassifier(strategy="constant", constant=1).fit([[1.0]] * 2, [0, 1]), folder / "model.joblib")
    first = json.loads(zeroflow(host, "models", "push", str(folder), "pushed", "--author", "Ada", "-o", "json"))
    second = json.loads(zeroflow(host, "models", "push", str(folder / "model.joblib"), "pushed", "-o", "json"))
    assert (first["version"]["name"], second["version"]["name"]) == ("1", "2")
    assert first["artifact"]["modelFormatName"] == "sklearn"

    declared = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "pushed", "namespace": "default"},
        "spec": {"predictor": {"sklearn": {"storageUri": first["artifact"]["uri"]}}},
    }
    path = "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices"
    made = host.request("POST", path, body=json.dumps(declared), headers={"content-type": "application/json"})
    assert made.status == 201, made.data

    def deployed() -> list:
        graph = json.loads(zeroflow(host, "lineage", "pushed/1", "-o", "json"))
        return [edge for edge in graph["edges"] if edge["kind"] == "deployed_as"]

    [edge] = wait_until(deployed, "the deployment in the lineage graph")
    assert edge["to"] == "revision:default/pushed-predictor-00001"
    trail = [json.loads(line) for line in zeroflow(host, "audit", "export").splitlines()]
    [deploy] = [one for one in trail if one["verb"] == "deploy" and one["entity_id"] == "default/pushed"]
    assert deploy["after"]["version_id"] == first["version"]["id"]
    assert f"{len(trail)} records, unbroken" in zeroflow(host, "audit", "verify")
