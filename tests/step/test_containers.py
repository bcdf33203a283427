"""Container components: their command as a process of this machine, with its placeholders."""

from pathlib import Path

import pytest

from zeroflow.errors import InvalidInput
from zeroflow.functions.step.placeholders import Placeholders

SPEC = {
    "inputDefinitions": {
        "parameters": {"text": {"parameterType": "STRING"}, "maybe": {"parameterType": "STRING", "isOptional": True}},
        "artifacts": {"data": {"artifactType": {"schemaTitle": "system.Dataset"}}},
    },
    "outputDefinitions": {
        "parameters": {"count": {"parameterType": "NUMBER_INTEGER"}},
        "artifacts": {"model": {"artifactType": {"schemaTitle": "system.Model"}}},
    },
}


@pytest.fixture
def run(function, task):
    """Run a command line; return the answer and the log."""

    def run(command, args=(), parameters=None, spec=None, **more):
        executor = {"image": "alpine", "command": list(command), "args": list(args)}
        wanted = {**task.of(executor, spec or {}, parameters, more.pop("artifacts", None)), **more}
        return function.request(wanted), function.log_of(wanted)

    return run


def test_a_command_reads_inputs_and_writes_outputs(function, run):
    (function.store / "given").mkdir(exist_ok=True)
    (function.store / "given" / "rows").write_text("a\nb\nc\n")
    given = {"name": "data", "uri": "store://given/rows", "type": {"schemaTitle": "system.Dataset"}}
    answer, log = run(
        ["sh", "-ec", 'wc -l < "$0" > "$1"; tr a-c A-C < "$0" > "$2"; echo "$3"'],
        [
            "{{$.inputs.artifacts['data'].path}}",
            "{{$.outputs.parameters['count'].output_file}}",
            "{{$.outputs.artifacts['model'].path}}",
            "said {{$.inputs.parameters['text']}} for {{$.pipeline_task_name}}",
        ],
        {"text": "{{$.pipeline_root}} $(id) `id`"},
        SPEC,
        artifacts={"data": [given]},
        context={"task_name": "t", "pipeline_root": "never"},
    )
    assert answer["state"] == "SUCCEEDED", (answer, log)
    assert answer["outputs"]["parameterValues"] == {"count": 3}
    (model,) = answer["outputs"]["artifacts"]["model"]
    assert function.path(model["uri"]).read_text() == "A\nB\nC\n"
    assert "said {{$.pipeline_root}} $(id) `id` for t" in log
    assert "runs as a process on this machine, not in alpine" in log


@pytest.mark.parametrize(
    ("command", "reason", "part"),
    [
        (["sh", "-c", "exit 3"], "Exited", "exit code 3"),
        (["no-such-program-anywhere"], "Failed", "there is no program 'no-such-program-anywhere' on this machine"),
        (["sh", "-c", "kill -9 $$"], "Killed", "killed by signal 9"),
        (["echo", "{{$.inputs.nothing}}"], "InvalidInput", "is not supported"),
    ],
    ids=["exit-code", "no-program", "signal", "placeholder"],
)
def test_a_command_that_does_not_end_well_is_a_failure_with_its_reason(run, command, reason, part):
    answer, _ = run(command)
    assert (answer["state"], answer["error"]["reason"]) == ("FAILED", reason)
    assert part in answer["error"]["message"]


def test_a_command_that_takes_too_long_is_ended_with_all_that_it_started(run):
    answer, log = run(["sh", "-c", "sleep 1000 & sleep 1000"], timeout_s=0.3)
    assert answer["error"]["reason"] == "TimedOut", log


def test_a_command_sees_its_own_variables_and_none_of_the_platforms(run):
    answer, log = run(["sh", "-c", "env; python -c 'print(6 * 7)'"])
    assert answer["state"] == "SUCCEEDED", log
    assert "platform-secret" not in log
    assert "42" in log


INPUT = {
    "inputs": {
        "parameterValues": {"a": "A", "n": 7, "items": [1, "x"], "none": None},
        "artifacts": {
            "one": {"artifacts": [{"name": "one", "uri": "store://b/one", "metadata": {"k": "v"}}]},
            "two": {"artifacts": [{"uri": "store://b/1"}, {"uri": "store://b/2"}]},
        },
    },
    "outputs": {"parameters": {"p": {"outputFile": "/out/p"}}, "outputFile": "/out/all"},
}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["{{$.inputs.parameters['a']}}-{{$.inputs.parameters['n']}}"], ["A-7"]),
        (['{{$.inputs.parameters["items"]}}'], ['[1, "x"]']),
        (["{{$.inputs.artifacts['one'].uri}}"], ["store://b/one"]),
        (["{{$.inputs.artifacts['one'].path}}"], ["/mount/one"]),
        (["{{$.inputs.artifacts['one'].metadata['k']}}"], ["v"]),
        (["{{$.inputs.artifacts['two']}}"], ['[{"uri": "store://b/1"}, {"uri": "store://b/2"}]']),
        (["{{$.outputs.parameters['p'].output_file}}"], ["/out/p"]),
        (["{{$.inputs.parameters['none']}}"], [""]),
        (["""{"Concat": ["x-", "{{$.inputs.parameters['a']}}", {"Concat": ["1", "2"]}]}"""], ["x-A12"]),
        (
            ["""{"IfPresent": {"InputName": "a", "Then": ["--a", "{{$.inputs.parameters['a']}}"]}}""", "z"],
            ["--a", "A", "z"],
        ),
        (['{"IfPresent": {"InputName": "none", "Then": ["--a"]}}', "z"], ["z"]),
        (['{"IfPresent": {"InputName": "no", "Then": "t", "Else": ["e", "f"]}}'], ["e", "f"]),
        (['{"IfPresent": {"InputName": "two", "Then": {"Concat": ["a", "b"]}, "Else": "e"}}'], ["ab"]),
        (['{"Concat": "is not a list'], ['{"Concat": "is not a list']),
    ],
)  # fmt: skip
def test_placeholders(words, expected):
    place = Placeholders(INPUT, {}, lambda uri: Path("/mount") / uri.rpartition("/")[2])
    assert place.words(words) == expected


def test_an_unknown_structure_is_refused():
    with pytest.raises(InvalidInput, match="neither Concat nor IfPresent"):
        Placeholders(INPUT, {}, Path).words(['{"Concat": [{"Exec": "x"}]}'])
