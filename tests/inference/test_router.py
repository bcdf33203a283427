"""How a request goes through an InferenceGraph: KServe's rules, step by step; then over HTTP."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from artifacts.servers import serving
from zeroflow.errors import InvalidInput
from zeroflow.functions.router.graph import Answer, Failed, Graph
from zeroflow.functions.router.handler import create_app

BODY = json.dumps({"instances": [{"intval": 11}], "source": "client"}).encode()


@pytest.fixture(scope="module")
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


class Steps:
    """Services by URL, and what they were asked."""

    def __init__(self, **answers: tuple[int, Any]) -> None:
        self._answers, self.asked = answers, list[tuple[str, Any]]()

    def __call__(self, url: str, body: bytes) -> Answer:
        self.asked.append((url, json.loads(body)))
        status, document = self._answers[url]
        return Answer(status, document if isinstance(document, bytes) else json.dumps(document).encode())


def node(kind: str, *steps: dict[str, Any]) -> dict[str, Any]:
    return {"routerType": kind, "steps": list(steps)}


def at(url: str, **fields: Any) -> dict[str, Any]:
    return {"serviceUrl": url, **fields}


@pytest.fixture
def ask(executor: ThreadPoolExecutor) -> Callable[..., tuple[int, Any]]:
    def asked(nodes: dict[str, Any], steps: Steps, body: bytes = BODY, draw: float = 0.5) -> tuple[int, Any]:
        answer = Graph(nodes, executor, lambda: draw).answer(body, steps)
        return answer.status, json.loads(answer.body)

    return asked


def test_sequence_feeds_the_request_or_the_response(ask: Any) -> None:
    steps = Steps(a=(200, {"predictions": [1]}), b=(200, {"b": 1}), c=(200, {"c": 1}))
    graph = {"root": node("Sequence", at("a"), at("b"), at("c", data="$response"))}
    assert ask(graph, steps) == (200, {"c": 1})
    assert steps.asked == [("a", json.loads(BODY)), ("b", json.loads(BODY)), ("c", {"b": 1})]
    steps = Steps(a=(200, {"predictions": [1], "x": 2}), b=(200, {}))
    ask({"root": node("Sequence", at("a"), at("b", data="$response", mapPredictionsToInstances=True))}, steps)
    assert steps.asked[1] == ("b", {"instances": [1], "x": 2})


def test_sequence_stops_where_a_condition_does_not_match(ask: Any) -> None:
    steps = Steps(a=(200, {"predictions": [1]}), b=(200, {"b": 1}))
    stopping = {"root": node("Sequence", at("a"), at("b", data="$response", condition="predictions.#(>5)"))}
    assert ask(stopping, steps) == (200, {"predictions": [1]})
    assert [url for url, _ in steps.asked] == ["a"]
    broken = Steps(a=(200, b"no json"), b=(200, {}))
    with pytest.raises(Failed, match="invalid response") as failed:
        ask(stopping, broken)
    assert failed.value.status == 500


def test_hard_step_ends_a_sequence_and_a_soft_one_does_not(ask: Any) -> None:
    answers = {"a": (418, {"error": "teapot"}), "b": (200, {"b": 1})}
    assert ask({"root": node("Sequence", at("a", dependency="Hard"), at("b"))}, Steps(**answers)) == (
        418,
        {"error": "teapot"},
    )
    assert ask({"root": node("Sequence", at("a"), at("b"))}, Steps(**answers)) == (200, {"b": 1})
    assert ask({"root": node("Sequence", at("b"), at("a"))}, Steps(**answers))[0] == 418


def test_switch_takes_the_first_step_that_fits(ask: Any) -> None:
    steps = Steps(a=(200, {"a": 1}), b=(503, {"b": 1}), c=(200, {"c": 1}))
    graph = {
        "root": node(
            "Switch",
            at("a", condition="[@this].#(source==server)"),
            at("b", condition="instances.#(intval>10)"),
            at("c", condition="[@this].#(source==client)"),
        )
    }
    assert ask(graph, steps) == (503, {"b": 1})
    for body in (b'{"source": "nobody"}', b"no json"):
        with pytest.raises(Failed, match="None of the routes matched") as failed:
            ask(graph, steps, body)
        assert failed.value.status == 404


def test_splitter_draws_by_weight(ask: Any) -> None:
    graph = {"root": node("Splitter", at("a", weight=20), at("b", weight=80))}
    for draw, expected in ((0.0, "a"), (0.19, "a"), (0.21, "b"), (0.999, "b")):
        assert ask(graph, Steps(a=(200, "a"), b=(200, "b")), draw=draw) == (200, expected)


def test_ensemble_asks_all_at_once_and_names_the_answers(executor: ThreadPoolExecutor) -> None:
    together = threading.Barrier(3, timeout=10)

    def call(url: str, body: bytes) -> Answer:
        together.wait()
        return Answer(200, json.dumps({"from": url}).encode())

    nodes = {
        "root": node("Ensemble", at("a", name="first"), at("b"), {"nodeName": "below"}),
        "below": node("Sequence", at("c")),
    }
    answer = Graph(nodes, executor).answer(BODY, call)
    assert json.loads(answer.body) == {"first": {"from": "a"}, "1": {"from": "b"}, "2": {"from": "c"}}


def test_ensemble_fails_by_a_hard_step_alone(ask: Any) -> None:
    answers = {"a": (500, {"error": "x"}), "b": (200, {"b": 1})}
    soft = {"root": node("Ensemble", at("a"), at("b"))}
    assert ask(soft, Steps(**answers)) == (200, {"0": {"error": "x"}, "1": {"b": 1}})
    hard = {"root": node("Ensemble", at("a", dependency="Hard"), at("b"))}
    assert ask(hard, Steps(**answers)) == (500, {"error": "x"})


def test_nodes_lie_within_nodes(ask: Any) -> None:
    graph = {
        "root": node("Sequence", {"nodeName": "choice"}, at("c", data="$response")),
        "choice": node("Switch", at("a", condition="none"), at("b", condition="source")),
    }
    steps = Steps(b=(200, {"b": 1}), c=(200, {"c": 1}))
    assert ask(graph, steps) == (200, {"c": 1})
    with pytest.raises(Failed) as failed:
        ask(graph, steps, b'{"x": 1}')
    assert failed.value.status == 500


def test_over_http_with_headers_and_error_bodies() -> None:
    seen: list[dict[str, str]] = []

    def answer(method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        seen.append({name.lower(): value for name, value in headers.items()})
        return 201, {}, b'{"path": "%s"}' % path.encode()

    with serving(answer) as address:
        nodes = {
            "root": node(
                "Switch",
                at(f"http://{address}/v1/models/m:predict", condition="instances"),
                at("http://127.0.0.1:1/nothing", condition="nothing"),
            )
        }
        environment = {"GRAPH": json.dumps(nodes), "PROPAGATE_HEADERS": "X-Team-.*", "SERVICE_TIMEOUT_S": "5"}
        client = create_app(environment).test_client()
        headers = {"traceparent": "00-1-2-01", "X-Team-Name": "red", "Cookie": "secret", "Authorization": "Bearer x"}
        found = client.post("/any/path", data=b'{"instances": []}', headers=headers)
        assert (found.status_code, found.get_json()) == (201, {"path": "/v1/models/m:predict"})
        assert {"traceparent", "x-team-name"} <= set(seen[0])
        assert not {"cookie", "authorization"} & set(seen[0])
        assert seen[0]["content-type"] == "application/json"
        no_route = client.post("/", data=b'{"other": 1}')
        assert no_route.status_code == 404
        assert no_route.get_json() == {
            "error": "Failed to process request",
            "cause": "None of the routes matched with the switch condition",
        }
        unreachable = client.post("/", data=b'{"nothing": 1}')
        assert unreachable.status_code == 500
        assert unreachable.get_json()["error"] == "Failed to process request"
        assert client.get("/readyz").status_code == 200
    with pytest.raises(InvalidInput, match="GRAPH"):
        create_app({"GRAPH": "{}"})


KSERVE_ALPHA = "serving.kserve.io/v1alpha1"


def declare(cluster: Any, name: str, nodes: dict[str, Any], **spec: Any) -> Callable[[], dict[str, Any]]:
    graph = {
        "apiVersion": KSERVE_ALPHA,
        "kind": "InferenceGraph",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodes": nodes, **spec},
    }
    cluster.tell(cluster.resources.apply(graph))
    return lambda: dict(cluster.resources.get(KSERVE_ALPHA, "InferenceGraph", "default", name))


def ready(graph: dict[str, Any]) -> dict[str, Any]:
    return next(found for found in graph["status"]["conditions"] if found["type"] == "Ready")


def test_graph_waits_for_its_services_and_answers(running: Any, constant: Any) -> None:
    import urllib3

    get = declare(running, "chain", {"root": node("Sequence", {"serviceName": "link"})})
    assert (ready(get())["status"], ready(get())["reason"]) == ("Unknown", "WaitingForService")
    assert "InferenceService 'link' does not exist" in ready(get())["message"]
    uri = running.put("models/link/model.joblib", constant(7))
    running.apply("link", {"sklearn": {"storageUri": uri, "args": ["--model_name", "by-argument"]}})
    running.settle("link", lambda found: found["status"]["conditions"][-1]["status"] == "True")
    service = lambda: running.resources.get("serving.knative.dev/v1", "Service", "default", "chain")  # noqa: E731
    deadline = threading.Event()
    for _ in range(600):
        running.tell(service())
        if ready(get())["status"] == "True":
            break
        deadline.wait(0.05)
    assert ready(get())["status"] == "True", get()["status"]
    answer = urllib3.request("POST", get()["status"]["url"], json={"instances": [[5.1, 3.5, 1.4, 0.2]]}, retries=False)
    assert (answer.status, answer.json()) == (200, {"predictions": [7]})


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ({"first": node("Sequence", at("http://x/"))}, "needs a node with name 'root'"),
        ({"root": node("Splitter", at("http://x/", weight=10))}, "sum of traffic weights for all routing targets"),
        ({"root": node("Splitter", at("http://x/"))}, "missing the 'Weight'"),
        ({"root": node("Sequence", {"name": "empty"})}, "does not specify an inference target"),
        ({"root": node("Sequence", at("http://x/", serviceName="y"))}, "more than one of nodeName"),
        ({"root": node("Sequence", {"nodeName": "none"})}, "which the graph does not have"),
        ({"root": node("Sequence", {"nodeName": "root"})}, "in a circle: root -> root"),
        (
            {"root": node("Sequence", at("http://x/", name="a"), at("http://y/", name="a"))},
            "more than one step with name",
        ),
        ({"root": node("Switch", at("http://x/", condition="a.#("))}, "lacks a ')'"),
        ({"root": node("Switch", at("http://a.default.{$your-domain}/x"))}, "no http or https URL of a host"),
        ({"root": node("Switch", at("file:///etc/passwd"))}, "no http or https URL of a host"),
        ({"root": {"routerType": "Loop", "steps": [at("http://x/")]}}, "supported values: Sequence"),
    ],
    ids=lambda value: value[:30].replace(" ", "-") if isinstance(value, str) else "",
)
def test_graph_is_refused_in_kserves_words(cluster: Any, nodes: Any, words: str, request: Any) -> None:
    name = f"bad-{abs(hash(request.node.name)) % 10**8}"
    found = ready(declare(cluster, name, nodes)())
    assert found["status"] == "False"
    assert words in found["message"]
    assert cluster.resources.find("serving.knative.dev/v1", "Service", "default", name) is None
