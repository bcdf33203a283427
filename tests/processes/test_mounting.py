"""Volumes at the paths where a container expects them, seen by its process alone."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from zeroflow.knative.local.processes import child, mounting
from zeroflow.knative.local.processes.launcher import Launcher
from zeroflow.knative.local.processes.mounting import Mount
from zeroflow.knative.local.processes.process import ProcessSpec

NEW = "/zeroflow-test-volume"  # exists on no machine
ENTER = """
import json, os, sys
from zeroflow.knative.local.processes.mounting import Mount, enter
enter([Mount(**mount) for mount in json.loads(sys.argv[1])])
os.execvp("sh", ["sh", "-c", sys.argv[2]])
"""


@pytest.fixture(scope="module", autouse=True)
def namespaces():
    if not mounting.possible():
        pytest.skip("this kernel lets this user make no mount namespace: only the fallback is in use here")


@pytest.fixture
def run(tmp_path):
    """Run a shell script as a container with mounts and return (exit code, what it wrote)."""

    def runner(script, *mounts, cwd=None, **settings):
        async def main():
            launcher = Launcher()
            log = tmp_path / "logs" / "log"
            try:
                argv = ("sh", "-c", script)
                spec = ProcessSpec("test", argv, {"PATH": os.environ["PATH"]}, log, cwd=cwd, mounts=mounts, **settings)
                process = await launcher.start(spec)
                return await asyncio.wait_for(process.wait(), 30), log.read_text()
            finally:
                await launcher.close()

        return asyncio.run(main())

    return runner


@pytest.fixture
def volume(tmp_path):
    folder = tmp_path / "volume"
    (folder / "inner").mkdir(parents=True)
    (folder / "file").write_text("hello\n")
    return folder


@pytest.mark.parametrize("path", [NEW, f"{NEW}/below/it", "/etc/zeroflow-test/volume", "/mnt"])
def test_a_volume_is_at_its_mount_path_and_leaves_no_trace_on_the_machine(run, volume, path):
    before = os.path.exists(path)
    script = f"cat {path}/file && echo written > {path}/new && test -e /etc/passwd && test -d /proc/self"
    assert run(script, Mount(path, str(volume))) == (0, "hello\n")
    assert (volume / "new").read_text() == "written\n"
    assert os.path.exists(path) == before
    assert not Path("/mnt/file").exists()


def test_a_read_only_volume_cannot_be_written_to(run, volume):
    code, said = run(f"echo x > {NEW}/file", Mount(NEW, str(volume), read_only=True))
    assert code != 0
    assert "Read-only file system" in said
    assert (volume / "file").read_text() == "hello\n"


def test_a_single_file_is_mounted_beside_what_is_there(run, volume):
    mount = Mount("/etc/zeroflow-test-file", str(volume / "file"))
    assert run("cat /etc/zeroflow-test-file; ls /etc/passwd", mount) == (0, "hello\n/etc/passwd\n")
    assert not Path("/etc/zeroflow-test-file").exists()


def test_volumes_nest(run, volume, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "deep").touch()
    mounts = (Mount(f"{NEW}/inner", str(other)), Mount(NEW, str(volume)))
    assert run(f"ls {NEW}/inner; cat {NEW}/file", *mounts) == (0, "deep\nhello\n")


def test_the_working_directory_is_looked_up_with_the_volumes_in_place(run, volume):
    assert run("pwd; cat file", Mount(NEW, str(volume)), cwd=Path(NEW)) == (0, f"{NEW}\nhello\n")


def test_a_source_that_is_gone_says_so(run, tmp_path):
    code, said = run("true", Mount(NEW, str(tmp_path / "gone")))
    assert code == child.EXIT_NOT_EXECUTABLE
    assert said.startswith("cannot mount the volumes: ")
    assert "No such file or directory" in said


def test_a_user_without_privileges_gets_a_user_namespace(volume):
    if shutil.which("setpriv") is None or os.getuid() != 0:
        pytest.skip("needs root and setpriv, to give up what root may do")
    mounts = f'[{{"path": "{NEW}", "source": "{volume}", "read_only": true}}]'
    bare = ["setpriv", "--bounding-set=-sys_admin", sys.executable, "-c", ENTER, mounts]
    done = subprocess.run([*bare, f"cat {NEW}/file; touch {NEW}/x; id -u"], capture_output=True, text=True)
    assert done.stdout == "hello\n0\n"
    assert "Read-only file system" in done.stderr


def test_without_namespaces_paths_in_words_and_values_lead_to_the_directory():
    task = child.Task(
        argv=("cat", f"{NEW}/file", f"in {NEW}"),
        env={"WHERE": NEW, "OTHER": f"{NEW}x"},
        log="",
        cwd=f"{NEW}/inner",
        memory_bytes=None,
        mounts=(Mount(NEW, "/real"),),
        grace_s=1.0,
        listener=None,
        ready=None,
        gunicorn=False,
    )
    found = child.relocated(task)
    assert found.argv == ("cat", "/real/file", f"in {NEW}")
    assert found.env == {"WHERE": "/real", "OTHER": f"{NEW}x"}
    assert (found.cwd, found.mounts) == ("/real/inner", ())


def test_with_a_read_only_root_only_volumes_can_be_written_to(run, volume, tmp_path):
    script = f"""
    for path in {tmp_path}/x /tmp/zeroflow-x /etc/zeroflow-x /zeroflow-x {NEW}-fixed/x {NEW}-gone/x; do
        touch $path 2>/dev/null && echo wrote $path
    done
    cat {NEW}/file; echo new > {NEW}/inner/made && echo x > /dev/null
    echo x > /dev/shm/zeroflow-x && rm /dev/shm/zeroflow-x
    cat /proc/self/comm; echo done
    """
    mounts = (Mount(NEW, str(volume)), Mount(f"{NEW}-fixed", str(volume), read_only=True))
    assert run(script, *mounts, read_only_root=True) == (0, "hello\ncat\ndone\n")
    assert (volume / "inner" / "made").read_text() == "new\n"
    code, said = run(f"touch {tmp_path}/x || echo refused", read_only_root=True)
    assert code == 0
    assert said.endswith("refused\n")
    assert run(f"touch {tmp_path}/x && echo wrote")[1].endswith("wrote\n")
