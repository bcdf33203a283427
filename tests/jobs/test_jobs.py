"""Jobs as a user of batch/v1 sees them, with real processes."""

import base64
import os
from pathlib import Path

import pytest

from zeroflow.knative.local.api.errors import Invalid
from zeroflow.knative.local.processes import mounting


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def test_a_job_runs_its_command_and_completes(run):
    async def scenario(place):
        await place.create("sh", "-c", "echo out; echo err >&2; read line || echo no input")
        assert await place.finished() == ("Complete", "CompletionsReached")
        status = place.status()
        assert (status["succeeded"], status.get("failed", 0), status["active"]) == (1, 0, 0)
        assert status["startTime"] <= status["completionTime"]
        pod = place.store.list("Pod", "default", {"batch.kubernetes.io/job-name": "work"})[0]
        assert pod["status"]["phase"] == "Succeeded"
        assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 0
        assert place.log(pod) == "out\nerr\nno input\n"

    run(scenario)


def test_environment_comes_from_values_config_maps_secrets_and_the_pod(run, monkeypatch):
    monkeypatch.setenv("ZEROFLOW_TEST_SECRET", "of the host")

    async def scenario(place):
        meta = {"namespace": "default"}
        config = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": meta | {"name": "c"},
            "data": {"A": "1", "B": "2"},
        }
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta | {"name": "s"}}
        await place.store.create(config)
        await place.store.create(secret | {"data": {"key": base64.b64encode(b"hush").decode()}})
        env = [
            {"name": "B", "value": "3"},
            {"name": "SUM", "value": "$(A)+$(B)=$(NONE) $$(A)"},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}},
            {"name": "GONE", "valueFrom": {"secretKeyRef": {"name": "s", "key": "no", "optional": True}}},
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ]
        source = [{"configMapRef": {"name": "c"}}, {"prefix": "S_", "secretRef": {"name": "s"}}]
        container = {"env": env, "envFrom": source, "args": ["env; echo arg $(SUM)"]}
        await place.create("sh", "-c", container=container)
        assert (await place.finished())[0] == "Complete"
        seen = place.log().splitlines()
        pod = place.store.list("Pod", "default")[0]["metadata"]["name"]
        for line in ("A=1", "B=3", "SUM=1+3=$(NONE) $(A)", "KEY=hush", "S_key=hush", f"POD={pod}", f"HOSTNAME={pod}"):
            assert line in seen
        assert not [line for line in seen if line.startswith(("GONE", "ZEROFLOW_TEST_SECRET"))]

    run(scenario)


def test_a_secret_volume_is_a_directory_and_its_mount_path_is_replaced(run):
    async def scenario(place):
        container = {
            "volumeMounts": [{"name": "event", "mountPath": "/etc/jobsink-event"}],
            "env": [{"name": "K_EVENT_PATH", "value": "/etc/jobsink-event"}],
        }
        pod = {"volumes": [{"name": "event", "secret": {"secretName": "made-later"}}]}
        command = ("sh", "-c", 'cat "$K_EVENT_PATH/event" "$0"; stat -L -c %a "$0"', "/etc/jobsink-event/event")
        await place.create(*command, container=container, pod=pod)
        await place.until(lambda: place.store.list("Pod", "default"))

        def waiting():
            state = place.store.list("Pod", "default")[0]["status"]["containerStatuses"][0]["state"]
            return state.get("waiting")

        missing = {"reason": "CreateContainerConfigError", "message": 'secret "made-later" not found'}
        await place.until(lambda: waiting() == missing)
        data = {"event": base64.b64encode(b'{"id":1}').decode()}
        await place.store.create(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "made-later", "namespace": "default"},
                "data": data,
            }
        )
        assert (await place.finished())[0] == "Complete"
        assert place.log() == '{"id":1}{"id":1}400\n'
        await place.until(lambda: not list((place.home.run / "pods").iterdir()))

    run(scenario)


def test_a_failing_job_is_tried_again_and_then_fails(run):
    async def scenario(place):
        await place.create("sh", "-c", "exit 3", backoffLimit=2)
        assert await place.finished() == ("Failed", "BackoffLimitExceeded")
        assert place.status()["failed"] == 3
        codes = [
            p["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"]
            for p in place.store.list("Pod", "default")
        ]
        assert codes == [3, 3, 3]

    run(scenario)


def test_a_job_that_succeeds_at_the_second_attempt_completes(run, tmp_path):
    async def scenario(place):
        mark = tmp_path / "mark"
        await place.create("sh", "-c", f"test -e {mark} || {{ touch {mark}; exit 1; }}")
        assert (await place.finished())[0] == "Complete"
        assert (place.status()["succeeded"], place.status()["failed"]) == (1, 1)

    run(scenario)


