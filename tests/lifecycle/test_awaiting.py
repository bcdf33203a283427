"""An InferenceService that is declared before its model is there: served once it is uploaded, untouched."""

import json
from pathlib import Path
from typing import Any

import joblib
import urllib3
from sklearn.dummy import DummyClassifier

DECLARED = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: early, annotations: {zeroflow.dev/trust-pickle: "true"}}
spec: {predictor: {model: {modelFormat: {name: sklearn}, storageUri: store://models/early}}}
"""


def test_a_model_that_is_uploaded_later_is_served(host: Any, wait_until: Any, tmp_path: Path) -> None:
    path = "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/early"

    def ready() -> dict[str, Any]:
        status = host.get(path).get("status") or {}
        return next((each for each in status.get("conditions", []) if each["type"] == "Ready"), {"status": "Unknown"})

    def triggers() -> list[str]:
        found = host.get("/apis/eventing.knative.dev/v1/namespaces/zeroflow/triggers")["items"]
        return [each["metadata"]["name"] for each in found if each["metadata"]["name"].startswith("upload-early-")]

    def upload(key: str, data: bytes) -> None:
        assert host.request("PUT", f"/objects/models/{key}", body=data).status // 100 == 2

    host.kubectl("apply", "-f", "-", stdin=DECLARED)
    wait_until(lambda: ready()["status"] == "False", "it to say that there is no model")
    assert ready()["reason"] == "ModelNotFound"
    wait_until(triggers, "uploads to be heard of")
    upload("early/notes.txt", b"to come")  # no model yet
    model = tmp_path / "model.joblib"
    joblib.dump(DummyClassifier(strategy="constant", constant=7).fit([[0]] * 8, list(range(8))), model)
    upload("early/model.joblib", model.read_bytes())
    wait_until(lambda: ready()["status"] == "True", "the model to be served")
    answer = urllib3.request(
        "POST",
        f"{host.get(path)['status']['url']}/v1/models/early:predict",
        body=json.dumps({"instances": [[1]]}).encode(),
    )
    assert answer.json() == {"predictions": [7]}
    wait_until(lambda: not triggers(), "its Trigger to go")
