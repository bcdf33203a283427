"""An algorithm of the administrator's own: a gRPC suggestion service that KatibConfig gives the address of."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
import yaml

from tuning.experiments import Tuning, experiment, outcome
from zeroflow.functions.trial.manager.protocol import messages


class Halving:
    """Suggests half of the best x so far; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.validated = 0

    def suggest(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        reply = messages()["GetSuggestionsReply"]()
        values = [
            float(trial.spec.parameter_assignments.assignments[0].value)
            for trial in request.trials
            if trial.status.observation.metrics
        ]
        for _ in range(request.current_request_number):
            made = reply.parameter_assignments.add()
            made.assignments.add(name="x", value=repr(min(values, default=2.0) / 2))
            made.labels.add(key="example.com/round", value=str(len(request.trials)))
        return reply

    def validate(self, request: Any, context: Any) -> Any:
        self.validated += 1
        for setting in request.experiment.spec.algorithm.algorithm_settings:
            if setting.name != "factor":
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"no setting {setting.name}")
        return messages()["Experiment"]()


@pytest.fixture(scope="module")
def service(tuning: Tuning) -> Iterator[Halving]:
    """The service, told of in the ConfigMap that Katib reads."""
    halving, server = Halving(), grpc.server(ThreadPoolExecutor(2))
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            method,
            request_deserializer=messages()[f"{name}Request"].FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
        for name, method in (("GetSuggestions", halving.suggest), ("ValidateAlgorithmSettings", halving.validate))
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("api.v1.beta1.Suggestion", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    named = [{"algorithmName": "halving", "image": "example/halving", "address": f"localhost:{port}"}]
    tuning.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "katib-config", "namespace": "kubeflow"},
            "data": {"katib-config.yaml": yaml.safe_dump({"runtime": {"suggestions": named}})},
        }
    )
    yield halving
    server.stop(0)


def halved(name: str, *settings: dict[str, str]) -> dict[str, Any]:
    return experiment(
        name,
        parallelTrialCount=1,
        maxTrialCount=3,
        algorithm={"algorithmName": "halving", "algorithmSettings": list(settings)},
    )


def test_a_service_suggests_from_what_it_is_told(tuning, service):
    tuning.apply(halved("halved", {"name": "factor", "value": "2"}))
    assert tuning.ended("halved")["status"]["trialsSucceeded"] == 3
    told = tuning.get("suggestions", "halved")["status"]["suggestions"]
    assert [each["parameterAssignments"][0]["value"] for each in told] == ["1.0", "0.5", "0.25"]
    assert [each["labels"] for each in told] == [{"example.com/round": str(number)} for number in range(3)]
    assert service.validated == 1
    last = service.asked[-1]
    assert (last.current_request_number, last.total_request_number) == (1, 3)
    assert (last.experiment.name, last.experiment.spec.objective.objective_metric_name) == ("halved", "loss")
    [x] = last.experiment.spec.parameter_specs.parameters
    assert (x.name, x.parameter_type, x.feasible_space.min, x.feasible_space.max) == ("x", 1, "-1", "1")
    assert [(trial.status.condition, trial.status.observation.metrics[0].value) for trial in last.trials] == [
        (2, "1.0"),
        (2, "0.25"),
    ]


def test_what_a_service_refuses_ends_the_experiment_with_its_words(tuning, service):
    tuning.apply(halved("unhalved", {"name": "speed", "value": "2"}))
    condition = outcome(tuning.ended("unhalved"))
    assert condition["reason"] == "ExperimentSuggestionFailed"
    assert "no setting speed" in condition["message"]


def test_an_algorithm_that_nobody_suggests_by_is_refused_at_apply(tuning, service):
    obj = halved("nobody")
    obj["spec"]["algorithm"]["algorithmName"] = "thirding"
    said = tuning.apply(obj, check=False)
    assert "spec.algorithm.algorithmName" in said, json.dumps(said)
    assert "kubeflow/katib-config" in said
