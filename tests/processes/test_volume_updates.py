"""ConfigMaps and Secrets that change while a Pod has them mounted."""

import asyncio
import os
from pathlib import Path

import pytest

from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.home import Home
from zeroflow.knative.local.processes import volume_files, volumes
from zeroflow.knative.local.processes.pods import PodContext
from zeroflow.knative.local.processes.volume_updates import VolumeUpdates

MOUNTED = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}


def pod(volume, name="p"):
    metadata = {"name": name, "namespace": "default"}
    containers = [{"name": "c", "image": "i", **MOUNTED}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": containers, "volumes": [{"name": "v", **volume}]},
    }


def config(data, kind="ConfigMap"):
    texts = {"stringData": data} if kind == "Secret" else {"data": data}
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "c", "namespace": "default"}, **texts}


def seen(root: Path) -> dict[str, str]:
    """What a program sees of a volume that reads it by names."""
    return {entry.name: entry.read_text() for entry in root.iterdir() if not entry.name.startswith("..")}


class Host:
    def __init__(self, path: Path) -> None:
        self.home = Home(path)
        self.home.prepare()
        self.store = Store(path / "resources.sqlite")
        self.context = PodContext(self.store, self.store.find, None, self.home)

    def mount(self, declared, name="p"):
        scratch = self.home.run / "pods" / name
        volumes.mount(self.context, declared, MOUNTED, scratch)
        return scratch / "v"

    async def until(self, condition):
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.01)


def run(path, scenario):
    async def main():
        host = Host(path)
        updates = VolumeUpdates(host.store, host.context)
        await updates.start()
        try:
            await scenario(host)
        finally:
            await updates.close()
            await host.store.close()

    asyncio.run(main())


SOURCES = {
    "ConfigMap": {"configMap": {"name": "c"}},
    "Secret": {"secret": {"secretName": "c"}},
    "projected": {"projected": {"sources": [{"configMap": {"name": "c"}}]}},
}


@pytest.mark.parametrize("kind", SOURCES)
def test_files_follow_what_is_declared(tmp_path, kind):
    declared = pod(SOURCES[kind])
    kind = "ConfigMap" if kind == "projected" else kind

    async def scenario(host):
        await host.store.create(config({"a": "1", "gone": "x"}, kind))
        root = host.mount(declared)
        await host.store.create(declared)
        before = os.readlink(root / volume_files.DATA)
        await host.store.update(config({"a": "2", "new": "y"}, kind))
        await host.until(lambda: seen(root) == {"a": "2", "new": "y"})
        assert os.readlink(root / volume_files.DATA) != before
        assert not (root / before).exists()
        assert (root / "a").stat().st_mode & 0o777 == 0o400

    run(tmp_path, scenario)


def test_what_changed_while_the_pod_was_made_is_not_missed(tmp_path):
    async def scenario(host):
        declared = pod(SOURCES["ConfigMap"])
        await host.store.create(config({"a": "1"}))
        root = host.mount(declared)
        await host.store.update(config({"a": "2"}))
        await host.store.create(declared)  # the record is written behind the process
        await host.until(lambda: seen(root) == {"a": "2"})

    run(tmp_path, scenario)


def test_optional_config_map_that_comes_later_is_shown_and_one_that_goes_stays(tmp_path):
    async def scenario(host):
        declared = pod({"configMap": {"name": "c", "optional": True}})
        root = host.mount(declared)
        await host.store.create(declared)
        assert seen(root) == {}
        await host.store.create(config({"a": "1"}))
        await host.until(lambda: seen(root) == {"a": "1"})
        await host.store.delete("ConfigMap", "default", "c")
        await host.store.create({**config({"b": "1"}), "metadata": {"name": "other", "namespace": "default"}})
        assert seen(root) == {"a": "1"}

    run(tmp_path, scenario)


def test_a_key_that_an_item_names_and_that_is_gone_leaves_the_files(tmp_path):
    async def scenario(host):
        declared = pod({"configMap": {"name": "c", "items": [{"key": "a", "path": "deep/a"}]}})
        await host.store.create(config({"a": "1"}))
        root = host.mount(declared)
        await host.store.create(declared)
        await host.store.update(config({"b": "2"}))
        await host.store.update(config({"a": "3"}))
        await host.until(lambda: (root / "deep" / "a").read_text() == "3")

    run(tmp_path, scenario)


def test_files_of_another_user_stay_theirs(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root gives files to others")
    volume_files_root = tmp_path / "v"
    volume_files_root.mkdir(mode=0o700)
    os.chown(volume_files_root, 12345, 54321)
    volume_files.show(volume_files_root, {"a": b"1", "deep/b": b"2"})
    for path in volume_files_root.rglob("*"):
        assert (path.lstat().st_uid, path.lstat().st_gid) == (12345, 54321), path


def test_an_exchange_leaves_nothing_behind_and_none_happens_without_need(tmp_path):
    for number in range(3):
        assert volume_files.show(tmp_path, {"a": str(number).encode(), "b": b""})
    assert len([entry for entry in tmp_path.iterdir() if entry.name.startswith("..")]) == 2  # with ..data
    assert not volume_files.show(tmp_path, {"a": b"2", "b": b""})
