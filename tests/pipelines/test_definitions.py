"""What is refused at submission, and the words in which it is refused."""

import json
from typing import Any

import pytest

from pipelines.harness import Platform, component, constant, pipeline, task
from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline import conditions, packages
from zeroflow.functions.pipeline.ir import plan_of

N = {"n": "NUMBER_INTEGER"}
TAKES_N = {"a": component("a", takes=N, returns={"Output": "NUMBER_INTEGER"}, writes={"ds": "system.Dataset"})}


def _with(change: Any) -> dict[str, Any]:
    spec = pipeline({"a": task("a", n=constant(1.0))}, TAKES_N)
    change(spec)
    return spec


def _task(**fields: Any) -> dict[str, Any]:
    return pipeline({"a": {**task("a", n=constant(1.0)), **fields}}, TAKES_N)


def _on_kubernetes(executor: dict[str, Any]) -> dict[str, Any]:
    deployment = {"deploymentSpec": {"executors": {"exec-x": executor}}}
    return {"pipeline_spec": pipeline({"a": task("x")}), "platform_spec": {"platforms": {"kubernetes": deployment}}}


def _loop(items: str) -> dict[str, Any]:
    """Describe a loop over items that are written in the definition."""
    body = {
        "dag": {"tasks": {"a": task("a", n="pipeline.x")}},
        "inputDefinitions": {"parameters": {"x": {"parameterType": "NUMBER_INTEGER"}}},
    }
    loop = {**task("l"), "parameterIterator": {"items": {"raw": items}, "itemInput": "x"}}
    return pipeline({"l": loop}, {"l": body, **TAKES_N})


