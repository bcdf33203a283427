"""JobSinks: one Job per event, found again by (source, id)."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventing.rooms import TOKEN, Room, binary, room
from zeroflow.knative.local.api.errors import BadRequest
from zeroflow.knative.local.eventing.jobsink_spec import job_name

Run = Callable[..., None]
SINK = "JobSink.sinks.knative.dev"
CONTAINER = {"name": "main", "image": "x", "command": ["true"], "env": [{"name": "A", "value": "1"}]}


def job_sink(name: str = "train", **pod: Any) -> dict[str, Any]:
    template = {"spec": {"restartPolicy": "Never", "containers": [dict(CONTAINER)], **pod}}
    return {
        "apiVersion": "sinks.knative.dev/v1alpha1",
        "kind": "JobSink",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"job": {"metadata": {"labels": {"team": "ml"}}, "spec": {"backoffLimit": 1, "template": template}}},
    }


async def post(room: Room, headers: dict[str, str], name: str = "train") -> tuple[int, Any, str]:
    url = f"{room.base}/jobsinks/default/{name}"
    async with room.session.post(url, headers=headers, data=b'{"n":1}') as answer:
        return answer.status, answer.headers, await answer.text()


def test_an_event_becomes_a_job_with_its_file(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.store.create(job_sink(initContainers=[{"name": "init", "image": "x"}]))
        sink = await room.ready(SINK, "train")
        assert sink["status"]["job"]["selector"] == "sinks.knative.dev/job-sink-name=train"
        assert sink["status"]["address"]["url"].endswith("/jobsinks/default/train")
        status, headers, _ = await post(room, binary("e 1/2", source="/a b"))
        assert status == 202
        assert headers["Location"] == "/jobsinks/namespaces/default/name/train/sources/%2Fa%20b/ids/e%201%2F2"
        (job,) = room.store.list("Job.batch", "default")
        key = hashlib.md5(b"/a be 1/2").hexdigest()
        assert job["metadata"]["name"] == f"train-{key}"
        labels = job["metadata"]["labels"]
        assert labels["sinks.knative.dev/job-sink-name"] == "train"
        assert labels["sinks.knative.dev/job-sink-id"] == key
        assert labels["team"] == "ml"
        (owner,) = job["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("JobSink", sink["metadata"]["uid"], True)
        pod = job["spec"]["template"]["spec"]
        for container in (*pod["containers"], *pod["initContainers"]):
            env = {each["name"]: each["value"] for each in container["env"]}
            assert env["K_EXECUTION_MODE"] == "batch"
            event = json.loads((Path(env["K_EVENT_PATH"]) / "event").read_text())
            assert (event["id"], event["source"], event["data"]) == ("e 1/2", "/a b", {"n": 1})
        assert pod["containers"][0]["env"][0] == {"name": "A", "value": "1"}

    run_room(scenario)


def test_the_same_event_runs_once(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.store.create(job_sink())
        answers = await asyncio.gather(*(post(room, binary("e1")) for _ in range(10)))
        assert {status for status, _, _ in answers} == {202}
        await post(room, binary("e1", source="/other"))
        assert len(room.store.list("Job.batch")) == 2

    run_room(scenario)


def test_the_location_tells_the_state_of_the_job(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.store.create(job_sink())
        _, headers, _ = await post(room, binary("e1"))
        url = room.base + headers["Location"]

        async def state() -> tuple[int, str | None]:
            async with room.session.get(url) as answer:
                return answer.status, answer.headers.get("Reason")

        assert await state() == (202, None)
        (job,) = room.store.list("Job.batch")
        for condition, status in (("Complete", 200), ("Failed", 400)):
            job["status"] = {"conditions": [{"type": condition, "status": "True"}]}
            job = await room.store.update_status(job)
            assert await state() == (status, condition)
        await room.store.delete("Job.batch", "default", job["metadata"]["name"])
        assert (await state())[0] == 500

    run_room(scenario)


@pytest.mark.parametrize(
    ("headers", "name", "status"),
    [
        (binary(), "absent", 400),
        ({}, "train", 400),
        (binary() | {"ce-id": ""}, "train", 400),
        (binary("1", "dev.zeroflow.task.requested"), "train", 403),
        (binary("1", "dev.zeroflow.task.requested") | {"Authorization": f"Bearer {TOKEN}"}, "train", 202),
    ],
    ids=str,
)
def test_codes(run_room: Run, headers: dict[str, str], name: str, status: int) -> None:
    async def scenario(room: Room) -> None:
        await room.store.create(job_sink())
        assert (await post(room, headers, name))[0] == status

    run_room(scenario)


def test_other_verbs_are_405(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.store.create(job_sink())
        async with room.session.get(f"{room.base}/jobsinks/default/train") as answer:
            assert answer.status == 405

    run_room(scenario)


def test_a_trigger_may_start_jobs(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        await room.store.create(job_sink())
        reference = {"apiVersion": "sinks.knative.dev/v1alpha1", "kind": "JobSink", "name": "train"}
        await room.trigger("t", subscriber={"ref": reference})
        await room.send("e1")
        (delivery,) = await room.settled("e1")
        assert delivery["state"] == "done"
        assert len(room.store.list("Job.batch")) == 1

    run_room(scenario)


def test_event_files_go_with_their_job(tmp_path: Path) -> None:
    async def main() -> None:
        async with room(tmp_path) as first:
            await first.store.create(job_sink())
            await post(first, binary("e1"))
            await post(first, binary("e2"))
            one, two = first.store.list("Job.batch")
            files = first.home.root / "jobsinks" / "default"
            await first.store.delete("Job.batch", "default", one["metadata"]["name"])
            async with asyncio.timeout(5):
                while len(list(files.iterdir())) > 1:
                    await asyncio.sleep(0.01)
            (files / "left-by-a-crash").mkdir()
        async with room(tmp_path):
            assert [each.name for each in files.iterdir()] == [two["metadata"]["name"]]
            assert (files / two["metadata"]["name"] / "event").exists()

    asyncio.run(main())


def pod_of(sink: dict[str, Any]) -> dict[str, Any]:
    return sink["spec"]["job"]["spec"]["template"]["spec"]


def test_a_job_sink_with_a_long_name_gets_a_name_within_63_characters() -> None:
    sink = "s" * 50
    key = hashlib.md5(b"/srcid").hexdigest()
    expected = "s" * 31 + hashlib.md5(f"{sink}-{key}".encode()).hexdigest()
    assert job_name(sink, "/src", "id") == expected
    assert job_name("x" * 30, "/src", "id") == "x" * 30 + "-" + key


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda sink: sink["spec"].pop("job"), "spec.job.spec"),
        (lambda sink: sink["spec"]["job"].update(kind="Pod"), "spec.job.kind"),
        (lambda sink: pod_of(sink).update(containers=[]), "containers"),
        (lambda sink: pod_of(sink).update(restartPolicy="Always"), "restartPolicy"),
        (
            lambda sink: pod_of(sink)["containers"][0].pop("name"),
            "containers[0].name",
        ),
    ],
    ids=["no job", "kind", "no containers", "restart policy", "no name"],
)
def test_a_job_sink_that_cannot_work_is_refused(run_room: Run, change: Callable[[Any], Any], said: str) -> None:
    async def scenario(room: Room) -> None:
        sink = job_sink()
        change(sink)
        with pytest.raises(BadRequest) as refused:
            await room.store.create(sink)
        assert said in str(refused.value)

    run_room(scenario)
