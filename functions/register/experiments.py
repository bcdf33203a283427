"""An Experiment has succeeded: its best trial's model becomes a version, if the Experiment asks for that.

The event is `dev.zeroflow.experiment.succeeded` of the trial function. It asks for registration with `register_as` (the
Experiment's annotation `zeroflow.dev/register-as`) and tells where the model lies; an event without either is answered
and leaves nothing. The version's bytes are hashed here when the event does not tell their hash.
"""

import uuid
from typing import Any

from zeroflow.artifacts import Stores
from zeroflow.errors import InvalidInput
from zeroflow.events import Delivery
from zeroflow.functions.register import contents, versions
from zeroflow.functions.register.bodies import check_text
from zeroflow.functions.register.policy import Policy
from zeroflow.functions.register.produced import (
    Maker,
    ModelProduced,
    inputs,
    location,
    mapping,
    metrics,
    optional_text,
    size,
    text,
)

SUCCEEDED = "dev.zeroflow.experiment.succeeded"
EXPERIMENT, TRIAL = "experiment", "trial"


def on_succeeded(delivery: Delivery, policy: Policy, stores: Stores) -> None:
    """Handle the event."""
    produced = from_data(delivery.data())
    if produced is not None:
        versions.register_told(delivery, policy, contents.described(produced, stores))


def from_data(data: dict[str, Any]) -> ModelProduced | None:
    """Read the event's data; None when nothing is to be registered. Raise InvalidInput naming the field at fault."""
    check_text(data, "the event's data")
    model = mapping(data, "model")
    if not model or not optional_text(data, "register_as"):
        return None
    namespace, experiment, uid = (text(data, name) for name in ("namespace", "experiment", "experiment_uid"))
    trial = mapping(data, "trial")
    name = text(trial, "name", "trial.")
    parameters = {key: str(value) for key, value in mapping(trial, "parameters").items() if len(key) <= 200}
    measured, objective = metrics(trial), mapping(data, "objective")
    if metric := optional_text(objective, "metric", "objective."):
        value = objective.get("value")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise InvalidInput(f"objective.value must be a number, got {value!r}")
        measured = {metric: float(value), **measured}
    told: dict[str, str | int | float | bool] = {"experiment": experiment, "trial": name}
    told |= {f"parameter.{key}": value for key, value in parameters.items()}
    maker = Maker(
        node=(TRIAL, f"{namespace}/{name}"),
        source={
            "modelSourceKind": "katib",
            "modelSourceClass": "trial",
            "modelSourceGroup": namespace,
            "modelSourceId": optional_text(trial, "uid", "trial.") or name,
            "modelSourceName": name,
        },
        actor=f"experiment:{namespace}/{experiment}",
        told=told,
        container=(EXPERIMENT, f"{namespace}/{experiment}"),
        parameters=parameters,
    )
    format_of = {name: model[name] for name in ("format_name", "format_version") if model.get(name)}
    return ModelProduced(
        artifact_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"experiment/{uid}/{name}/model")),
        name=optional_text(model, "name", "model.") or "model",
        uri=location(model, "model."),
        sha256=optional_text(model, "sha256", "model."),
        size_bytes=size(model),
        namespace=namespace,
        register_as=text(data, "register_as"),
        maker=maker,
        metadata={f"model_{name}": value for name, value in format_of.items()},
        metrics=measured,
        inputs=inputs(data),
    )