REFUSED = {
    "unknown component": (
        _with(lambda s: s["root"]["dag"]["tasks"]["a"]["componentRef"].update(name="comp-x")),
        "task a refers to component 'comp-x', which is not defined",
    ),
    "missing executor": (
        _with(lambda s: s["deploymentSpec"]["executors"].clear()),
        "task a: component comp-a needs executor 'exec-a', which deploymentSpec does not define",
    ),
    "missing parameter": (pipeline({"a": task("a")}, TAKES_N), "task a: required parameter 'n' of component comp-a"),
    "unknown parameter": (
        pipeline({"a": task("a", n=constant(1), z=constant(1))}, TAKES_N),
        "task a gives parameter 'z', which component comp-a does not take",
    ),
    "wrong constant": (
        pipeline({"a": task("a", n=constant("x"))}, TAKES_N),
        "task a: input n must be an integer, found a text 'x'",
    ),
    "wrong default": (
        pipeline(
            {"a": task("a")},
            {"a": component("a", takes={"n": {"parameterType": "NUMBER_INTEGER", "defaultValue": "x"}})},
        ),
        "input n: its default must be an integer, found a text 'x'",
    ),
    "cycle": (
        pipeline({"a": task("x", ("c",)), "b": task("x", ("a",)), "c": task("x", ("b",))}),
        "tasks depend on each other in a cycle: a <- c <- b <- a",
    ),
    "dangling task": (
        pipeline({"a": task("x", ("ghost",))}),
        "task a depends on task 'ghost', which is not in its scope",
    ),
    "dangling output": (
        pipeline({"a": task("a", n=constant(1)), "b": task("a", n="a/Nope")}, TAKES_N),
        "task b: input n comes from parameter 'Nope' of task a, which it does not give",
    ),
    "dangling pipeline input": (
        pipeline({"a": task("a", n="pipeline.ghost")}, TAKES_N),
        "task a: input n comes from pipeline input 'ghost', which is not defined",
    ),
    "schema version": (_with(lambda s: s.update(schemaVersion="9.0.0")), "schemaVersion '9.0.0' is unknown"),
    "no name": (_with(lambda s: s["pipelineInfo"].update(name=None)), "pipelineInfo.name is required"),
    "unknown field": (_with(lambda s: s.update(components_1={})), "unknown field 'components_1'"),
    "loop over a step": (
        _task(parameterIterator={"items": {"raw": "[1, 2]"}, "itemInput": "n"}),
        "task a: a loop over a single executor is not supported",
    ),
    "trigger strategy": (
        _task(triggerPolicy={"strategy": "WHENEVER"}),
        "task a: the trigger strategy a text 'WHENEVER'",
    ),
    "importer without a place": (
        _with(lambda s: s["deploymentSpec"]["executors"].update({"exec-a": {"importer": {}}})),
        "task a: component comp-a: the importer has no artifactUri",
    ),
    "resolver": (
        _with(lambda s: s["deploymentSpec"]["executors"].update({"exec-a": {"resolver": {}}})),
        "task a: component comp-a: resolvers are Vertex AI's and not Kubeflow's",
    ),
    "image's own command": (
        _with(lambda s: s["deploymentSpec"]["executors"]["exec-a"].update(container={"image": "me/tool"})),
        "task a: the command that it starts by itself is in image 'me/tool' alone, and no container runs here; say"
        " what stands for it: zeroflow images map me/tool DIRECTORY -- COMMAND",
    ),
    "code in an image": (
        _with(
            lambda s: s["deploymentSpec"]["executors"]["exec-a"]["container"].update(
                command=["python3", "-m", "kfp.dsl.executor_main"]
            )
        ),
        "task a: the code of a containerized Python component is in image 'python:3.11' alone",
    ),
    "command with an unknown input": (
        _with(
            lambda s: s["deploymentSpec"]["executors"]["exec-a"].update(
                container={"image": "x", "command": ["echo", "{{$.inputs.parameters['ghost']}}"]}
            )
        ),
        "task a: component comp-a: its command names input 'ghost', which it does not have",
    ),
    "volume of nothing": (
        _on_kubernetes({"secretAsVolume": [{"mountPath": "/x"}]}),
        "task a: component comp-x: secretAsVolume has no source",
    ),
    "volume outside of the root": (
        _on_kubernetes({"pvcMount": [{"mountPath": "/x/../y", "constant": "claim"}]}),
        "task a: component comp-x: pvcMount: mountPath '/x/../y' may have neither ':' nor '..'",
    ),
    "two volumes at one place": (
        _on_kubernetes({"pvcMount": [{"mountPath": "/x", "constant": "a"}, {"mountPath": "x", "constant": "b"}]}),
        "task a: component comp-x: two volumes are mounted at /x",
    ),
    "unknown platform setting": (
        _on_kubernetes({"hostNetwork": True}),
        "task a: component comp-x: the kubernetes setting hostNetwork is not supported yet",
    ),
    "workspace that is not asked for": (
        pipeline({"a": task("a", t=constant("{{$.workspace_path}}/x"))}, {"a": component("a", takes={"t": "STRING"})}),
        "task a needs a workspace, which the pipeline does not ask for",
    ),
    "memory that is no quantity": (
        _with(
            lambda s: s["deploymentSpec"]["executors"]["exec-a"]["container"].update(
                resources={"resourceMemoryLimit": "much"}
            )
        ),
        "task a: component comp-a: resourceMemoryLimit must be a quantity such as 500m, 2 or 4Gi, found a text 'much'",
    ),
    "secret of nobody": (
        _on_kubernetes({"secretAsEnv": [{"secretNameParameter": {"componentInputParameter": "ghost"}}]}),
        "task a: its kubernetes settings need input 'ghost', which is not defined",
    ),
    "placeholder": (
        pipeline(
            {"a": task("a", t=constant("{{$.inputs.parameters['ghost']}}"))},
            {"a": component("a", takes={"t": "STRING"})},
        ),
        "names no input of the task",
    ),
    "condition": (_task(triggerPolicy={"condition": "inputs.parameter_values['n'] =="}), "task a: condition"),
    "condition without end": (
        _task(triggerPolicy={"condition": " && ".join(["inputs.parameter_values['n'] == 1"] * 1000)}),
        "task a: a condition has more than 400 operators",
    ),
    "too many items": (
        _loop(json.dumps(list(range(1_000_001)))),
        "task l: it loops over 1000001 items; more than 1000000 are not supported",
    ),
    "items that are no list": (_loop("{}"), "task l: items must be a list, found an object {}"),
    "items that are no JSON": (_loop("[1, "), "task l: its items are not JSON"),
    "components without end": (
        pipeline(
            {"t": task("c0")},
            {**{f"c{n}": {"dag": {"tasks": {"t": task(f"c{n + 1}")}}} for n in range(60)}, "c60": component("c60")},
        ),
        "components are nested more than 40 deep",
    ),
    "path in a name": (pipeline({"../a": task("x")}), "task name '../a' must be"),
    "nothing": ({}, "schemaVersion is required"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_run_is_refused_naming_task_and_fault(local: Platform, case: str) -> None:
    spec, message = REFUSED[case]
    answer = local.post("/runs", {"display_name": "r", "pipeline_spec": spec})
    assert answer.status_code == 400, answer.data
    assert message in answer.json["message"]
    assert answer.json["error"] == answer.json["message"]
    assert answer.json["code"] == 3
    assert not local.broker.events
    assert local.get("/runs")["total_size"] == 0
    assert local.get("/experiments")["total_size"] == 0  # nothing is half-written


def test_a_component_that_contains_itself_is_refused() -> None:
    spec = pipeline({"a": task("loop")}, {"loop": {"dag": {"tasks": {"again": task("loop")}}}})
    with pytest.raises(InvalidInput, match="component 'comp-loop' contains itself"):
        plan_of(spec)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"x": 1}, "pipeline test-pipeline has no parameter 'x'; it has: n"),
        ({}, "pipeline test-pipeline: required parameter 'n' is missing"),
        ({"n": "3"}, "parameter 'n' must be an integer, found a text '3'"),
        ({"n": 1.5}, "parameter 'n' must be an integer, found a number 1.5"),
        ({"n": True}, "parameter 'n' must be an integer, found true or false True"),
        ({"n": 2**60}, "parameter 'n' must be an integer"),
    ],
    ids=["unknown", "missing", "text", "fraction", "bool", "beyond a double"],
)
def test_submitted_parameters_are_checked(local: Platform, given: dict[str, Any], message: str) -> None:
    spec = pipeline({"a": task("a", n="pipeline.n")}, TAKES_N, takes=N)
    answer = local.post("/runs", {"pipeline_spec": spec, "runtime_config": {"parameters": given}})
    assert answer.status_code == 400
    assert message in answer.json["message"]


