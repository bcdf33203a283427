"""Any CloudEvent starts a run: `POST /triggers/<pipeline>?parameters.month=${data.month}&parameters.n=3`.

The address is what a Knative Trigger, PingSource or other source names as its subscriber, so that what starts a
pipeline is declared in YAML. `${...}` is JMESPath over the event in its JSON format (attributes beside `data`); an
expression alone keeps the value's type, within other text it is written into it; other text is read as the parameter's
type asks. Query: `parameters.<name>`, `experiment`, `namespace`, `name`, `pipeline_root`.

The run's id is derived from the address and the event's source and id, so that a redelivery starts nothing twice.
"""

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError

from zeroflow.errors import InvalidInput, NotFound
from zeroflow.events import Delivery
from zeroflow.events.http import as_json
from zeroflow.functions.pipeline import catalog, runs
from zeroflow.functions.pipeline.engine import Engine
from zeroflow.functions.pipeline.executions import NAMESPACE
from zeroflow.functions.pipeline.parameters import EXPECTED
from zeroflow.functions.pipeline.placeholders import as_text
from zeroflow.functions.pipeline.plan import Plan
from zeroflow.metadata.pipelines import Run

_EXPRESSION = re.compile(r"\$\{([^}]*)\}")
_OPTIONS = ("experiment", "namespace", "name", "pipeline_root")
_PARAMETER = "parameters."


def start_run(engine: Engine, delivery: Delivery, pipeline_name: str, query: Mapping[str, str], address: str) -> None:
    """Start a run of a pipeline's newest version; raise InvalidInput or NotFound naming the fault."""
    _check_query(query)
    event = as_json(delivery.event)
    options = {name: as_text(_filled(query[name], event, name)) for name in _OPTIONS if name in query}
    namespace = catalog.namespace_of(options.get("namespace"))
    run_id = str(uuid.uuid5(NAMESPACE, f"{address}|{delivery.source}|{delivery.id}"))
    with delivery.transaction() as tx:
        if tx.session.get(Run, run_id) is not None:
            return
        pipeline = catalog.find_pipeline(tx.session, namespace, pipeline_name)
        if pipeline is None:
            raise NotFound(f"there is no pipeline {pipeline_name!r} in namespace {namespace}; upload it first")
        version = catalog.version(tx.session, pipeline.id, None)
        plan = engine.plans.of(tx.session, version.spec_sha256)
        asked = runs.Submission(
            namespace=namespace,
            name=options.get("name", f"{pipeline_name}-{run_id[:8]}"),
            pipeline_id=pipeline.id,
            version_id=version.id,
            experiment=options.get("experiment", ""),
            description=f"started by {delivery.type} {delivery.id} from {delivery.source}",
            parameters=_parameters(plan, query, event),
            pipeline_root=options.get("pipeline_root", ""),
            run_id=run_id,
            cause={
                "source": delivery.source,
                "id": delivery.id,
                "type": delivery.type,
                "subject": event.get("subject"),
            },
        )
        runs.submit(tx, engine, asked)


def _check_query(query: Mapping[str, str]) -> None:
    for name in query:
        if name not in _OPTIONS and not name.startswith(_PARAMETER):
            known = ", ".join((*_OPTIONS, "parameters.<name>"))
            raise InvalidInput(f"query parameter {name!r} is unknown; expected one of {known}")


def _parameters(plan: Plan, query: Mapping[str, str], event: dict[str, Any]) -> dict[str, Any]:
    values = {}
    for key, text in query.items():
        if not key.startswith(_PARAMETER):
            continue
        name = key.removeprefix(_PARAMETER)
        value = _filled(text, event, key)
        spec = plan.root.parameters.get(name)
        if spec is not None and spec.type != "STRING" and not _EXPRESSION.fullmatch(text):
            value = _read(value, spec.type, key)
        values[name] = value
    return values


def _filled(text: str, event: dict[str, Any], where: str) -> Any:
    alone = _EXPRESSION.fullmatch(text)
    if alone:
        return _found(alone[1], event, where)
    return _EXPRESSION.sub(lambda match: as_text(_found(match[1], event, where)), text)


def _found(expression: str, event: dict[str, Any], where: str) -> Any:
    try:
        value = jmespath.search(expression, event)
    except JMESPathError as error:
        raise InvalidInput(
            f"{where}: {expression!r} is no JMESPath expression: {str(error).splitlines()[0]}"
        ) from error
    if value is None:
        raise InvalidInput(f"{where}: the event {event.get('id')!r} has no {expression}")
    return value


def _read(text: str, kind: str, where: str) -> Any:
    """Read literal text as the parameter's type."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{where} must be {EXPECTED[kind]}, found {text!r}") from error
    return value
