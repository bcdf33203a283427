"""A pipeline may say how many of its runs go on at the same time; the others wait their turn."""

from typing import Any

import pytest

from pipelines.harness import Platform, pipeline, task


def limited(count: Any) -> dict[str, Any]:
    config = {"platforms": {"kubernetes": {"pipelineConfig": {"maxActiveRuns": count}}}}
    return {"pipeline_spec": pipeline({"a": task("x")}), "platform_spec": config}


def states(platform: Platform, runs: list[str]) -> list[str]:
    return [platform.get(f"/runs/{run_id}")["state"] for run_id in runs]


def test_runs_beyond_the_limit_wait_and_begin_in_their_order(platform: Platform) -> None:
    runs = [platform.submit(limited(2)) for _ in range(4)]
    assert states(platform, runs) == ["RUNNING", "RUNNING", "PENDING", "PENDING"]
    other = platform.submit({**pipeline({"a": task("x")}), "pipelineInfo": {"name": "another"}})
    assert states(platform, [other]) == ["RUNNING"]
    platform.drain(until=lambda: states(platform, runs)[0] == "SUCCEEDED")
    assert states(platform, runs) == ["SUCCEEDED", "RUNNING", "RUNNING", "PENDING"]
    platform.drain()
    assert states(platform, runs) == ["SUCCEEDED"] * 4


def test_a_run_that_waits_can_be_terminated_and_lets_nobody_in(platform: Platform) -> None:
    runs = [platform.submit(limited(1)) for _ in range(3)]
    assert platform.post(f"/runs/{runs[1]}:terminate").status_code == 200
    assert states(platform, runs) == ["RUNNING", "CANCELED", "PENDING"]
    assert platform.post(f"/runs/{runs[0]}:terminate").status_code == 200
    assert states(platform, runs) == ["CANCELED", "CANCELED", "RUNNING"]
    platform.drain()
    assert states(platform, runs) == ["CANCELED", "CANCELED", "SUCCEEDED"]


@pytest.mark.parametrize("count", [1.5, -1, "many"])
def test_a_limit_that_is_no_number_of_runs_is_refused(local: Platform, count: Any) -> None:
    answer = local.post("/runs", {"pipeline_spec": limited(count)})
    assert answer.status_code == 400
    assert "pipelineConfig: maxActiveRuns must be" in answer.json["message"]
