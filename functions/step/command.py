"""What a component's container command says: a lightweight Python component, or any other command.

The KFP SDK compiles such a component to a shell script that installs packages, one that writes the component's source
to a file and calls kfp's executor with it, and the source itself. No shell runs here: the two scripts are read, and
only what the SDK writes is accepted. Source: the commands in IR that SDKs 2.0 to 2.17 compile.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zeroflow.functions.step.errors import Unsupported

_PROGRAM = re.compile(
    r'program_path=\$\(mktemp -d\) printf "%s" "\$0" > "\$program_path/ephemeral_component\.py"'
    r" (?:_KFP_RUNTIME=true )?python3 -m kfp\.(?:dsl|components)\.executor_main"
    r' --component_module_path "\$program_path/ephemeral_component\.py" "\$@"'
)
_ENSURE_PIP = (
    'if ! [ -x "$(command -v pip)" ]; then python3 -m ensurepip || python3 -m ensurepip --user || apt-get install'
    " python3-pip fi "
)
_USE_VENV = (
    'export PIP_DISABLE_PIP_VERSION_CHECK=1 tmp=$(mktemp -d) python3 -m venv "$tmp/venv" --system-site-packages'
    ' . "$tmp/venv/bin/activate" '
)
_EXECUTOR = "kfp.dsl.executor_main"
_PREFIX, _SUFFIX = "PIP_DISABLE_PIP_VERSION_CHECK=1 ", ' && "$0" "$@"'
_PIP_INSTALL = ["python3", "-m", "pip", "install"]
_OPTIONS = ("--index-url", "--extra-index-url", "--trusted-host")
_HOST_KFP = re.compile(r"^kfp\s*==\s*[0-9A-Za-z.+!-]+$")


@dataclass(frozen=True)
class Install:
    """What one `pip install` of the component is given."""

    requirements: tuple[str, ...]
    options: tuple[str, ...] = ()
    """Index options, each name followed by its value."""


@dataclass(frozen=True)
class LightweightComponent:
    """A Python function, the source it is in, and what must be installed for it."""

    source: str
    """Empty: the function is in the image, where kfp_config.ini says in which file."""
    function: str
    installs: tuple[Install, ...] = ()


@dataclass(frozen=True)
class ContainerComponent:
    """A command line, with placeholders."""

    command: tuple[str, ...]
    """Empty: what the image starts by itself."""
    args: tuple[str, ...]
    image: str


def recognise(executor: Mapping[str, Any]) -> LightweightComponent | ContainerComponent:
    """Read a PipelineContainerSpec; raise Unsupported for a form of a Python component that no SDK compiles."""
    command, args = _words(executor, "command"), _words(executor, "args")
    installs: tuple[Install, ...] = ()
    if len(command) == 7 and command[:2] == ["sh", "-c"]:
        installs = _installs(command[2])
        command = command[3:]
    if len(command) != 4 or command[:2] != ["sh", "-ec"] or not _PROGRAM.fullmatch(_one_line(command[2])):
        return _container(executor, _words(executor, "command"), args)
    return LightweightComponent(command[3], _function(args), installs)


def _words(executor: Mapping[str, Any], field: str) -> list[str]:
    words: Sequence[Any] = executor.get(field) or ()
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        raise Unsupported(f"executor.{field} must be a list of strings")
    return list(words)


def _one_line(script: str) -> str:
    return " ".join(script.split())


def _function(args: list[str]) -> str:
    options = dict(zip(args[::2], args[1::2], strict=False))
    function = options.get("--function_to_execute", "")
    if len(args) != 4 or options.get("--executor_input") != "{{$}}" or not function.isidentifier():
        raise Unsupported(
            "expected the arguments --executor_input '{{$}}' --function_to_execute <name> of a Python component, got "
            f"{shlex.join(args)[:200]}"
        )
    return function


def _container(
    executor: Mapping[str, Any], command: list[str], args: list[str]
) -> LightweightComponent | ContainerComponent:
    image = str(executor.get("image") or "none")
    if command == ["python3", "-m", _EXECUTOR]:
        return LightweightComponent("", _function(args))
    if any(_EXECUTOR in part for part in command):
        raise Unsupported(f"an unknown form of a Python component (image {image}) is not run; compile it with kfp 2")
    return ContainerComponent(tuple(command), tuple(args), image)


def _installs(script: str) -> tuple[Install, ...]:
    unread = Unsupported(
        "the component's install script is not one that the KFP SDK writes: " + _one_line(script)[:200]
    )
    text = _one_line(script).removeprefix(_ENSURE_PIP)
    if not text.startswith(_PREFIX) or not text.endswith(_SUFFIX):
        raise unread
    text = text.removeprefix(_PREFIX).removesuffix(_SUFFIX).replace(_USE_VENV, "")
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise unread from error
    commands: list[list[str]] = [[]]
    for word in words:
        if word == "&&":
            commands.append([])
        else:
            commands[-1].append(word)
    if any(words[:4] != _PIP_INSTALL for words in commands):
        raise unread
    sdk = _sdk_install(commands)
    return tuple(_install(words[4:], unread) for words in commands if words is not sdk)


def _sdk_install(commands: list[list[str]]) -> list[str] | None:
    """Return the command that installs the SDK itself, which this function brings along.

    It has --no-deps and is first or last, with the packages of the component in the other; betas had kfp alone.
    """
    pinned = [words for words in commands if any(_HOST_KFP.match(word) for word in words)]
    for words in (*pinned, *commands):
        if "--no-deps" in words or (words in pinned and len([w for w in words[4:] if not w.startswith("-")]) == 1):
            return words
    return None


def _install(words: list[str], unread: Unsupported) -> Install:
    requirements, options = [], []
    rest = iter(words)
    for word in rest:
        if word in ("--quiet", "--no-warn-script-location"):
            continue
        if word in _OPTIONS:
            options += [word, next(rest, "")]
        elif word.startswith("-"):
            raise Unsupported(f"packages_to_install holds the option {word!r}; only requirements are installed")
        else:
            requirements.append(word)
    if not requirements:
        raise unread
    return Install(tuple(requirements), tuple(options))
