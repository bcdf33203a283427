"""packages_to_install: never into the platform's environment."""

import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from kfp import dsl


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """Return a folder with the wheel of a tiny package."""
    folder = tmp_path_factory.mktemp("wheels")
    with zipfile.ZipFile(folder / "zeroflow_tiny-1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr("zeroflow_tiny.py", "ANSWER = 42\n")
        info = "zeroflow_tiny-1.2.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: zeroflow-tiny\nVersion: 1.2\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return folder


@pytest.fixture
def packaged(own_function, wheels, request):
    """Start a function whose installer, uv if not said otherwise, finds nothing but that wheel."""
    installer = getattr(request, "param", "uv")
    if installer == "pip" and find_spec("pip") is None:
        pytest.skip("this environment has no pip")
    only = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": "/dev/null"}
    return own_function(**only, ZEROFLOW_STEP_INSTALLER=installer)


def tiny(components, requirement):
    return dsl.component(components.uses_tiny, base_image="python:3.11", packages_to_install=[requirement])


def test_packages_that_are_there_need_no_environment(function, task, components):
    answer = function.request(task(components.uses_installed))
    assert answer["outputs"]["parameterValues"] == {"Output": sys.prefix}
    assert "install_ms" in answer["timings"]
    assert not (function.home / "environments").exists()


@pytest.mark.parametrize("packaged", ["uv", "pip"], indirect=True)
def test_a_missing_package_is_installed_into_an_environment_of_its_own_and_kept(packaged, task, components):
    component = tiny(components, "zeroflow-tiny==1.2")
    first = packaged.request(task(component, timeout_s=60))
    assert first["state"] == "SUCCEEDED", first
    seen = first["outputs"]["parameterValues"]
    assert seen["answer"] == 42
    assert Path(seen["prefix"]).parent == packaged.home / "environments"
    assert seen["numpy"] is False  # the platform's packages are not visible
    again = packaged.request(task(component))
    assert again["outputs"]["parameterValues"] == seen
    assert again["timings"]["install_ms"] < 20
    assert subprocess.run([sys.executable, "-c", "import zeroflow_tiny"], capture_output=True).returncode == 1


def test_a_package_that_cannot_be_installed_is_named(packaged, task, components):
    wanted = task(tiny(components, "zeroflow-tiny==9.9"))
    answer = packaged.request(wanted)
    assert (answer["state"], answer["error"]["reason"]) == ("FAILED", "PackagesNotInstalled")
    assert "zeroflow-tiny==9.9" in answer["error"]["message"]
    assert "zeroflow-tiny" in packaged.log_of(wanted)
    assert [path for path in (packaged.home / "environments").iterdir() if path.is_dir()] == []


def test_a_step_in_an_environment_fails_and_is_killed_like_any_other(packaged, task, components, tmp_path):
    failing = dsl.component(
        components.fail.python_func, base_image="python:3.11", packages_to_install=["zeroflow-tiny==1.2"]
    )
    wanted = task(failing, {"rows": 0})
    answer = packaged.request(wanted)
    assert answer["error"] == {"message": "ValueError: no rows", "reason": "Failed"}
    assert "Traceback" in packaged.log_of(wanted)
    family = dsl.component(
        components.start_a_family.python_func, base_image="python:3.11", packages_to_install=["zeroflow-tiny==1.2"]
    )
    answer = packaged.request(task(family, {"pids": str(tmp_path / "pids"), "stubborn": False}, timeout_s=1))
    assert answer["error"]["reason"] == "TimedOut"