def test_a_job_that_is_killed_shows_the_signal(run):
    async def scenario(place):
        await place.create("sh", "-c", "kill -9 $$$$", backoffLimit=0)
        assert (await place.finished())[0] == "Failed"
        terminated = place.store.list("Pod", "default")[0]["status"]["containerStatuses"][0]["state"]["terminated"]
        assert (terminated["exitCode"], terminated["signal"], terminated["reason"]) == (137, 9, "Error")

    run(scenario)


def test_the_deadline_ends_the_whole_process_group(run, tmp_path):
    async def scenario(place):
        pids = tmp_path / "pids"
        await place.create("sh", "-c", f"sleep 300 & echo $! > {pids}; wait", activeDeadlineSeconds=1)
        assert await place.finished() == ("Failed", "DeadlineExceeded")
        await place.until(lambda: not alive(int(pids.read_text())))

    run(scenario)


def test_deleting_a_job_kills_its_processes_and_removes_its_pods_and_logs(run, tmp_path):
    async def scenario(place):
        pids = tmp_path / "pids"
        await place.create("sh", "-c", f"sleep 300 & echo $! > {pids}; wait")
        await place.until(lambda: pids.exists() and pids.read_text().strip())
        assert alive(int(pids.read_text()))
        await place.store.delete("Job.batch", "default", "work")
        await place.until(lambda: not alive(int(pids.read_text())))
        await place.until(lambda: place.jobs.idle and not place.store.list("Pod", "default"))
        await place.until(lambda: not list(place.home.logs.glob("default/*")))

    run(scenario)


def test_completions_run_side_by_side_up_to_the_parallelism(run, tmp_path):
    async def scenario(place):
        script = f"echo + >> {tmp_path}/log; sleep 0.2; echo - >> {tmp_path}/log"
        await place.create("sh", "-c", script, completions=4, parallelism=2)
        assert (await place.finished())[0] == "Complete"
        assert place.status()["succeeded"] == 4
        running, most = 0, 0
        for mark in (tmp_path / "log").read_text().split():
            running += 1 if mark == "+" else -1
            most = max(most, running)
        assert most == 2

    run(scenario)


def test_a_suspended_job_waits_and_goes_on(run):
    async def scenario(place):
        job = await place.create("true", suspend=True)
        await place.until(lambda: place.status().get("conditions"))
        assert place.status()["conditions"][0]["type"] == "Suspended"
        assert not place.store.list("Pod", "default")
        job["spec"]["suspend"] = False
        job["metadata"].pop("resourceVersion")
        await place.store.update(job)
        assert (await place.finished())[0] == "Complete"

    run(scenario)


def test_a_finished_job_is_removed_after_its_ttl(run):
    async def scenario(place):
        await place.create("true", ttlSecondsAfterFinished=1)
        await place.until(lambda: place.outcome() is not None)
        await place.until(lambda: place.store.find("Job.batch", "default", "work") is None)

    run(scenario)


def test_a_job_that_ran_when_the_host_went_away_is_started_again(run, tmp_path):
    mark = tmp_path / "started"

    async def before(place):
        await place.create("sh", "-c", f"test -e {mark} && exit 0; touch {mark}; sleep 300")
        await place.until(mark.exists)

    async def after(place):
        assert (await place.finished())[0] == "Complete"
        assert (place.status()["succeeded"], place.status()["failed"]) == (1, 1)

    run(before)
    run(after)


def test_an_image_without_a_command_says_what_to_do(run):
    async def scenario(place):
        await place.create()
        assert await place.finished() == ("Failed", "ContainerMissing")
        message = next(c["message"] for c in place.status()["conditions"] if c["type"] == "Failed")
        assert "give container 'main' a `command`" in message

    run(scenario)


def test_a_command_that_does_not_exist_says_so_in_its_log(run):
    async def scenario(place):
        await place.create("no-such-program", backoffLimit=0)
        await place.finished()
        assert place.log().startswith("cannot run 'no-such-program'")
        pod = place.store.list("Pod", "default")[0]
        assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 127

    run(scenario)


def test_memory_beyond_the_limit_is_refused(run):
    async def scenario(place):
        container = {"resources": {"limits": {"memory": "64Mi"}}}
        await place.create("python", "-c", "bytearray(1 << 30)", container=container, backoffLimit=0)
        assert (await place.finished())[0] == "Failed"
        assert "MemoryError" in place.log()

    run(scenario)


