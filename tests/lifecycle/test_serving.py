"""From a trained model to predictions: register, serve, canary, promote, roll back; and what is refused."""

import json
from collections import Counter

import kfp
import pytest

from lifecycle import pipelines

ROW = {"instances": [[5.1, 3.5, 1.4, 0.2]]}


def isvc(name: str, uri: str, **predictor) -> str:
    spec = {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": uri}, **predictor}
    return json.dumps(
        {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"predictor": spec},
        }
    )


@pytest.fixture(scope="module")
def model_uris(host) -> list[str]:
    """Train two models in runs; return where they lie."""
    client = kfp.Client(host=host.url)
    uris = []
    for rows in (120, 150):
        run = client.create_run_from_pipeline_func(pipelines.iris, arguments={"rows": rows}, enable_caching=False)
        assert client.wait_for_run_completion(run.run_id, timeout=120, sleep_duration=0.2).state == "SUCCEEDED"
        [task] = host.tasks(run.run_id)
        uris.append(task["outputs"]["artifacts"]["model"][0]["uri"])
    return uris


def predict(host, url: str, count: int = 1) -> Counter:
    answered: Counter = Counter()
    for _ in range(count):
        import urllib3

        answer = urllib3.request("POST", f"{url}/v1/models/iris:predict", json=ROW, retries=False)
        assert answer.status == 200, answer.data
        assert answer.json() == {"predictions": [0]}
        answered[answer.headers["zeroflow-revision"]] += 1
    return answered


def status(host, name: str = "iris") -> dict:
    return host.get(f"/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/{name}").get("status", {})


def test_a_model_of_a_run_becomes_a_version_with_its_lineage(host, model_uris, wait_until):
    def versions() -> list:
        answer = host.request("GET", "/api/model_registry/v1alpha3/registered_model?name=iris")
        if answer.status != 200:
            return []
        found = host.get(f"/api/model_registry/v1alpha3/registered_models/{answer.json()['id']}/versions")["items"]
        return found if len(found) == 2 else []

    found = wait_until(versions, "two versions")
    assert [version["name"] for version in found] == ["1", "2"]
    artifacts = host.get(f"/api/model_registry/v1alpha3/model_versions/{found[0]['id']}/artifacts")["items"]
    model = next(item for item in artifacts if item["artifactType"] == "model-artifact")
    assert model["uri"] == model_uris[0]
    assert model["modelSourceKind"] == "kfp"
    assert model["modelSourceClass"] == "pipelinerun"


def test_serve_canary_promote_and_roll_back(host, model_uris, wait_until):
    host.kubectl("apply", "-f", "-", stdin=isvc("iris", model_uris[0]))
    host.kubectl("wait", "--for=condition=Ready", "isvc/iris", "--timeout=60s")
    url = status(host)["url"]
    [first] = predict(host, url, 3)

    host.kubectl("apply", "-f", "-", stdin=isvc("iris", model_uris[1], canaryTrafficPercent=20))

    def splits(percent: int) -> bool:
        traffic = status(host)["components"]["predictor"].get("traffic", [])
        # By revision: until the newest one is ready, "latest" is the one before it, which then has both shares.
        shares = {t["revisionName"]: t["percent"] for t in traffic if t.get("percent")}
        return set(shares.values()) == {percent, 100 - percent} - {0}

    wait_until(lambda: splits(20), "the canary")
    live = predict(host, url, 200)
    [second] = set(live) - {first}
    assert 15 <= live[second] <= 70  # 20 % of 200: 40 expected, six standard deviations either way

    host.kubectl("apply", "-f", "-", stdin=isvc("iris", model_uris[1], canaryTrafficPercent=100))
    wait_until(lambda: splits(100), "the promotion")
    assert set(predict(host, url, 20)) == {second}

    host.kubectl("apply", "-f", "-", stdin=isvc("iris", model_uris[0]))
    wait_until(lambda: set(predict(host, url, 3)).isdisjoint({second}), "the rollback")
    listed = host.kubectl("get", "isvc")
    assert "iris" in listed
    assert "True" in listed
    assert "Ready" in host.kubectl("describe", "isvc", "iris")
    host.kubectl("delete", "isvc", "iris")
    wait_until(lambda: "iris-predictor" not in host.kubectl("get", "ksvc", "-A"), "the Service to go")


@pytest.mark.parametrize(
    ("name", "uri", "said"),
    [
        ("climbs", "store://artifacts/../../etc/passwd", "climbs"),
        ("outside", "file:///etc/passwd", "outside the store"),
        ("nothing", "store://artifacts/none", "nothing at"),
        ("pickle", "store://incoming/unknown.joblib", "PickleNotVouched"),
        ("otherwise", "store://incoming/text.joblib", ""),
    ],
)
def test_what_cannot_be_served_says_why(host, wait_until, name, uri, said):
    import io

    import joblib

    unknown = io.BytesIO()
    joblib.dump({"not": "vouched for"}, unknown)
    host.request("PUT", "/objects/incoming/unknown.joblib", body=unknown.getvalue())
    host.request("PUT", "/objects/incoming/text.joblib", body=b"this is no model")
    host.kubectl("apply", "-f", "-", stdin=isvc(name, uri))

    def explained() -> str:
        conditions = {c["type"]: c for c in status(host, name).get("conditions", [])}
        ready = conditions.get("Ready", {})
        return json.dumps(status(host, name)) if ready.get("status") == "False" else ""

    assert said in wait_until(explained, "Ready=False with a reason")
    host.kubectl("delete", "isvc", name)


def test_a_knative_service_of_ones_own(host, wait_until):
    import sys

    service = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "files", "namespace": "default"},
        "spec": {
            "template": {
                "spec": {
                    "containers": [
                        {
                            "image": "python",
                            "command": [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "$(PORT)"],
                            "workingDir": "/usr/share",
                        }
                    ]
                }
            }
        },
    }
    host.kubectl("apply", "-f", "-", stdin=json.dumps(service))
    host.kubectl("wait", "--for=condition=Ready", "ksvc/files", "--timeout=60s")
    import urllib3

    url = host.kubectl("get", "ksvc", "files", "-o", "jsonpath={.status.url}")
    assert urllib3.request("GET", url, retries=False).status == 200
    assert "files" in host.kubectl("describe", "ksvc", "files")
    host.kubectl("delete", "ksvc", "files")