@pytest.mark.parametrize(
    "body", [b'{"pipeline_spec": {"sche', b"", b"[1]", b"\xff\xfe"], ids=["half", "none", "list", "bytes"]
)
def test_a_body_that_is_no_json_object_is_refused(local: Platform, body: bytes) -> None:
    answer = local.client.post("/apis/v2beta1/runs", data=body)
    assert answer.status_code == 400
    assert "body" in answer.json["message"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", "not valid YAML at line"),
        (b"", "empty"),
        (b"- 1\n- 2\n", "must hold one PipelineSpec"),
        (b"PK\x03\x04 damaged", "damaged archive"),
        (b"\x1f\x8b damaged", "damaged archive"),
        (b"!!python/object/apply:os.system [id]", "not valid YAML"),
    ],
    ids=["unclosed", "empty", "list", "zip", "gzip", "python object"],
)
def test_damaged_packages_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        packages.document_of(content)


VALUES = {"x": "heads", "n": 5.0, "b": True, "l": [1, 2], "t": "7"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("inputs.parameter_values['x'] == 'heads'", True),
        ("inputs.parameter_values['n'] == 5", True),
        ("int(inputs.parameter_values['t']) > 5 && inputs.parameter_values['n'] < 6.0", True),
        ("!(inputs.parameter_values['x'] == 'heads') && inputs.parameter_values['x'] == 'tails'", False),
        ("inputs.parameter_values['b'] == true || inputs.parameter_values['missing'] == 1", True),
        ("inputs.parameter_values['b'] == 1", False),
        ("2 in inputs.parameter_values['l']", True),
        ("size(inputs.parameter_values['l']) * 2 + 1 == 5", True),
        ("1 + 2 * 3 == 7 && (1 + 2) * 3 == 9 && -7 / 2 == -3 && 10 - 3 - 2 == 5", True),
        ("inputs.parameter_values['x'] == 'it\\'s' ? false : true", True),
    ],
)
def test_conditions_mean_what_cel_says(source: str, expected: bool) -> None:
    assert conditions.holds(conditions.parse(source), VALUES) is expected


@pytest.mark.parametrize(
    "source",
    ["", "1 ==", "__import__('os')", "inputs.__class__ == 1 )", "(" * 5000, "a.b", "'open", "1 = 1", "lambda: 1"],
)
def test_what_is_no_condition_is_refused(source: str) -> None:
    with pytest.raises(InvalidInput):
        conditions.parse(source)


@pytest.mark.parametrize(
    "source", ["inputs.parameter_values['no'] == 1", "inputs.__class__ == 1", "1 < 'a'", "1", "1 / 0 == 1"]
)
def test_a_condition_without_a_truth_value_fails(source: str) -> None:
    with pytest.raises(conditions.ConditionFailed):
        conditions.holds(conditions.parse(source), VALUES)
