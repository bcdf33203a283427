"""As whom containers run: what is declared, what this host can do, and what a process then is."""

import asyncio
import os
from pathlib import Path

import pytest

from zeroflow.knative.local.processes.container import BadContainer
from zeroflow.knative.local.processes.launcher import Launcher
from zeroflow.knative.local.processes.mounting import Mount
from zeroflow.knative.local.processes.process import ProcessSpec
from zeroflow.knative.local.processes.security import give, user_of
from zeroflow.knative.local.processes.users import User


def declared(container, pod=None):
    return user_of({"spec": {"securityContext": pod or {}}}, {"securityContext": container})


def test_a_container_goes_before_its_pod_and_a_number_that_is_nobodys_is_a_group_of_its_own(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert declared({}) is None
    assert declared({"runAsNonRoot": True}) is None
    assert declared({"runAsUser": 43210}) == User(43210, 43210)
    pod = {"runAsUser": 1, "runAsGroup": 2, "supplementalGroups": [3], "fsGroup": 4}
    assert declared({"runAsUser": 43210}, pod) == User(43210, 2, (3, 4))
    with pytest.raises(BadContainer, match="container has runAsNonRoot and image will run as root"):
        declared({"runAsNonRoot": True, "runAsUser": 0})


def test_who_is_not_root_can_be_nobody_else_and_says_so(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 100)
    assert declared({"runAsUser": 1000, "runAsGroup": 100}) is None
    with pytest.raises(BadContainer, match="runAsUser 1001 and runAsGroup 7: this host runs as user 1000 of group 100"):
        declared({"runAsUser": 1001, "runAsGroup": 7})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process as another user")
def test_a_process_is_the_user_and_reads_its_volumes_alone(tmp_path):
    user = User(43210, 43211, (43212,))
    volume, secret = tmp_path / "volume", tmp_path / "secret"
    for folder in (volume, secret):
        folder.mkdir(mode=0o700)
        (folder / "file").write_text("read")
        (folder / "file").chmod(0o400)
    give(user, [volume])
    script = f"id -u; id -g; id -G; cat /zeroflow-test/file; echo; cat {secret}/file || echo refused; echo x > /x || :"

    async def scenario():
        launcher = Launcher()
        try:
            mounts = (Mount("/zeroflow-test", str(volume)),)
            spec = ProcessSpec(
                "test", ("sh", "-c", script), {"PATH": os.environ["PATH"]}, tmp_path / "log", mounts=mounts, user=user
            )
            process = await launcher.start(spec)
            assert await asyncio.wait_for(process.wait(), 30) == 0
        finally:
            await launcher.close()

    asyncio.run(scenario())
    said = [line for line in (tmp_path / "log").read_text().splitlines() if "denied" not in line]
    assert said == ["43210", "43211", "43211 43212", "read", "refused"]
    assert not Path("/x").exists()
