"""A model in S3: the function only looks for it; the predictor fetches and checks it, with the keys of a Secret."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import pytest

from zeroflow.functions.inference.handler import create_app
from zeroflow.resources.client import connect
from zeroflow.settings import Settings

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    pytest.importorskip("boto3", reason="boto3 is not installed")
    server = pytest.importorskip("moto.server", reason="moto is not installed").ThreadedMotoServer(
        port=0, verbose=False
    )
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.mark.filterwarnings("default")
def test_model_in_s3_is_served(running: Any, constant: Any, endpoint: str, tmp_path: Path) -> None:
    import boto3

    joblib.dump(constant(6), tmp_path / "model.joblib")
    client = boto3.client("s3", endpoint_url=endpoint)
    client.create_bucket(Bucket="models")
    client.upload_file(str(tmp_path / "model.joblib"), "models", "iris/model.joblib")
    metadata = {"name": "zeroflow-storage", "namespace": "default"}
    running.resources.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": KEYS})
    function = connect("zeroflow-inference", {"KUBECONFIG": str(running.home / "kubeconfig")})
    settings = Settings(running.database.url, running.store, service="inference", s3_endpoint=endpoint)
    kept, running.client = running.client, create_app(settings, lambda: function).test_client()
    try:
        model = {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://models/none"}
        isvc = running.apply("bucket", {"model": model})
        assert isvc["status"]["conditions"][-1]["reason"] == "ModelNotFound"
        isvc = running.apply("bucket", {"model": {**model, "storageUri": "s3://models/iris"}})
        isvc = running.settle(
            "bucket", lambda found: found["status"]["modelStatus"].get("lastFailureInfo", {}).get("exitCode")
        )
        assert "nobody vouches for its bytes" in isvc["status"]["modelStatus"]["lastFailureInfo"]["message"]
        trusted = {"zeroflow.dev/trust-pickle": "true"}
        running.apply("bucket", {"model": {**model, "storageUri": "s3://models/iris"}}, trusted)
        isvc = running.settle("bucket", lambda found: found["status"]["conditions"][-1]["status"] == "True")
        assert {answer for answer, _ in running.predict(isvc["status"]["url"], "bucket")} == {6}
    finally:
        running.client = kept
