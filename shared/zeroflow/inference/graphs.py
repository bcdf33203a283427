"""What KServe's webhook refuses in an InferenceGraph, in KServe's words.

Source: KServe pkg/apis/serving/v1alpha1 (inference_graph_validation), messages included.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from zeroflow.inference import gjson

ROOT = "root"
ROUTERS = ("Sequence", "Splitter", "Ensemble", "Switch")
DEPENDENCIES = ("Soft", "Hard")
TARGETS = ("nodeName", "serviceName", "serviceUrl")

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_DENIED = 'admission webhook "inferencegraph.kserve-webhook-server.validator" denied the request: '


def denied(fault: str) -> str:
    """Return how a client reads a fault that KServe's webhook has found."""
    return _DENIED + fault


def faults(graph: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with an InferenceGraph."""
    name = str(graph["metadata"].get("name") or "")
    if not _NAME.fullmatch(name):
        yield (
            f'the InferenceGraph "{name}" is invalid: a InferenceGraph name must consist of lower case alphanumeric '
            'characters or \'-\', and must start with alphabetical character. (e.g. "my-name" or "abc-123", regex '
            f"used for validation is '{_NAME.pattern}')"
        )
    nodes = (graph.get("spec") or {}).get("nodes")
    if not isinstance(nodes, dict) or ROOT not in nodes:
        yield "root node not found, InferenceGraph needs a node with name 'root' as the root node"
        return
    for at, node in nodes.items():
        yield from _node_faults(name, at, node, nodes)
    if cycle := _cycle(nodes):
        yield f'InferenceGraph "{name}" is invalid: nodes refer to each other in a circle: {" -> ".join(cycle)}'


def _node_faults(graph: str, at: str, node: Any, nodes: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(node, dict) or node.get("routerType") not in ROUTERS:
        yield (
            f"spec.nodes.{at}.routerType: Unsupported value: "
            f"{node.get('routerType') if isinstance(node, dict) else node!r}: supported values: {', '.join(ROUTERS)}"
        )
        return
    steps = node.get("steps") or []
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps) or not steps:
        yield f"spec.nodes.{at}.steps: Required value"
        return
    seen: set[str] = set()
    for number, step in enumerate(steps):
        label = str(step.get("name") or "")
        if label and label in seen:
            yield f'Node "{at}" of InferenceGraph "{graph}" contains more than one step with name "{label}"'
        seen.add(label)
        given = [target for target in TARGETS if step.get(target)]
        where = f'Step {number} ("{label}") in node "{at}" of InferenceGraph "{graph}"'
        if not given:
            yield f"{where} does not specify an inference target"
        if len(given) > 1:
            yield f"{where} specifies more than one of {', '.join(TARGETS)}"
        if step.get("nodeName") and step["nodeName"] not in nodes:
            yield f"{where} names node {step['nodeName']!r}, which the graph does not have"
        yield from _condition_faults(where, step.get("condition"))
        if step.get("dependency") not in (None, *DEPENDENCIES):
            yield f"{where}: dependency must be one of {', '.join(DEPENDENCIES)}"
    if node["routerType"] == "Splitter":
        yield from _weight_faults(graph, at, steps)


def _condition_faults(where: str, condition: Any) -> Iterator[str]:
    if condition is None:
        return
    try:
        gjson.check(str(condition))
    except gjson.BadPath as error:
        yield f"{where}: condition: {error}"


def _weight_faults(graph: str, at: str, steps: list[dict[str, Any]]) -> Iterator[str]:
    for step in steps:
        if type(step.get("weight")) is not int:
            target = next((str(step[name]) for name in TARGETS if step.get(name)), "")
            yield f"InferenceGraph[{graph}] Node[{at}] Route[{target}] missing the 'Weight'"
            return
    if sum(step["weight"] for step in steps) != 100 or any(step["weight"] < 0 for step in steps):
        yield (
            f"InferenceGraph[{graph}] Node[{at}] splitter node: the sum of traffic weights for all routing targets "
            "should be 100"
        )


def _cycle(nodes: Mapping[str, Any]) -> list[str] | None:
    """Return nodes that lead back to themselves; a request would never end."""
    done: set[str] = set()

    def visit(at: str, path: list[str]) -> list[str] | None:
        if at in path:
            return [*path[path.index(at) :], at]
        if at in done or not isinstance(nodes.get(at), dict):
            return None
        for step in nodes[at].get("steps") or ():
            following = step.get("nodeName") if isinstance(step, dict) else None
            if following and (found := visit(str(following), [*path, at])):
                return found
        done.add(at)
        return None

    return visit(ROOT, [])
