"""The environment variables of a step.

An allow-list: the platform's own settings and secrets, and whatever else was in the function's environment, are not
the step's to see. What the component sets itself (`set_env_variable`) is added.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.images import Inside, Mapped

_PASSED = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "LD_PRELOAD"),
        *("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"),
        *("CUDA_HOME", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"),
        *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    }
)
_INSTALLER = ("PIP_", "UV_")


def passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a step, and the fork server that it comes from, may see of the function's environment."""
    return {name: value for name, value in environment.items() if name in _PASSED or name.startswith("LC_")}


def inside_image(environment: Mapping[str, str], ours: Callable[[str], bool]) -> dict[str, str]:
    """Return what a step may see in a container of its own image: what the image says, and nothing of `ours`."""
    return {name: value for name, value in environment.items() if not ours(name)}


def for_installer(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what an installer of packages may see: also its own settings."""
    settings = {name: value for name, value in environment.items() if name.startswith(_INSTALLER)}
    return {**passed_on(environment), **settings}


def of_container(executor: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables that the component's container is given; raise InvalidInput when they are none."""
    variables: Sequence[Any] = executor.get("env") or ()
    result = {}
    for variable in variables:
        name, value = (variable.get("name"), variable.get("value", "")) if isinstance(variable, dict) else (None, None)
        if (
            not isinstance(name, str)
            or not isinstance(value, str)
            or not name
            or {"=", "\0"} & set(name)
            or "\0" in value
        ):
            raise InvalidInput(f"executor.env must be a list of name and value, got {variable!r}")
        result[name] = value
    return result


def for_step(
    passed: Mapping[str, str], own: Mapping[str, str], *, isolated: bool, mapped: Mapped | None = None
) -> dict[str, str]:
    """Return a step's environment; an isolated one does not look for modules where the platform does.

    Temporary files go where the machine keeps them: pipelines that pass the path of one from step to step, as a
    widespread tutorial does, work as they do in one shell.
    """
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV") if isolated and not isinstance(mapped, Inside) else ()
    base = {name: value for name, value in passed.items() if name not in hidden}
    return {**base, **(mapped.environment(base) if mapped else {}), "_KFP_RUNTIME": "true", **own}


def for_command(passed: Mapping[str, str], own: Mapping[str, str], mapped: Mapped | None = None) -> dict[str, str]:
    """Return the environment of a container component's command; it finds this platform's `python` after others."""
    if isinstance(mapped, Inside):
        return {**passed, **own}
    path = os.pathsep.join([passed.get("PATH", os.defpath), os.path.dirname(sys.executable)])
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    base = {**{name: value for name, value in passed.items() if name not in hidden}, "PATH": path}
    return {**base, **(mapped.environment(base) if mapped else {}), **own}
