"""How a request goes through an InferenceGraph: sequence, switch, splitter, ensemble; nodes within nodes.

A failing step is carried on, unless it is a hard dependency: then its answer is the graph's. A switch that no step
fits is 404. Source: KServe cmd/router (routeStep, executeStep), semantics.json of the contract.
"""

import json
import random
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from zeroflow.errors import ZeroflowError
from zeroflow.inference import gjson

ROOT = "root"
NO_ROUTE = "None of the routes matched with the switch condition"


class Failed(ZeroflowError):
    """The graph itself cannot answer; `status` is what an HTTP client is told."""

    reason = "GraphFailed"

    def __init__(self, status: int, cause: str) -> None:
        super().__init__(cause)
        self.status = status


@dataclass(frozen=True)
class Answer:
    """What a step has answered."""

    status: int
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether the step did what it was asked."""
        return 200 <= self.status <= 299


Call = Callable[[str, bytes], Answer]
"""(service URL, body) -> answer; raises Failed(500) when nothing answers."""
Node = Mapping[str, Any]


@dataclass(frozen=True)
class Graph:
    """The nodes of a graph, as its spec has them, every step with a serviceUrl or a nodeName."""

    nodes: Mapping[str, Node]
    executor: Executor
    draw: Callable[[], float] = random.random

    def answer(self, body: bytes, call: Call) -> Answer:
        """Route a request from the root."""
        return self._node(ROOT, body, call)

    def _node(self, name: str, body: bytes, call: Call) -> Answer:
        node = self.nodes[name]
        steps = node["steps"]
        kind = node["routerType"]
        if kind == "Sequence":
            return self._sequence(steps, body, call)
        if kind == "Ensemble":
            return self._ensemble(steps, body, call)
        step = self._drawn(steps) if kind == "Splitter" else _fitting(steps, body)
        if step is None:
            raise Failed(404, NO_ROUTE)
        return self._step(step, body, call)

    def _step(self, step: Node, body: bytes, call: Call) -> Answer:
        if step.get("nodeName"):
            try:
                return self._node(step["nodeName"], body, call)
            except Failed as error:  # only the root's own switch may say 404
                raise Failed(500, str(error)) from error
        return call(step["serviceUrl"], body)

    def _drawn(self, steps: list[Node]) -> Node:
        point = self.draw() * 100
        for step in steps:
            point -= step["weight"]
            if point < 0:
                return step
        return steps[-1]

    def _sequence(self, steps: list[Node], body: bytes, call: Call) -> Answer:
        answer = Answer(200, b"")
        for number, step in enumerate(steps):
            request = body
            if step.get("data") == "$response" and number > 0:
                request = _as_instances(answer.body) if step.get("mapPredictionsToInstances") else answer.body
            if condition := step.get("condition"):
                found = _parsed(answer.body if number > 0 else body)
                if found is gjson.MISSING:
                    raise Failed(500, "invalid response")
                if not gjson.exists(found, condition):
                    return Answer(200, answer.body if number > 0 else body)
            answer = self._step(step, request, call)
            if step.get("dependency") == "Hard" and not answer.is_success:
                return answer
        return answer

    def _ensemble(self, steps: list[Node], body: bytes, call: Call) -> Answer:
        """Ask all at once. Nodes below get threads of their own: one that waits for another must not take its place."""
        nested = [step for step in steps if step.get("nodeName")]
        with ThreadPoolExecutor(max(1, len(nested))) as below:
            asked = [
                below.submit(self._step, step, body, call)
                if step.get("nodeName")
                else self.executor.submit(self._step, step, body, call)
                for step in steps
            ]
            answers = [each.result() for each in asked]
        answered: dict[str, Any] = {}
        failed: Answer | None = None
        for number, (step, answer) in enumerate(zip(steps, answers, strict=True)):
            document = _parsed(answer.body)
            if not isinstance(document, dict):
                raise Failed(500, f"step {step.get('name') or number} did not answer with a JSON object")
            if step.get("dependency") == "Hard" and not answer.is_success and failed is None:
                failed = answer
            answered[step.get("name") or str(number)] = document
        return failed or Answer(200, json.dumps(answered).encode())


def _fitting(steps: list[Node], body: bytes) -> Node | None:
    document = _parsed(body)
    if document is gjson.MISSING:
        return None
    return next((step for step in steps if gjson.exists(document, str(step.get("condition") or "@this"))), None)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return gjson.MISSING


def _as_instances(body: bytes) -> bytes:
    """Turn an answer of V1 into a request of V1."""
    document = _parsed(body)
    if not isinstance(document, dict) or "predictions" not in document:
        return body
    predictions = document.pop("predictions")
    return json.dumps({**document, "instances": predictions}).encode()
