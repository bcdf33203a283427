"""A model from outside, by command: pushed, served, and found again in lineage and audit trail."""

import json
import os
import subprocess
import sys

import joblib
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from sklearn.dummy import DummyClassifier

from zeroflow.artifacts import content


def zeroflow(host, *arguments: str, code: int = 0) -> str:
    environment = {**os.environ, "ZEROFLOW_URL": host.url}
    ran = subprocess.run(
        [sys.executable, "-m", "zeroflow", *arguments], env=environment, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == code, ran.stderr
    return ran.stdout if code == 0 else ran.stderr


def test_a_model_is_signed_where_it_is_registered_and_comes_back_whole(host, tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    folder = tmp_path / "signed"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"\x08\x07")
    (folder / "sub" / "notes").write_bytes(b"n" * 3_000_000)
    made = json.loads(zeroflow(host, "models", "push", str(folder), "signed", "-o", "json"))
    assert "has no signature" in zeroflow(host, "models", "verify", "signed", "1", "--key", str(public), code=1)
    zeroflow(host, "models", "sign", "signed", "1", "--key", str(private))
    assert "verified: 2 files" in zeroflow(host, "models", "verify", "signed", "1", "--key", str(public))
    pulled = tmp_path / "pulled"
    zeroflow(host, "models", "pull", "signed", "1", str(pulled))
    assert content.of(pulled) == content.of(folder)
    assert "is there already" in zeroflow(host, "models", "pull", "signed", "1", str(pulled), code=1)
    trail = [json.loads(line) for line in zeroflow(host, "audit", "export").splitlines()]
    downloads = [one for one in trail if one["verb"] == "download" and one["entity_id"] == made["version"]["id"]]
    assert {one["after"]["sha256"] for one in downloads} == {made["sha256"]}

    stored = host.home / "store" / made["artifact"]["uri"].removeprefix("store://") / "model.onnx"
    stored.write_bytes(b"something else")
    assert "were changed" in zeroflow(host, "models", "pull", "signed", "1", str(tmp_path / "again"), code=1)
    assert not (tmp_path / "again").exists()


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


PIPELINE = """
from kfp import dsl

@dsl.component
def data(rows: dsl.Output[dsl.Dataset], seed: int):
    open(rows.path, "w").write(str(seed * 7))

@dsl.component
def fit(rows: dsl.Input[dsl.Dataset], model: dsl.Output[dsl.Model], metrics: dsl.Output[dsl.Metrics], drift: str):
    import os, pathlib
    value = int(open(rows.path).read())
    counter = pathlib.Path(drift)
    offset = int(counter.read_text()) if drift and counter.exists() else 0
    open(model.path, "w").write("m" + str(value + offset))
    metrics.log_metric("auc", (value + offset) / 100)
    model.metadata["register_as"] = "again"

@dsl.pipeline(name="again")
def again(seed: int = 3, drift: str = ""):
    rows = data(seed=seed)
    fit(rows=rows.outputs["rows"], drift=drift)
"""


def test_a_version_is_made_once_more_and_compared(host, tmp_path, wait_until):
    (tmp_path / "p.py").write_text(PIPELINE)
    drift = tmp_path / "offset"
    zeroflow(host, "run", str(tmp_path / "p.py"), "-p", f"drift={drift}", "-p", "seed=5")

    def versions() -> list:
        models = [one["name"] for one in json.loads(zeroflow(host, "models", "list", "-o", "json"))]
        return (
            json.loads(zeroflow(host, "models", "show", "again", "-o", "json"))["versions"] if "again" in models else []
        )

    wait_until(versions, "the version")
    told = json.loads(zeroflow(host, "models", "reproduce", "again", "1", "-o", "json"))
    assert (told["reproduced"], told["sameBytes"], told["changedInputs"]) == (True, True, {})
    assert [(one["metric"], one["registered"], one["reproduced"]) for one in told["metrics"]] == [("auc", 0.35, 0.35)]
    drift.write_text("4")  # the world is another one now
    assert "was not reproduced" in zeroflow(host, "models", "reproduce", "again", "1", code=1)
    zeroflow(host, "models", "reproduce", "again", "1", "--tolerance", "0.2")
    assert len(versions()) == 1, "a reproduction is no version"
    trail = [json.loads(line) for line in zeroflow(host, "audit", "export").splitlines()]
    assert [one["after"]["metrics"]["auc"] for one in trail if one["verb"] == "reproduce"] == [0.35, 0.39, 0.39]
