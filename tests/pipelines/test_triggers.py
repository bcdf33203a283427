"""Runs that events start."""

from io import BytesIO
from typing import Any

import pytest
import yaml

from pipelines.harness import Platform, component, pipeline, task

S3 = {"s3": {"object": {"uri": "store://in/flights.csv", "size": 12}}, "month": 3, "tags": ["a"]}
QUERY = "parameters.uri=${data.s3.object.uri}&parameters.month=${data.month}&parameters.n=3&experiment=on-upload"


def _upload(platform: Platform, name: str) -> None:
    spec = pipeline(
        {"use": task("use", uri="pipeline.uri", month="pipeline.month", n="pipeline.n")},
        {"use": component("use", takes={"uri": "STRING", "month": "NUMBER_INTEGER", "n": "NUMBER_INTEGER"})},
        takes={"uri": "STRING", "month": "NUMBER_INTEGER", "n": "NUMBER_INTEGER"},
    )
    content = (BytesIO(yaml.safe_dump(spec).encode()), "pipeline.yaml")
    answer = platform.client.post(f"/apis/v2beta1/pipelines/upload?name={name}", data={"uploadfile": content})
    assert answer.status_code == 200, answer.data


def test_an_event_starts_a_run_with_parameters_from_it_and_a_redelivery_starts_none(platform: Platform) -> None:
    _upload(platform, "train")
    event = platform.event("com.amazonaws.s3.ObjectCreated:Put", S3, subject="flights.csv")
    for _ in range(2):
        answer = platform.deliver(event, f"/triggers/train?{QUERY}")
        assert answer.status_code in (200, 204)  # what follows comes as the reply, or is published
    platform.drain()
    runs = platform.get("/runs")["runs"]
    assert len(runs) == 1
    run = platform.get(f"/runs/{runs[0]['run_id']}")
    assert run["state"] == "SUCCEEDED"
    assert run["runtime_config"]["parameters"] == {"uri": "store://in/flights.csv", "month": 3, "n": 3}
    assert run["cause"] == {
        "source": "/test", "id": event["id"], "type": "com.amazonaws.s3.ObjectCreated:Put", "subject": "flights.csv",
    }  # fmt: skip
    assert platform.get(f"/experiments/{run['experiment_id']}")["display_name"] == "on-upload"
    assert run["pipeline_version_reference"]["pipeline_id"]


def test_one_event_may_start_several_pipelines(platform: Platform) -> None:
    _upload(platform, "train")
    _upload(platform, "report")
    event = platform.event("dev.example.arrived", S3)
    for path in ("train", "report"):
        assert platform.deliver(event, f"/triggers/{path}?{QUERY}").status_code in (200, 204)
    assert platform.get("/runs")["total_size"] == 2


def test_the_newest_version_runs_and_text_around_expressions_is_filled(local: Platform) -> None:
    _upload(local, "train")
    pipeline_id = local.get("/pipelines")["pipelines"][0]["pipeline_id"]
    spec = pipeline(
        {"use": task("use", m="pipeline.m")}, {"use": component("use", takes={"m": "STRING"})}, takes={"m": "STRING"}
    )
    content = (BytesIO(yaml.safe_dump(spec).encode()), "pipeline.yaml")
    path = f"/apis/v2beta1/pipelines/upload_version?name=v2&pipelineid={pipeline_id}"
    assert local.client.post(path, data={"uploadfile": content}).status_code == 200
    local.deliver(local.event("dev.example.arrived", S3), "/triggers/train?parameters.m=month-${data.month}/${type}")
    assert local.get("/runs")["runs"][0]["runtime_config"]["parameters"] == {"m": "month-3/dev.example.arrived"}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("ghost?", "there is no pipeline 'ghost' in namespace default"),
        ("train?parameters.uri=${data.nothing}", "parameters.uri: the event"),
        ("train?parameters.uri=${data.[}", "no JMESPath expression"),
        (
            "train?parameters.uri=x&parameters.month=3&parameters.n=many",
            "parameters.n must be an integer, found 'many'",
        ),
        ("train?parameters.month=${data.tags}&parameters.n=3&parameters.uri=x", "parameter 'month' must be an integer"),
        ("train?parameters.month=3&parameters.n=3", "required parameter 'uri' is missing"),
        (f"train?{QUERY}&parameters.zzz=1", "has no parameter 'zzz'"),
        ("train?parameter.month=3", "query parameter 'parameter.month' is unknown"),
    ],
)
def test_an_event_that_cannot_start_a_run_is_refused_for_good(local: Platform, path: str, message: str) -> None:
    _upload(local, "train")
    answer = local.deliver(local.event("dev.example.arrived", S3), f"/triggers/{path}")
    assert answer.status_code == 400  # the broker does not retry it
    assert message in answer.text
    assert local.get("/runs")["total_size"] == 0


@pytest.mark.parametrize("data", [None, [1], "text"], ids=["none", "list", "text"])
def test_any_kind_of_event_data_is_accepted(local: Platform, data: Any) -> None:
    _upload(local, "train")
    path = "/triggers/train?parameters.uri=${id}&parameters.month=1&parameters.n=2"
    assert local.deliver(local.event("any.type", data), path).status_code in (200, 204)
