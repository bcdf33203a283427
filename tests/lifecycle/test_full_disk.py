"""A home whose disk is full: what is answered, what is kept, and that it goes on when there is room again."""

import contextlib
import json
import shutil
import subprocess
import sys

import pytest

from lifecycle.conftest import Host

MAPS = "/api/v1/namespaces/default/configmaps"
ON_A_SMALL_DISK = 'mount -t tmpfs -o size=$1 tmpfs "$2" && shift 2 && exec "$@"'


def small_disk(folder, size):
    """Return a wrapper whose command sees a disk of this size at `folder`, or skip."""
    folder.mkdir()
    wrapper = ("unshare", "--mount", "sh", "-c", ON_A_SMALL_DISK, "sh", size, str(folder))
    if shutil.which("unshare") is None or subprocess.run([*wrapper, "true"], capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk: nothing was checked here")
    return wrapper


def fill(path):
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):  # no space left
        while True:
            file.write(b"x" * 65536)


def publish(host, number, size=1):
    headers = {"ce-specversion": "1.0", "ce-id": f"e{number}", "ce-source": "/s", "ce-type": "t"}
    headers |= {"Content-Type": "application/json"}
    return host.request("POST", "/eventing/zeroflow/default", headers=headers, body=json.dumps("x" * size))


def create(host, name, size=1):
    body = json.dumps({"metadata": {"name": name}, "data": {"k": "x" * size}})
    return host.request("POST", MAPS, headers={"Content-Type": "application/json"}, body=body)


def test_a_full_disk_refuses_what_it_cannot_keep_and_nothing_else(tmp_path):
    folder = tmp_path / "disk"
    host = Host(folder / "home")
    wrapper = small_disk(folder, "24m")
    process = host.process = subprocess.Popen(
        [*wrapper, sys.executable, "-m", "zeroflow", "up", "--home", str(host.home), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("zeroflow is up"), line
    host.urls.append(line.split()[3])
    try:
        assert create(host, "before").status == 201
        filler = f"/proc/{process.pid}/root{folder}/filler"
        fill(filler)
        refused = create(host, "during", 20_000)
        assert (refused.status, refused.json()["reason"]) == (503, "ServiceUnavailable")
        assert "nothing was changed" in refused.json()["message"]
        assert "full" in refused.json()["message"]
        answers = [publish(host, number, 30_000) for number in range(3)]
        assert [answer.status for answer in answers] == [503, 503, 503]
        assert b"could not be stored" in answers[0].data
        assert [item["metadata"]["name"] for item in host.request("GET", MAPS).json()["items"]] == ["before"]
        subprocess.run(["rm", filler], check=True)
        assert create(host, "after").status == 201
        assert publish(host, "later").status == 202
        names = [item["metadata"]["name"] for item in host.request("GET", MAPS).json()["items"]]
        assert names == ["after", "before"]
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_host_on_a_full_disk_does_not_start_and_says_why(tmp_path):
    folder = tmp_path / "disk"
    wrapper = small_disk(folder, "64k")
    done = subprocess.run(
        [*wrapper, sys.executable, "-m", "zeroflow", "up", "--home", str(folder / "home"), "--port", "0"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "full" in done.stderr or "No space left" in done.stderr
