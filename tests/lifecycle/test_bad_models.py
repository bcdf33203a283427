"""Models and requests that would take a server down, on a whole host: the right answer, and the service goes on."""

import http.client
import json
from pathlib import Path
from typing import Any

import pytest

CRASHING = """
import os

class Crashing:
    def __init__(self):
        self.asked = 0

    def predict(self, payload, headers=None):
        self.asked += 1
        if payload["instances"] == ["poison"] or self.asked == 3:
            os._exit(11)  # as a segmentation fault would: nothing of Python's runs
        return {"predictions": [self.asked]}
"""
LIMIT = 64 << 20


@pytest.fixture
def crashing(host: Any, wait_until: Any) -> str:
    place = Path(host.home) / "store" / "models" / "crashing"
    place.mkdir(parents=True, exist_ok=True)
    (place / "model.py").write_text(CRASHING)
    annotations = {"zeroflow.dev/trust-pickle": "true"}
    document = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "crashing", "namespace": "default", "annotations": annotations},
        "spec": {"predictor": {"model": {"modelFormat": {"name": "python"}, "storageUri": "store://models/crashing"}}},
    }
    host.kubectl("apply", "-f", "-", stdin=json.dumps(document))

    def url() -> str | None:
        path = "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/crashing"
        status = host.get(path).get("status") or {}
        done = [each for each in status.get("conditions", []) if each["type"] == "Ready"]
        return status.get("url") if done and done[0]["status"] == "True" else None

    return str(wait_until(url, "it to be ready")).removeprefix(host.url)


def ask(host: Any, path: str, *rows: Any) -> Any:
    body = json.dumps({"instances": [*rows]}).encode()
    return host.request("POST", f"{path}/v1/models/crashing:predict", body=body)


def test_a_model_that_ends_its_process_at_the_third_request_costs_nobody_an_answer(host: Any, crashing: str) -> None:
    answers = [ask(host, crashing, 1) for _ in range(7)]
    assert [answer.status for answer in answers] == [200] * 7
    assert {answer.json()["predictions"][0] for answer in answers} == {1, 2}


def test_a_request_that_ends_every_process_is_told_so_and_others_go_on(host: Any, crashing: str) -> None:
    poisoned = ask(host, crashing, "poison")
    assert poisoned.status in (502, 503), poisoned.data
    assert ask(host, crashing, 1).status == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_a_gigabyte_is_refused_and_the_host_does_not_keep_it(host: Any, crashing: str, chunked: bool) -> None:
    def rss() -> int:
        assert host.process is not None
        words = Path(f"/proc/{host.process.pid}/status").read_text().split()
        return int(words[words.index("VmRSS:") + 1]) << 10

    before = rss()
    connection = http.client.HTTPConnection("127.0.0.1", host.port, timeout=60)
    piece = b"1" * (1 << 20)
    sent = 0
    try:
        connection.putrequest("POST", f"{crashing}/v1/models/crashing:predict")
        connection.putheader(*(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(1 << 30))))
        connection.endheaders()
        for _ in range(1 << 10):
            connection.send(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            sent += len(piece)
    except (BrokenPipeError, ConnectionResetError):
        pass  # the answer came before the body's end
    try:
        answer = connection.getresponse()
        assert (answer.status, "larger than" in answer.read().decode()) == (413, True)
    except (ConnectionResetError, http.client.RemoteDisconnected):
        assert sent > LIMIT  # whoever goes on sending may miss it
    finally:
        connection.close()
    assert rss() - before < LIMIT
    assert ask(host, crashing, 1).status == 200
