"""Assignments by a suggestion service of the administrator's own (`zeroflow.tuning.services`), asked by gRPC.

The service is told the Experiment and all of its trials, as Katib tells it, and keeps what state it likes. A trial's
name is ours, whatever it would call it. A service that cannot be reached raises Unavailable, so that the event comes
again; what it refuses ends the Experiment with its words.
Source: Katib api.v1.beta1 (GetSuggestions, ValidateAlgorithmSettings); gRPC over HTTP/2.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from zeroflow.errors import Unavailable
from zeroflow.functions.trial import conditions, manifests
from zeroflow.functions.trial.manager.protocol import messages
from zeroflow.functions.trial.manager.service import SUGGESTION
from zeroflow.functions.trial.manager.suggestions import GOALS, OUTCOMES
from zeroflow.functions.trial.observing import metric_value
from zeroflow.functions.trial.suggesting import SuggestionFailed, Suggestions
from zeroflow.tuning.spec import DISTRIBUTIONS, TYPES, Object

TIMEOUT_S = 60.0
RUNNING = 1
OK, DEADLINE_EXCEEDED, UNIMPLEMENTED, UNAVAILABLE = 0, 4, 12, 14
PREFIX_BYTES = 5


class Refused(Exception):
    """The service has answered with an error."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__(said)
        self.code = code


def next_assignments(
    address: str, experiment: Object, given: Sequence[Object], trials: Mapping[str, Object], count: int
) -> Suggestions:
    """Ask for `count` assignments to follow those that were given; raise SuggestionFailed or Unavailable."""
    described = _experiment(experiment)
    try:
        if not given:
            _validate(address, described)
        request = messages()["GetSuggestionsRequest"](
            experiment=described,
            trials=[_trial(experiment, each, trials.get(each["name"])) for each in given],
            current_request_number=count,
            total_request_number=len(given) + count,
        )
        answer = _called(address, "GetSuggestions", request)
    except Refused as error:
        name = described.spec.algorithm.algorithm_name
        raise SuggestionFailed(f"{name}, which {address} suggests by: {error}") from error
    reply = messages()["GetSuggestionsReply"].FromString(answer)
    made = [
        _assignment(manifests.trial_name(experiment, len(given) + at), each)
        for at, each in enumerate(reply.parameter_assignments[:count])
    ]
    return Suggestions(made, exhausted=not made)


def _validate(address: str, described: Any) -> None:
    try:
        request = messages()["ValidateAlgorithmSettingsRequest"](experiment=described)
        _called(address, "ValidateAlgorithmSettings", request)
    except Refused as error:
        if error.code != UNIMPLEMENTED:
            raise


def _assignment(name: str, suggested: Any) -> Object:
    assigned = [{"name": each.name, "value": each.value} for each in suggested.assignments]
    labels = {each.key: each.value for each in suggested.labels}
    return {"name": name, "parameterAssignments": assigned, **({"labels": labels} if labels else {})}


def _experiment(experiment: Object) -> Any:
    spec, made = experiment["spec"], messages()["Experiment"](name=experiment["metadata"]["name"])
    objective, told = spec["objective"], made.spec
    told.objective.type = next(code for code, goal in GOALS.items() if goal == objective["type"])
    told.objective.goal = float(objective.get("goal") or 0.0)
    told.objective.objective_metric_name = objective["objectiveMetricName"]
    told.objective.additional_metric_names.extend(objective.get("additionalMetricNames") or ())
    told.algorithm.algorithm_name = spec["algorithm"]["algorithmName"]
    for each in spec["algorithm"].get("algorithmSettings") or ():
        told.algorithm.algorithm_settings.add(name=each["name"], value=str(each["value"]))
    told.parallel_trial_count = spec["parallelTrialCount"]
    told.max_trial_count = spec.get("maxTrialCount") or 0
    for each in spec["parameters"]:
        space = each["feasibleSpace"]
        added = told.parameter_specs.parameters.add(
            name=each["name"], parameter_type=1 + TYPES.index(each["parameterType"])
        )
        for field in ("min", "max", "step"):
            setattr(added.feasible_space, field, str(space.get(field) or ""))
        added.feasible_space.list.extend(str(value) for value in space.get("list") or ())
        if space.get("distribution"):
            added.feasible_space.distribution = 1 + DISTRIBUTIONS.index(space["distribution"])
    return made


def _trial(experiment: Object, assignment: Object, trial: Object | None) -> Any:
    made, status = messages()["Trial"](name=assignment["name"]), (trial or {}).get("status") or {}
    for each in assignment["parameterAssignments"]:
        made.spec.parameter_assignments.assignments.add(name=each["name"], value=each["value"])
    for key, value in (assignment.get("labels") or {}).items():
        made.spec.labels.add(key=key, value=value)
    outcome = conditions.outcome(status)
    made.status.condition = next((code for code, each in OUTCOMES.items() if each == outcome), RUNNING)
    for strategy in experiment["spec"]["objective"]["metricStrategies"]:
        value = metric_value(status.get("observation"), strategy["name"], strategy["value"])
        if value is not None:
            made.status.observation.metrics.add(name=strategy["name"], value=repr(value))
    return made


def _called(address: str, method: str, request: Any) -> bytes:
    """Return the answer to a unary call; raise Refused, or Unavailable when there is none."""
    try:
        return asyncio.run(_call(address, f"{SUGGESTION}{method}", request.SerializeToString()))
    except (OSError, TimeoutError) as error:
        raise Unavailable(f"the suggestion service {address} does not answer: {error or 'timeout'}") from error
    except Refused as error:
        if error.code in (DEADLINE_EXCEEDED, UNAVAILABLE):
            raise Unavailable(f"the suggestion service {address}: {error}") from error
        raise


async def _call(address: str, path: str, message: bytes) -> bytes:
    from zeroflow.http2.connection import Connection

    host, _, port = address.rpartition(":")
    async with asyncio.timeout(TIMEOUT_S):
        _, connection = await asyncio.get_running_loop().create_connection(Connection, host, int(port))
        try:
            head = {":method": "POST", ":scheme": "http", ":path": path, ":authority": address}
            head |= {"content-type": "application/grpc", "te": "trailers"}
            stream = connection.open([(name.encode(), value.encode()) for name, value in head.items()], end=False)
            await stream.send(b"\0" + len(message).to_bytes(4, "big") + message, end=True)
            answered, body = dict(await stream.head()), b""
            while chunk := await stream.read():
                body += chunk
            told = {**answered, **dict(stream.trailers)}
        finally:
            await connection.close()
    code = int(told.get(b"grpc-status", b"2"))
    if code != OK:
        raise Refused(code, unquote(told.get(b"grpc-message", b"").decode()) or f"gRPC status {code}")
    return body[PREFIX_BYTES:]
