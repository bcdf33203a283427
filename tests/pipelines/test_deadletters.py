"""An event that nobody could take ends the task that waits for it; the run says why and does not wait for ever."""

import base64

import pytest

from pipelines.harness import Platform, chain, finished


def undeliverable(event: dict, answer: str) -> dict:
    error = {"knativeerrorcode": "503", "knativeerrordata": base64.b64encode(answer.encode()).decode()}
    return {**event, **error}


@pytest.mark.parametrize("lost", ["dev.zeroflow.task.requested", "dev.zeroflow.task.finished"])
def test_a_run_whose_event_is_undeliverable_fails_with_the_reason(platform: Platform, lost: str) -> None:
    platform.submit(chain(2))
    [request] = [event for event in platform.broker.events if event["type"].endswith("task.requested")]
    event = request if lost.endswith("requested") else finished(request)
    for _ in range(2):
        answer = platform.deliver(undeliverable(event, "no parent could be started\nsecond line"), "/dead-letters")
        assert answer.status_code in (200, 204)
    [run] = platform.client.get("/apis/v2beta1/runs").get_json()["runs"]
    assert run["state"] == "FAILED"
    assert "503 no parent could be started" in run["error"]["message"]
    assert "second line" not in run["error"]["message"]


def test_an_event_that_no_task_waits_for_is_taken_and_forgotten(platform: Platform) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "/x", "type": "com.example.other", "data": {}}
    assert platform.deliver(undeliverable(event, ""), "/dead-letters").status_code == 204
