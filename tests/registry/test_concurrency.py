"""Many writers at once: nothing is lost, nothing fails on the inside, and whoever asks for it is told of a conflict."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import urllib3

from registry.conftest import unique

WRITERS = 64


def test_of_two_updates_for_one_state_one_wins(registry: Any) -> None:
    version = registry.version()
    path = f"model_versions/{version['id']}"
    read = registry.call("GET", path)
    tag = read.headers["etag"]
    both = [
        registry.call("PATCH", path, {"author": author}, version=api, headers={"if-match": tag})
        for author, api in (("Ada", "v1"), ("Bob", "v1alpha3"))
    ]
    assert [answer.status for answer in both] == [200, 412]
    assert (both[1].body["code"], "read it again" in both[1].body["message"]) == ("Precondition Failed", True)
    assert registry.ok("GET", path)["author"] == "Ada"
    assert both[0].headers["etag"] == registry.call("GET", path).headers["etag"] != tag
    assert registry.call("PATCH", path, {"author": "Eve"}, headers={"if-match": "*"}).status == 200
    assert registry.call("PATCH", path, {"author": "no condition"}).status == 200


def test_a_state_that_the_client_has_is_not_sent_again(registry: Any) -> None:
    model = registry.model()
    path = f"registered_models/{model['id']}"
    tag = registry.call("GET", path).headers["etag"]
    whole = f"/api/model_registry/v1/{path}"
    assert registry.raw("GET", whole, headers={"if-none-match": f'"x", W/{tag}'}).status == 304
    registry.ok("PATCH", path, {"owner": "Ada"})
    assert registry.raw("GET", whole, headers={"if-none-match": tag}).status == 200


@pytest.mark.parametrize("kind", ["model_artifacts", "artifacts"])
def test_artifacts_have_preconditions_too(registry: Any, kind: str) -> None:
    artifact = registry.artifact()
    path = f"{kind}/{artifact['id']}"
    body = {"artifactType": "model-artifact", "description": "x"}
    stale = {"if-match": '"model-artifact-1-1"'}
    assert registry.call("PATCH", path, body, headers=stale).status == 412
    fresh = {"if-match": registry.call("GET", path).headers["etag"]}
    assert registry.call("PATCH", path, body, headers=fresh).status == 200


def test_sixty_four_writers_lose_no_update(registry: Any) -> None:
    model = registry.model()
    counter = registry.version(model, name="counter", author="0")
    path = f"model_versions/{counter['id']}"
    pool = urllib3.PoolManager(maxsize=WRITERS, block=True)
    registry._pool, kept = pool, registry._pool

    def write(number: int) -> list[int]:
        """Make versions, tell a metric, and count one up under a precondition until that is taken."""
        made = registry.call("POST", "model_versions", {"name": unique("v"), "registeredModelId": model["id"]})
        metric = {"artifactType": "metric", "name": "shared", "value": number}
        statuses = [made.status, registry.call("POST", f"{path}/artifacts", metric).status]
        while True:
            read = registry.call("GET", path)
            body = {"author": str(int(read.body["author"]) + 1)}
            answer = registry.call("PATCH", path, body, headers={"if-match": read.headers["etag"]})
            if answer.status != 412:
                return [*statuses, answer.status]

    try:
        with ThreadPoolExecutor(WRITERS) as writers:
            statuses = [status for told in writers.map(write, range(WRITERS)) for status in told]
    finally:
        registry._pool = kept
        pool.clear()
    assert set(statuses) <= {200, 201}, sorted(set(statuses))
    assert registry.ok("GET", path)["author"] == str(WRITERS)
    versions = registry.ok("GET", f"registered_models/{model['id']}/versions")
    assert versions["size"] == 1 + WRITERS
    shared = [one for one in registry.ok("GET", f"{path}/artifacts")["items"] if one["name"] == "shared"]
    assert len(shared) == 1
