"""PersistentVolumeClaims: directories that outlive the Jobs that use them."""

import pytest

from zeroflow.knative.local.api.errors import Invalid


def claim(name="data", **spec):
    resources = {"requests": {"storage": spec.pop("storage", "1Gi")}}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": resources} | spec,
    }


def using(name="data", **mount):
    """Return the parts of a Job that mounts the claim."""
    return {
        "container": {"volumeMounts": [{"name": "v", "mountPath": "/mnt/data"} | mount]},
        "pod": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": name}}]},
    }


def find(place, name="data"):
    return place.store.find("PersistentVolumeClaim", "default", name)


def phase(place, name="data"):
    return ((find(place, name) or {}).get("status") or {}).get("phase")


def test_a_claim_is_bound_to_a_directory(run):
    async def scenario(place):
        await place.store.create(claim())
        await place.until(lambda: phase(place) == "Bound")
        bound = find(place)
        assert bound["spec"]["volumeName"] == f"pvc-{bound['metadata']['uid']}"
        assert bound["spec"]["volumeMode"] == "Filesystem"
        assert bound["status"] == {
            "phase": "Bound",
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
        }
        assert bound["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
        assert [path.is_dir() for path in place.home.volumes.glob("default/data-*")] == [True]

    run(scenario)


def test_what_one_job_writes_the_next_reads_after_a_restart_of_the_host(run):
    async def first(place):
        await place.store.create(claim())
        await place.create("sh", "-c", "echo kept > /mnt/data/file", name="writer", **using())
        assert (await place.finished("writer"))[0] == "Complete"

    async def second(place):
        await place.create("cat", "/mnt/data/file", name="reader", **using())
        assert (await place.finished("reader"))[0] == "Complete"
        pods = place.store.list("Pod", "default", {"batch.kubernetes.io/job-name": "reader"})
        assert place.log(pods[0]) == "kept\n"

    run(first)
    run(second)


def test_a_pod_waits_for_a_claim_that_is_made_later(run):
    async def scenario(place):
        await place.create("true", **using())

        def waiting():
            pods = place.store.list("Pod", "default")
            return pods and pods[0]["status"]["containerStatuses"][0]["state"].get("waiting", {}).get("message")

        await place.until(lambda: waiting() == 'persistentvolumeclaim "data" not found')
        await place.store.create(claim())
        assert (await place.finished())[0] == "Complete"

    run(scenario)


def test_a_claim_in_use_goes_when_its_job_has_ended_and_takes_its_directory_along(run, tmp_path):
    go = tmp_path / "go"

    async def scenario(place):
        await place.store.create(claim())
        await place.create("sh", "-c", f"until test -e {go}; do sleep 0.05; done; test -d $0", "/mnt/data", **using())
        await place.until(lambda: place.status().get("active") == 1 and place.store.list("Pod", "default"))
        await place.store.delete("PersistentVolumeClaim", "default", "data")
        assert find(place)["metadata"]["deletionTimestamp"]
        await place.create("true", name="late", **using())
        go.touch()
        assert (await place.finished())[0] == "Complete"
        await place.store.delete("Job.batch", "default", "late")  # it waits for the claim, so it holds it as well
        await place.until(lambda: find(place) is None)
        await place.until(lambda: not list(place.home.volumes.iterdir()))

    run(scenario)


def test_a_new_claim_of_the_same_name_is_empty(run):
    async def scenario(place):
        for _ in range(2):
            await place.store.create(claim())
            await place.create("sh", "-c", 'ls "$0"; touch "$0/seen"', "/mnt/data", **using())
            assert (await place.finished())[0] == "Complete"
            assert place.log() == ""
            await place.store.delete("Job.batch", "default", "work")
            await place.store.delete("PersistentVolumeClaim", "default", "data")
            await place.until(lambda: find(place) is None and not place.store.list("Pod", "default"))

    run(scenario)


def test_a_directory_that_a_crash_left_without_its_claim_is_removed_at_the_next_start(run):
    async def first(place):
        place.home.volume("default", "gone", "1234").mkdir(parents=True)

    async def second(place):
        assert not list(place.home.volumes.iterdir())

    run(first)
    run(second)


def test_a_sub_path_is_a_directory_of_the_volume_and_never_leads_out_of_it(run, tmp_path):
    async def scenario(place):
        await place.store.create(claim())
        await place.create("touch", "/mnt/data/x", name="inner", **using(subPath="a/b"))
        assert (await place.finished("inner"))[0] == "Complete"
        assert [path.name for path in place.home.volumes.glob("default/data-*/a/b/*")] == ["x"]
        await place.create("ln", "-s", str(tmp_path), "/mnt/data/out", name="linker", **using())
        assert (await place.finished("linker"))[0] == "Complete"
        await place.create("touch", "/mnt/data/x", name="escape", **using(subPath="out"))

        def said():
            pods = place.store.list("Pod", "default", {"batch.kubernetes.io/job-name": "escape"})
            return pods and "must stay inside" in str(pods[0]["status"]["containerStatuses"][0]["state"])

        await place.until(said)

    run(scenario)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"accessModes": []}, "spec.accessModes: Required value: at least 1 access mode is required"),
        ({"accessModes": ["Both"]}, 'spec.accessModes: Unsupported value: "Both"'),
        ({"accessModes": ["ReadWriteOncePod"]}, "use ReadWriteOnce"),
        ({"storage": "much"}, 'spec.resources.requests.storage: Invalid value: "much"'),
        ({"storage": "0"}, "must be greater than zero"),
        ({"volumeMode": "Block"}, "spec.volumeMode: Forbidden"),
        ({"dataSource": {"kind": "PersistentVolumeClaim", "name": "x"}}, "spec.dataSource: Forbidden"),
        ({"volumeName": "nfs"}, "spec.volumeName: Forbidden"),
        ({"resources": None}, "spec.resources.requests.storage: Required value"),
    ],
)
def test_what_a_claim_cannot_be_is_refused_by_name(run, spec, message):
    async def scenario(place):
        with pytest.raises(Invalid) as refused:
            await place.store.create(claim(**spec))
        assert message in str(refused.value)

    run(scenario)


def test_a_claim_grows_and_is_otherwise_immutable(run):
    async def scenario(place):
        await place.store.create(claim())
        await place.until(lambda: phase(place) == "Bound")
        await place.store.update(claim(storage="2Gi"))
        await place.until(lambda: find(place)["status"]["capacity"] == {"storage": "2Gi"})
        with pytest.raises(Invalid, match=r"can not be less than status\.capacity"):
            await place.store.update(claim(storage="1Gi"))
        with pytest.raises(Invalid, match="spec is immutable after creation except"):
            await place.store.update(claim(storage="2Gi", accessModes=["ReadWriteMany"]))

    run(scenario)


def test_a_job_with_a_volume_that_this_host_does_not_have_is_refused(run):
    async def scenario(place):
        volumes = [{"name": "v", "nfs": {"server": "x", "path": "/"}}]
        with pytest.raises(Invalid, match=r"volumes\[0\].nfs: Forbidden: this host has configMap"):
            await place.create("true", pod={"volumes": volumes})

    run(scenario)
