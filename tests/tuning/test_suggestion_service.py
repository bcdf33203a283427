"""Katib's Suggestion and EarlyStopping services, called by gRPC's own client with messages of Katib's layout."""

import random
from typing import Any

import grpc
import pytest

from zeroflow.functions.trial.manager.protocol import messages

DOUBLE, INT, CATEGORICAL = 1, 2, 4
SUCCEEDED = 2


@pytest.fixture(scope="module")
def channel(tuned_host):
    """A channel to the host's port."""
    with grpc.insecure_channel(f"localhost:{tuned_host.port}") as opened:
        yield opened


def call(channel: grpc.Channel, method: str, request: Any, reply: str | None = None) -> Any:
    """Call a unary method."""
    made = channel.unary_unary(f"/api.v1.beta1.{method}")(request.SerializeToString(), timeout=60)
    return messages()[reply].FromString(made) if reply else made


def asked(algorithm: str, trials: int = 0, count: int = 2, **settings: str) -> Any:
    """Return a GetSuggestionsRequest with trials that have succeeded."""
    request = messages()["GetSuggestionsRequest"](current_request_number=count)
    request.experiment.name = "remote"
    spec = request.experiment.spec
    spec.objective.type, spec.objective.objective_metric_name = 1, "loss"
    spec.algorithm.algorithm_name = algorithm
    for name, value in settings.items():
        spec.algorithm.algorithm_settings.add(name=name, value=value)
    x = spec.parameter_specs.parameters.add(name="x", parameter_type=DOUBLE)
    x.feasible_space.min, x.feasible_space.max = "-1", "1"
    n = spec.parameter_specs.parameters.add(name="n", parameter_type=INT)
    n.feasible_space.min, n.feasible_space.max = "1", "9"
    kind = spec.parameter_specs.parameters.add(name="kind", parameter_type=CATEGORICAL)
    kind.feasible_space.list.extend(["a", "b"])
    chance = random.Random(1)
    for number in range(trials):
        trial = request.trials.add(name=f"t{number}")
        at = chance.uniform(-1, 1)
        for name, value in (("x", repr(at)), ("n", "3"), ("kind", "a")):
            trial.spec.parameter_assignments.assignments.add(name=name, value=value)
        trial.status.condition = SUCCEEDED
        trial.status.observation.metrics.add(name="loss", value=repr(at**2))
    return request


@pytest.mark.parametrize("algorithm", ["random", "tpe", "sobol"])
def test_suggestions_lie_in_the_space_and_can_be_asked_for_again(channel, algorithm):
    request = asked(algorithm, trials=12, random_state="7") if algorithm != "sobol" else asked(algorithm)
    replies = [call(channel, "Suggestion/GetSuggestions", request, "GetSuggestionsReply") for _ in range(2)]
    assert replies[0] == replies[1]
    made = replies[0].parameter_assignments
    assert len(made) == 2
    for each in made:
        values = {one.name: one.value for one in each.assignments}
        assert -1 <= float(values["x"]) <= 1
        assert values["n"] in set(map(str, range(1, 10)))
        assert values["kind"] in {"a", "b"}


@pytest.mark.parametrize(
    ("method", "request_of", "named"),
    [
        ("Suggestion/ValidateAlgorithmSettings", lambda: asked("tpe", gama="1"), "gama"),
        ("Suggestion/ValidateAlgorithmSettings", lambda: asked("hyperopt"), "hyperopt"),
        ("Suggestion/GetSuggestions", lambda: asked("random", count=0), "current_request_number"),
    ],
    ids=["setting", "algorithm", "count"],
)
def test_what_is_wrong_is_an_invalid_argument_that_names_it(channel, method, request_of, named):
    with pytest.raises(grpc.RpcError) as refused:
        call(channel, method, request_of())
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert named in refused.value.details()


def test_settings_of_early_stopping_are_validated(channel):
    request = messages()["ValidateEarlyStoppingSettingsRequest"]()
    request.early_stopping.algorithm_name = "medianstop"
    call(channel, "EarlyStopping/ValidateEarlyStoppingSettings", request)
    request.early_stopping.algorithm_settings.add(name="start_step", value="0")
    with pytest.raises(grpc.RpcError) as refused:
        call(channel, "EarlyStopping/ValidateEarlyStoppingSettings", request)
    assert "start_step" in refused.value.details()


def test_early_stopping_has_no_rules_before_trials_were_recorded(channel):
    request = messages()["GetEarlyStoppingRulesRequest"]()
    request.experiment.CopyFrom(asked("random").experiment)
    request.experiment.spec.early_stopping.algorithm_name = "medianstop"
    reply = call(channel, "EarlyStopping/GetEarlyStoppingRules", request, "GetEarlyStoppingRulesReply")
    assert not reply.early_stopping_rules
