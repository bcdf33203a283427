"""Images on a machine of processes: a directory stands for each."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from zeroflow.errors import InvalidInput
from zeroflow.images import Images, Mapped, without_tag
from zeroflow.knative.local.processes.container import NotRunnable, resolve


def nothing(kind: str, namespace: str, name: str) -> None:
    return None


def pod(image: str, command: list[str] | None = None) -> tuple[dict, dict]:  # type: ignore[type-arg]
    container = {"name": "main", "image": image, "args": ["--fast"], **({"command": command} if command else {})}
    return {"metadata": {"name": "p", "namespace": "default"}, "spec": {"containers": [container]}}, container


def test_a_container_of_a_mapped_image_finds_its_programs_and_runs_its_command(tmp_path: Path) -> None:
    folder = tmp_path / "tool"
    (folder / "bin").mkdir(parents=True)
    images = Images(tmp_path / "home")
    images.map("ghcr.io/me/tool", Mapped(folder, ("serve",)))
    found = resolve(*pod("ghcr.io/me/tool:1.2"), {"PATH": "/bin"}, nothing, images)
    assert found.argv == ("serve", "--fast")
    assert found.env["PATH"] == f"{folder}/bin:{folder}:/bin"
    assert found.cwd == folder
    own = resolve(*pod("ghcr.io/me/tool:1.2", ["train"]), {"PATH": "/bin"}, nothing, images)
    assert own.argv == ("train", "--fast")
    with pytest.raises(NotRunnable, match="zeroflow images map"):
        resolve(*pod("ghcr.io/me/other"), {"PATH": "/bin"}, nothing, images)


def test_the_exact_name_goes_before_the_one_without_a_tag(tmp_path: Path) -> None:
    images = Images(tmp_path)
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    images.map("localhost:5000/tool", Mapped(tmp_path / "old"))
    images.map("localhost:5000/tool:2", Mapped(tmp_path / "new"))
    assert images.of("localhost:5000/tool:2") == Mapped(tmp_path / "new")
    assert images.of("localhost:5000/tool:3") == Mapped(tmp_path / "old")
    assert images.of("localhost:5000/tool@sha256:ab") == Mapped(tmp_path / "old")
    assert images.of("localhost:5000/tools") is None
    assert without_tag("localhost:5000/tool") == "localhost:5000/tool"


def test_a_virtual_environment_gives_its_interpreter_and_no_working_directory(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    mapped = Mapped(tmp_path)
    assert mapped.python == tmp_path / "bin" / "python"
    assert mapped.working_directory is None
    assert mapped.environment({"PATH": "/bin"}) == {"PATH": f"{tmp_path}/bin:/bin", "VIRTUAL_ENV": str(tmp_path)}


def test_what_is_mapped_on_the_command_line_is_listed_and_forgotten(tmp_path: Path) -> None:
    def images(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "zeroflow", "images", *words]
        environment = {"ZEROFLOW_HOME": str(tmp_path / "home"), "PATH": "/bin:/usr/bin"}
        return subprocess.run(argv, env=environment, capture_output=True, text=True)

    (tmp_path / "tool").mkdir()
    assert images("map", "me/tool:1", str(tmp_path / "tool"), "--", "python3", "-m", "tool").returncode == 0
    listed = json.loads(images("list", "-o", "json").stdout)
    assert listed == [{"image": "me/tool:1", "directory": str(tmp_path / "tool"), "command": ["python3", "-m", "tool"]}]
    wrong = images("map", "me/tool:2", str(tmp_path / "absent"))
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "is not a directory; give a virtual environment or a folder" in wrong.stderr
    assert images("unmap", "me/tool:1").returncode == 0
    again = images("unmap", "me/tool:1")
    assert again.returncode == 1
    assert "is not mapped; see: zeroflow images list" in again.stderr


def test_a_damaged_mapping_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "images.json").write_text('{"me/tool": 3}')
    with pytest.raises(InvalidInput, match=r"is damaged .* remove it and map the images again"):
        Images(tmp_path).of("me/tool")
