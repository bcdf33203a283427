"""Random and concurrent requests: whatever comes, the answer is a 2xx or a 4xx with the API's error body."""

import random
import socket
import threading
from typing import Any

import pytest

ROUNDS = 400
NAMES = "name id state n auc.double_value `a b`"
OPERATORS = "= != <> < <= >= LIKE ilike IN"
LITERALS = "'x' \"y\" 'it\\'s' 1 -1 1e308 99999999999999999999 9223372036854775808 0.5 .5 5. true FALSE"
OTHERS = "` ' \" \\ ( ) , . ; % _ * [ ] ? -- /* */ AND or NULL 'it''s' '\\'' \x7f é 日本 \x01"
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**63,
    10**400,
    0.5,
    1e308,
    "",
    "x",
    "é日本",
    "x" * 300,
    "LIVE",
    "1",
    "99999999999",
    [],
    ["a", None],
    {},
    {"p": {"metadataType": "MetadataIntValue", "int_value": "1"}},
    {"p": {"metadataType": "MetadataDoubleValue", "double_value": 10**400}},
    {"p": {"metadataType": "MetadataStructValue", "struct_value": "e30="}},
    {"": {"metadataType": "MetadataStringValue", "string_value": ""}},
)
FIELDS = (
    "name externalId description state owner author registeredModelId customProperties uri artifactType value step "
    "timestamp id createTimeSinceEpoch language tasks readme parameterType digest modelFormatName nonsense"
)


def checked(answer: Any) -> None:
    assert answer.status < 500, answer
    if answer.status >= 400:
        assert set(answer.body) == {"code", "message"}, answer


def test_random_filters_and_orders(registry: Any) -> None:
    chance = random.Random(1)
    registry.artifact(registry.version(customProperties=VALUES[18]), customProperties=VALUES[18])
    paths = ("registered_models", "model_versions", "artifacts", "model_artifacts")
    pieces = [words.split() for words in (NAMES, OPERATORS, LITERALS, OTHERS)]
    accepted = 0
    for _ in range(ROUNDS):
        words = [chance.choice(chance.choice(pieces)) for _ in range(chance.randint(1, 8))]
        if chance.random() < 0.5:
            words = [chance.choice(kind) for kind in pieces[:3]]
        query = {"filterQuery": " ".join(words), "pageSize": chance.choice(["", "1", "5", "x"])}
        if chance.random() < 0.3:
            query["nextPageToken"] = chance.choice(
                ["MTpJRDpBU0M6MQ==", "MTpJRDpBU0M6OTk5OTk5OTk5OTk5OTk5OTk5OTk=", "é"]
            )
        answer = registry.call("GET", chance.choice(paths), query=query)
        checked(answer)
        accepted += answer.status == 200
    assert accepted > ROUNDS // 20, "the test should also ask what can be answered"


def test_random_bodies(registry: Any) -> None:
    chance = random.Random(2)
    version = registry.version()
    artifact = registry.artifact(version)
    model = version["registeredModelId"]
    targets = (
        ("POST", "registered_models"),
        ("POST", "model_versions"),
        ("POST", "artifacts"),
        ("POST", "model_artifacts"),
        ("POST", f"registered_models/{model}/versions"),
        ("POST", f"model_versions/{version['id']}/artifacts"),
        ("PATCH", f"registered_models/{model}"),
        ("PATCH", f"model_versions/{version['id']}"),
        ("PATCH", f"artifacts/{artifact['id']}"),
    )
    for round_number in range(ROUNDS):
        body = {chance.choice(FIELDS.split()): chance.choice(VALUES) for _ in range(chance.randint(0, 4))}
        if chance.random() < 0.5:
            body["name"] = f"random {round_number} {model}"
        if chance.random() < 0.6:
            kinds = ("model-artifact", "metric", "parameter", "dataset-artifact", "doc-artifact")
            body["artifactType"] = chance.choice(kinds)
        if chance.random() < 0.5:
            body["registeredModelId"] = model
        method, path = chance.choice(targets)
        checked(registry.call(method, path, body))


@pytest.mark.parametrize("writers", [32])
def test_concurrent_writers_lose_nothing(registry: Any, writers: int) -> None:
    model = registry.model()
    shared = registry.version(model)
    statuses: list[int] = []

    def write(number: int) -> None:
        made = registry.call("POST", "model_versions", {"name": str(number), "registeredModelId": model["id"]})
        same = registry.call("POST", "model_versions", {"name": "same", "registeredModelId": model["id"]})
        path = f"model_versions/{shared['id']}"
        metric = {"artifactType": "metric", "name": f"m{number % 4}", "value": number}
        put = registry.call("POST", f"{path}/artifacts", metric)
        changed = registry.call("PATCH", path, {"description": str(number)})
        statuses.extend([made.status, same.status, put.status, changed.status])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {status: statuses.count(status) for status in sorted(set(statuses))} == {
        200: writers + writers - 4,
        201: writers + 1 + 4,
        409: writers - 1,
    }
    versions = registry.ok("GET", f"registered_models/{model['id']}/versions")["items"]
    assert len(versions) == writers + 2
    assert len({version["lastUpdateTimeSinceEpoch"] for version in versions}) == writers + 2


def test_body_that_ends_before_its_announced_length_changes_nothing(registry: Any) -> None:
    host, port = registry.url.removeprefix("http://").split(":")
    name = f"cut {random.Random().random()}"
    body = f'{{"name": "{name}"}}'.encode()
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        head = f"POST /api/model_registry/v1/registered_models HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body) + 1}"
        connection.sendall(head.encode() + b"\r\n\r\n" + body)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(65536)
    assert not answer or answer.startswith(b"HTTP/1.1 400")
    assert registry.call("GET", "registered_model", query={"name": name}).status == 404
