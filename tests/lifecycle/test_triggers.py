"""An upload, a webhook and a clock can each start a run, with parameters taken from the event."""

import json

import kfp
import pytest
from kfp import compiler

from lifecycle import pipelines

TRIGGER = """
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: NAME, namespace: zeroflow}
spec:
  broker: default
  filter: {attributes: {type: TYPE}}
  subscriber:
    ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: pipeline}
    uri: "URI"
"""
PING = """
apiVersion: sources.knative.dev/v1
kind: PingSource
metadata: {name: every-second, namespace: default}
spec:
  schedule: "* * * * * *"
  contentType: application/json
  data: '{"word": "clock"}'
  sink:
    ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: pipeline, namespace: zeroflow}
    uri: /triggers/say-it?parameters.word=${data.word}
"""


@pytest.fixture(scope="module")
def uploaded(host, tmp_path_factory):
    package = str(tmp_path_factory.mktemp("package") / "say-it.yaml")
    compiler.Compiler().compile(pipelines.say_it, package)
    kfp.Client(host=host.url).upload_pipeline(package, pipeline_name="say-it")
    return host


def words(host) -> list[str]:
    """Return what the runs so far have said."""
    said = []
    for run in host.get("/apis/v2beta1/runs?page_size=200").get("runs", []):
        if run["state"] == "SUCCEEDED":
            said.extend(task["outputs"]["parameters"]["Output"] for task in host.tasks(run["run_id"]))
    return said


def test_an_upload_starts_a_run(uploaded, wait_until):
    uri = "/triggers/say-it?parameters.word=${join('-', [data.s3.bucket.name, subject])}"
    manifest = TRIGGER.replace("NAME", "uploads").replace("TYPE", "com.amazonaws.s3.ObjectCreated:Put")
    uploaded.kubectl("apply", "-f", "-", stdin=manifest.replace("URI", uri))
    assert uploaded.request("PUT", "/objects/incoming/a.csv", body=b"x").status == 201
    wait_until(lambda: "INCOMING-A.CSV" in words(uploaded), "the run")


def test_a_webhook_starts_a_run_once(uploaded, wait_until):
    manifest = TRIGGER.replace("NAME", "hooks").replace("TYPE", "dev.zeroflow.webhook.received")
    uploaded.kubectl(
        "apply", "-f", "-", stdin=manifest.replace("URI", "/triggers/say-it?parameters.word=${data.body.word}")
    )
    for _ in range(2):
        answer = uploaded.request(
            "POST", "/webhooks/say", body=json.dumps({"word": "hook"}), headers={"Idempotency-Key": "1"}
        )
        assert answer.status == 202
    wait_until(lambda: "HOOK" in words(uploaded), "the run")
    assert words(uploaded).count("HOOK") == 1


def test_a_clock_starts_a_run(uploaded, wait_until):
    uploaded.kubectl("apply", "-f", "-", stdin=PING)
    wait_until(lambda: "CLOCK" in words(uploaded), "the run")
    uploaded.kubectl("delete", "pingsource", "every-second")


def test_an_event_without_the_parameter_starts_nothing_and_says_why(uploaded, wait_until):
    manifest = TRIGGER.replace("NAME", "wrong").replace("TYPE", "com.example.wrong")
    uploaded.kubectl(
        "apply", "-f", "-", stdin=manifest.replace("URI", "/triggers/say-it?parameters.word=${data.absent}")
    )
    before = len(uploaded.get("/apis/v2beta1/runs?page_size=200").get("runs", []))
    event = {"ce-specversion": "1.0", "ce-id": "w1", "ce-source": "/t", "ce-type": "com.example.wrong"}
    answer = uploaded.request(
        "POST", "/eventing/zeroflow/default", body=b"{}", headers={**event, "content-type": "application/json"}
    )
    assert answer.status == 202

    def explained() -> str:
        found = uploaded.get("/eventing/events?id=w1")
        return "data.absent" in json.dumps(found)

    wait_until(explained, "the log to tell why")
    assert len(uploaded.get("/apis/v2beta1/runs?page_size=200").get("runs", [])) == before


def test_nobody_else_may_publish_the_platforms_events(uploaded):
    event = {"ce-specversion": "1.0", "ce-id": "x", "ce-source": "/t", "ce-type": "dev.zeroflow.run.finished"}
    answer = uploaded.request("POST", "/eventing/zeroflow/default", body=b"{}", headers=event)
    assert answer.status == 403


@pytest.mark.parametrize("path", ["/serving/zeroflow/pipeline/", "/serving/zeroflow/step/"])
def test_the_platforms_functions_take_events_from_the_broker_alone(uploaded, path):
    event = {"ce-specversion": "1.0", "ce-id": "x", "ce-source": "/t", "ce-type": "dev.zeroflow.task.finished"}
    assert uploaded.request("POST", path, body=b"{}", headers=event).status == 403
    unversioned = {name: value for name, value in event.items() if name != "ce-specversion"}
    assert uploaded.request("POST", path, body=b"{}", headers=unversioned).status == 403
    for media_type in ("+json", "+json; charset=utf-8", "+jsonx", "+json, x", "+JSON-seq", "-batch+json", ""):
        structured = {"content-type": f"application/cloudevents{media_type}"}
        assert uploaded.request("POST", path, body=b"{}", headers=structured).status == 403, media_type
