"""Where packages_to_install are: in the platform's own environment when it satisfies them, else in one built for
them.

Nothing is ever installed into the platform's environment. One environment per set of requirements, index options and
Python is built below `<home>/environments/` and kept; it holds what was asked for and nothing of the platform but
kfp, which is linked in after its own packages, so that a component that asks for a kfp of its own gets it. An
environment is complete when its `ready.json` is there, which is written last; it cannot be built elsewhere and
renamed, since its scripts hold their own path. The installer is uv when there is one, told what pip's configuration
says, or else pip.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata, util
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from zeroflow.functions.step.command import Install
from zeroflow.functions.step.errors import PackagesNotInstalled, TimedOut
from zeroflow.functions.step.pipconfig import PipConfig

LAYOUT = 1
"""Part of an environment's identity: raise it when what is built changes."""
TAIL_LINES = 15


class Environments:
    """Finds or builds the environment for a component's packages. Safe across threads and processes."""

    def __init__(self, directory: Path, environment: Mapping[str, str], installer: str = "uv") -> None:
        self._directory, self._environment, self._installer = directory, dict(environment), installer

    def kfp(self) -> str:
        """Return a folder that shows the platform's kfp and nothing else, for an interpreter that has none."""
        folder = self._directory / "kfp"
        if not (folder / "kfp").exists():
            with _locked(folder.with_suffix(".lock")):
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                (folder / "kfp").symlink_to(_own_kfp(), target_is_directory=True)
        return str(folder)

    def python_for(
        self, installs: tuple[Install, ...], log: Path, timeout_s: float, base: str | None = None
    ) -> str | None:
        """Return the interpreter for these packages, or None when the platform's own has them already.

        `base` is the interpreter of another environment, whose packages are there as well. The installer's output
        goes to `log`. Raises PackagesNotInstalled, or TimedOut after `timeout_s`.
        """
        if base is None and all(satisfied(requirement) for install in installs for requirement in install.requirements):
            return None
        identity = json.dumps(
            [LAYOUT, base or sys.version, sysconfig.get_platform(), [(*i.requirements, *i.options) for i in installs]]
        )
        path = self._directory / hashlib.sha256(identity.encode()).hexdigest()[:32]
        python = path / "bin" / "python"
        if not (path / "ready.json").exists():
            deadline = time.monotonic() + timeout_s
            with _locked(path.with_suffix(".lock")):
                if not (path / "ready.json").exists():
                    self._build(path, installs, log, deadline, base)
        return str(python)

    def _build(self, path: Path, installs: tuple[Install, ...], log: Path, deadline: float, base: str | None) -> None:
        shutil.rmtree(path, ignore_errors=True)
        uv = _uv() if self._installer == "uv" else None
        named = [requirement for install in installs for requirement in install.requirements]
        with log.open("a") as output:
            output.write(f"[zeroflow] building an environment with {', '.join(named)}\n")
        try:
            if uv:
                self._call([uv, "venv", "--quiet", "--python", base or sys.executable, str(path)], named, log, deadline)
            else:
                self._call([base or sys.executable, "-m", "venv", "--without-pip", str(path)], named, log, deadline)
            for install in installs:
                self._call(self._command(uv, path, install), list(install.requirements), log, deadline)
            _link_kfp(path)
            if base:
                _link_packages(path, base)
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
        (path / "ready.json").write_text(json.dumps({"requirements": named}))

    def _command(self, uv: str | None, path: Path, install: Install) -> list[str]:
        python = str(path / "bin" / "python")
        if uv is None:
            command = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
            return [*command, "--disable-pip-version-check", *install.options, *install.requirements]
        config = PipConfig.read(self._environment).with_options(install.options)
        return [uv, "pip", "install", "--quiet", "--python", python, *config.uv_options(), *install.requirements]

    def _call(self, argv: list[str], requirements: list[str], log: Path, deadline: float) -> None:
        env = {**self._environment, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "NO_COLOR": "1"}
        env.pop("PYTHONPATH", None)
        env.pop("VIRTUAL_ENV", None)
        try:
            done = subprocess.run(
                argv,
                check=False,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=max(0.1, deadline - time.monotonic()),
                text=True,
                errors="replace",
            )
        except subprocess.TimeoutExpired as error:
            raise TimedOut(f"timed out while installing {', '.join(requirements)}") from error
        with log.open("a") as output:
            output.write(done.stdout)
        if done.returncode:
            said = [line.strip() for line in done.stdout.splitlines() if line.strip()]
            at_fault = [r for r in requirements if any(_name(r).lower() in line.lower() for line in said)]
            tail = " ".join(said[-TAIL_LINES:])[-600:] or f"the installer ended with exit code {done.returncode}"
            raise PackagesNotInstalled(f"cannot install {', '.join(at_fault or requirements)}: {tail}")


def satisfied(text: str) -> bool:
    """Say whether the running environment has what a requirement asks for, its extras included."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement:  # an option, a path, a repository
        return False
    return requirement.url is None and _met(requirement, set())


def _met(requirement: Requirement, seen: set[str]) -> bool:
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return True
    try:
        distribution = metadata.distribution(requirement.name)
    except metadata.PackageNotFoundError:
        return False
    if not requirement.specifier.contains(distribution.version, prereleases=True):
        return False
    return all(_met(needed, seen) for needed in _of_extras(distribution, requirement, seen))


def _of_extras(distribution: metadata.Distribution, requirement: Requirement, seen: set[str]) -> Iterable[Requirement]:
    """Yield what the extras of a requirement need; what the distribution needs itself came with it."""
    for extra in requirement.extras:
        if f"{requirement.name}[{extra}]" in seen:
            continue
        seen.add(f"{requirement.name}[{extra}]")
        for text in distribution.requires or ():
            needed = Requirement(text)
            if needed.marker and needed.marker.evaluate({"extra": extra}) and not needed.marker.evaluate({"extra": ""}):
                needed.marker = None
                yield needed


def _name(requirement: str) -> str:
    try:
        return Requirement(requirement).name
    except InvalidRequirement:
        return requirement


def _uv() -> str | None:
    beside = Path(sys.executable).parent / "uv"
    return str(beside) if beside.exists() else shutil.which("uv")


def _link_kfp(path: Path) -> None:
    """Show the environment the platform's kfp, whose executor needs nothing but the standard library."""
    linked = path / "zeroflow"
    linked.mkdir()
    (linked / "kfp").symlink_to(_own_kfp(), target_is_directory=True)
    (site,) = (path / "lib").glob("python*/site-packages")
    (site / "zeroflow-kfp.pth").write_text(f"{linked}\n")


def _own_kfp() -> str:
    spec = util.find_spec("kfp")
    if spec is None or not spec.submodule_search_locations:
        raise PackagesNotInstalled("the platform's own environment has no kfp: pip install 'zeroflow[step]'")
    return os.path.realpath(spec.submodule_search_locations[0])


def _link_packages(path: Path, base: str) -> None:
    """Show the environment the packages of another one, after its own."""
    (site,) = (path / "lib").glob("python*/site-packages")
    below = Path(base).parent.parent / "lib"
    (site / "zeroflow-base.pth").write_text("".join(f"{found}\n" for found in below.glob("python*/site-packages")))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
