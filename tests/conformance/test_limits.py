"""Time limits, containerConcurrency and queues. After knative.dev/serving test/e2e timeout and concurrency tests."""

import time
from concurrent import futures

import pytest
import urllib3

ONE = {"autoscaling.knative.dev/max-scale": "1"}


@pytest.fixture(scope="module")
def limited(cluster):
    spec = {"timeoutSeconds": 2, "responseStartTimeoutSeconds": 1}
    cluster.service("limited", "runtime", spec=spec)
    yield "limited"
    cluster.delete("limited")


def ask_all(cluster, name, path, count):
    with futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: cluster.ask(name, path), range(count)))


def test_a_request_within_its_limits(cluster, limited):
    assert cluster.ask(limited, "/sleep?s=0.5").status == 200


def test_an_answer_that_does_not_begin_in_time(cluster, limited):
    began = time.monotonic()
    answer = cluster.ask(limited, "/sleep?s=1.7")
    assert (answer.status, answer.data) == (504, b"activator request timeout")
    assert time.monotonic() - began < 1.7


def test_the_limit_is_for_the_whole_request(cluster, limited):
    answer = cluster.ask(limited, "/drip?n=10&s=0.4", preload_content=False)
    assert answer.status == 200
    with pytest.raises(urllib3.exceptions.ProtocolError):  # bytes have been sent: all that is left is to break off
        answer.read()


def test_a_request_longer_than_its_limit(cluster, removed):
    cluster.service(removed("brief"), "runtime", spec={"timeoutSeconds": 1})
    answer = cluster.ask("brief", "/sleep?s=3")
    assert (answer.status, answer.data) == (504, b"activator request timeout")


def test_a_function_that_says_nothing_for_too_long(cluster, removed):
    cluster.service(removed("silent"), "runtime", spec={"idleTimeoutSeconds": 1})
    assert cluster.ask("silent", "/drip?n=4&s=0.5").data.endswith(b"data: 3\n\n")
    assert cluster.ask("silent", "/sleep?s=2").status == 504
    answer = cluster.ask("silent", "/drip?n=2&s=2", preload_content=False)
    with pytest.raises(urllib3.exceptions.ProtocolError):
        answer.read()


def test_container_concurrency_of_one_is_a_hard_limit(cluster, removed):
    cluster.service(removed("serial"), "runtime", spec={"containerConcurrency": 1}, annotations=ONE)
    answers = ask_all(cluster, "serial", "/sleep?s=0.05", 25)
    assert {answer.status for answer in answers} == {200}
    assert cluster.ask("serial").json()["most"] == 1


def test_concurrency_without_a_limit(cluster, limited):
    began = time.monotonic()
    assert {answer.status for answer in ask_all(cluster, limited, "/sleep?s=0.9", 10)} == {200}
    assert time.monotonic() - began < 5


def test_beyond_ten_waiting_for_each_place_requests_are_refused(cluster, removed):
    annotations = ONE | {"autoscaling.knative.dev/target-burst-capacity": "0"}
    cluster.service(removed("queue"), "runtime", spec={"containerConcurrency": 1}, annotations=annotations)
    assert cluster.ask("queue").status == 200
    answers = ask_all(cluster, "queue", "/sleep?s=0.2", 20)
    statuses = [answer.status for answer in answers]
    assert statuses.count(200) == 11
    refused = next(answer for answer in answers if answer.status == 503)
    assert statuses.count(503) == 9
    assert refused.data == b"pending request queue full"
    assert int(refused.headers["Retry-After"]) >= 1


def test_waiting_longer_than_the_limit_is_503(cluster, removed):
    spec = {"containerConcurrency": 1, "timeoutSeconds": 1}
    cluster.service(removed("late"), "runtime", spec=spec, annotations=ONE)
    answers = ask_all(cluster, "late", "/sleep?s=0.8", 6)
    told = {(answer.status, answer.data) for answer in answers if answer.status != 200}
    # Whoever gets a turn just before the limit is cut off at work: 504.
    assert told - {(504, b"activator request timeout")} == {(503, b"context deadline exceeded")}


def test_an_unknown_service_is_404(cluster):
    assert cluster.ask("nobody").status == 404