@pytest.mark.parametrize(
    ("pod", "spec", "words"),
    [
        ({"restartPolicy": "Always"}, {}, "spec.template.spec.restartPolicy"),
        ({"initContainers": [{"image": "i"}]}, {}, r"spec.template.spec.initContainers\[0\].name"),
        ({}, {"completionMode": "Indexed"}, "spec.completionMode"),
        ({}, {"backoffLimit": -1}, "spec.backoffLimit"),
    ],
    ids=["restart policy", "nameless init container", "indexed", "negative"],
)
def test_what_cannot_run_here_is_refused(run, pod, spec, words):
    async def scenario(place):
        with pytest.raises(Invalid, match=words):
            await place.create("true", pod=pod, **spec)

    run(scenario)


SHARED = {"volumes": [{"name": "shared", "emptyDir": {}}]}
MOUNTED = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}


def init(name, script, **more):
    return {"name": name, "image": "any", "command": ["sh", "-c", script], **MOUNTED, **more}


def test_init_containers_run_in_order_before_the_container_and_share_its_volumes(run):
    async def scenario(place):
        sidecar = init("beside", "while :; do echo up > /shared/beside; sleep 0.05; done", restartPolicy="Always")
        inits = [init("one", "echo one > /shared/said"), sidecar, init("two", "echo two >> /shared/said")]
        script = "until [ -e /shared/beside ]; do sleep 0.05; done; cat /shared/said"
        await place.create("sh", "-c", script, container=MOUNTED, pod=SHARED | {"initContainers": inits})
        assert (await place.finished())[0] == "Complete"
        assert place.log() == "one\ntwo\n"
        await place.until(lambda: place.store.list("Pod", "default")[0]["status"]["phase"] == "Succeeded")
        told = place.store.list("Pod", "default")[0]["status"]["initContainerStatuses"]
        assert [(each["name"], each["state"].get("terminated", {}).get("exitCode")) for each in told][::2] == [
            ("one", 0),
            ("two", 0),
        ]

    run(scenario)


def test_an_init_container_that_fails_keeps_the_container_from_starting(run):
    async def scenario(place):
        pod = SHARED | {"initContainers": [init("fetch", "echo no such bucket >&2; exit 3")]}
        await place.create("sh", "-c", "echo never", container=MOUNTED, pod=pod, backoffLimit=0)
        assert (await place.finished())[0] == "Failed"
        await place.until(lambda: place.store.list("Pod", "default")[0]["status"]["phase"] == "Failed")
        pod = place.store.list("Pod", "default")[0]
        assert pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
        assert not place.home.pod_log("default", pod["metadata"]["name"], "main").exists()

    run(scenario)


def test_the_template_of_a_job_cannot_be_changed(run):
    async def scenario(place):
        job = await place.create("true", suspend=True)
        job["metadata"].pop("resourceVersion")
        job["spec"]["template"]["spec"]["containers"][0]["command"] = ["false"]
        with pytest.raises(Invalid, match=r"spec\.template: Invalid value: field is immutable"):
            await place.store.update(job)

    run(scenario)


def test_a_job_selects_its_own_pods_and_an_update_may_leave_the_selector_out(run):
    async def scenario(place):
        await place.create("true")
        await place.finished()
        job = place.store.get("Job.batch", "default", "work")
        pods = place.store.list("Pod", "default", job["spec"]["selector"]["matchLabels"])
        assert [pod["metadata"]["labels"]["job-name"] for pod in pods] == ["work"]
        del job["spec"]["selector"]
        job["metadata"]["labels"] = {"a": "b"}
        updated = await place.store.update(job)
        assert (
            updated["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"] == job["metadata"]["uid"]
        )

    run(scenario)


def test_a_container_with_a_read_only_root_writes_to_its_volumes_alone(run, tmp_path):
    if not mounting.possible():
        pytest.skip("this kernel lets this user make no mount namespace")

    async def scenario(place):
        container = {
            "securityContext": {"readOnlyRootFilesystem": True},
            "volumeMounts": [{"name": "v", "mountPath": "/var/zeroflow-test"}],
        }
        script = f"touch {tmp_path}/made 2>/dev/null || echo refused; echo x > /var/zeroflow-test/x && echo kept"
        await place.create("sh", "-c", script, container=container, pod={"volumes": [{"name": "v", "emptyDir": {}}]})
        assert (await place.finished())[0] == "Complete"
        assert place.log() == "refused\nkept\n"

    run(scenario)
