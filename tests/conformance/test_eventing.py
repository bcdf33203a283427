"""Brokers, triggers and JobSinks from outside. After knative.dev/eventing test/rekt features."""

import base64
import itertools
import json

import pytest

EVENTING = "/apis/eventing.knative.dev/v1/namespaces/default"
NUMBERS = itertools.count()
DENIED = 'admission webhook "validation.webhook.eventing.knative.dev" denied the request: validation failed: '


@pytest.fixture(scope="module")
def receiver(cluster):
    """A subscriber that is kept up, since it remembers in memory."""
    cluster.service("receiver", "receiver", annotations={"autoscaling.knative.dev/min-scale": "1"})
    yield "receiver"
    cluster.delete("receiver")


@pytest.fixture
def broker(cluster, receiver, wait_until):
    """A broker of the test's own."""
    name = f"broker-{next(NUMBERS)}"
    create(cluster, "brokers", "Broker", name, {})
    yield Broker(cluster, name, wait_until)
    cluster.host.request("DELETE", f"{EVENTING}/brokers/{name}")


def create(cluster, plural, kind, name, spec):
    obj = {"apiVersion": "eventing.knative.dev/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    answer = cluster.host.request("POST", f"{EVENTING}/{plural}", json=obj)
    assert answer.status == 201, answer.data
    return answer.json()


class Broker:
    def __init__(self, cluster, name, wait_until):
        self.cluster, self.name, self._until = cluster, name, wait_until
        self.path = f"/eventing/default/{name}"

    def trigger(self, path="/", **spec):
        name = f"trigger-{next(NUMBERS)}"
        ref = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "receiver"}
        whole = {"broker": self.name, "subscriber": {"ref": ref, "uri": path}} | spec
        create(self.cluster, "triggers", "Trigger", name, whole)
        url = f"{EVENTING}/triggers/{name}"
        self._until(lambda: ready(self.cluster.host.get(url)), "the trigger")
        return name

    def send(self, id_, type_="test", body=b"", status=202, **headers):
        given = {"Ce-Specversion": "1.0", "Ce-Id": id_, "Ce-Source": "/test", "Ce-Type": type_}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.cluster.host.request("POST", self.path, headers=given, body=body)
        assert answer.status == status, answer.data
        return answer

    def arrived(self, path):
        return [each for each in self.cluster.ask("receiver").json() if each["path"] == path]

    def got(self, path, count=1, id_=None):
        def found():
            mine = [each for each in self.arrived(path) if id_ in (None, each["headers"].get("ce-id"))]
            return mine if len(mine) >= count else None

        return self._until(found, f"{count} events at {path}")


def ready(obj):
    conditions = obj.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def path():
    return f"/{next(NUMBERS)}"


def test_an_event_arrives_in_binary_mode_with_the_headers_of_the_contract(broker):
    where = path()
    broker.trigger(where)
    broker.send("1", body=b'{"a": 1}', Content_Type="application/json", Ce_Word="x", X_Request_Id="r", X_Other="gone")
    headers = broker.got(where)[0]["headers"]
    assert (headers["ce-id"], headers["ce-type"], headers["ce-word"]) == ("1", "test", "x")
    assert headers["prefer"] == "reply"
    assert headers["kn-namespace"] == "default"
    assert headers["x-request-id"] == "r"
    assert "x-other" not in headers
    assert "ce-knativearrivaltime" in headers
    assert "ce-knativebrokerttl" not in headers


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_other_verbs_are_not_allowed(broker, cluster, method):
    answer = cluster.host.request(method, broker.path)
    assert (answer.status, answer.headers["Allow"]) == (405, "POST, OPTIONS")


def test_options_tell_of_the_webhook(broker, cluster):
    answer = cluster.host.request("OPTIONS", broker.path)
    assert (answer.status, answer.headers["WebHook-Allowed-Origin"]) == (200, "*")
    assert answer.headers["WebHook-Allowed-Rate"] == "*"


def test_what_is_no_event_or_has_no_broker(broker, cluster):
    assert cluster.host.request("POST", broker.path, body=b"x").status == 400
    batch = {"Content-Type": "application/cloudevents-batch+json"}
    assert cluster.host.request("POST", broker.path, body=b"[]", headers=batch).status == 400
    broker.send("1", status=400, Ce_Knativebrokerttl="0")
    assert cluster.host.request("POST", "/eventing/default/nobody", body=b"x").status == 404


def test_a_reply_goes_through_the_broker_and_a_loop_ends_with_its_ttl(broker):
    where, replies = path(), path()
    broker.trigger(f"{where}?reply=answer", filters=[{"exact": {"type": "question"}}])
    broker.trigger(replies, filters=[{"exact": {"type": "answer"}}])
    broker.send("1", "question")
    assert broker.got(replies)[0]["headers"]["ce-id"] == "re-1"
    loop = path()
    broker.trigger(f"{loop}?reply=loop", filters=[{"exact": {"type": "loop"}}])
    broker.send("round", "loop", Ce_Knativebrokerttl="4")
    assert len(broker.got(loop, 3)) == 3


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ([{"exact": {"type": "a.b"}}], True),
        ([{"exact": {"type": "a"}}], False),
        ([{"prefix": {"type": "a."}}, {"suffix": {"type": ".b"}}], True),
        ([{"any": [{"exact": {"type": "x"}}, {"exact": {"word": "w"}}]}], True),
        ([{"all": [{"exact": {"type": "a.b"}}, {"exact": {"word": "v"}}]}], False),
        ([{"not": {"exact": {"type": "x"}}}], True),
        ([{"cesql": "type LIKE 'a.%' AND word IN ('v', 'w')"}], True),
        ([{"cesql": "LENGTH(type) > 10"}], False),
    ],
    ids=["exact", "no", "prefix and suffix", "any", "all", "not", "cesql", "cesql no"],
)
def test_filters_of_every_dialect(broker, filters, passes):
    where, every = path(), path()
    broker.trigger(where, filters=filters)
    broker.trigger(every)
    broker.send("1", "a.b", Ce_Word="w")
    broker.got(every)
    broker.send("2", "end", Ce_Word="w")
    broker.got(every, 2)
    # Deliveries of a trigger are not ordered: the second event may arrive at `where` before the first.
    if passes:
        broker.got(where, id_="1")
    else:
        assert "1" not in {each["headers"]["ce-id"] for each in broker.arrived(where)}


def test_a_filter_of_two_dialects_or_bad_sql_is_refused(broker, cluster):
    for filters in ([{"exact": {"type": "a"}, "prefix": {"type": "a"}}], [{"cesql": "type LIKE"}]):
        spec = {"broker": broker.name, "filters": filters, "subscriber": {"uri": "http://example.com"}}
        obj = {"apiVersion": "eventing.knative.dev/v1", "kind": "Trigger", "metadata": {"name": "bad"}, "spec": spec}
        answer = cluster.host.request("POST", f"{EVENTING}/triggers", json=obj)
        assert answer.status == 400, answer.data
        assert answer.json()["reason"] == "BadRequest"
        assert answer.json()["message"].startswith(DENIED)


def test_retries_with_backoff_until_the_subscriber_takes_it(broker):
    where = path()
    delivery = {"retry": 4, "backoffPolicy": "exponential", "backoffDelay": "PT0.2S"}
    broker.trigger(f"{where}?fail=3", delivery=delivery)
    broker.send("1")
    times = [each["at"] for each in broker.got(where, 4)]
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert waits[0] >= 0.19
    assert waits[1] >= 0.39
    assert waits[2] >= 0.79


@pytest.mark.parametrize(("code", "attempts"), [(500, 2), (429, 2), (404, 2), (400, 1), (301, 1)])
def test_which_answers_are_tried_again_and_what_the_dead_letter_sink_is_told(broker, code, attempts):
    where, dead = path(), path()
    ref = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "receiver"}
    delivery = {
        "retry": 1,
        "backoffPolicy": "linear",
        "backoffDelay": "PT0.1S",
        "deadLetterSink": {"ref": ref, "uri": dead},
    }
    broker.trigger(f"{where}?fail=9&code={code}", delivery=delivery)
    broker.send("1", body=b"kept", Content_Type="text/plain")
    letter = broker.got(dead)[0]
    assert letter["headers"]["ce-knativeerrorcode"] == str(code)
    assert base64.b64decode(letter["headers"]["ce-knativeerrordata"]) == b"not now"
    assert where in letter["headers"]["ce-knativeerrordest"]
    assert letter["body"] == "kept"
    assert len(broker.got(where, attempts)) == attempts


def test_an_answer_that_is_no_event_is_a_fault(broker):
    where, dead = path(), path()
    ref = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "receiver"}
    broker.trigger(f"{where}?say=thanks", delivery={"retry": 1, "deadLetterSink": {"ref": ref, "uri": dead}})
    broker.send("1")
    assert broker.got(dead)[0]["headers"]["ce-knativeerrorcode"] == "502"
    assert len(broker.got(where, 2)) == 2


def test_a_slow_subscriber_delays_no_other(broker):
    slow, quick = path(), path()
    broker.trigger(f"{slow}?sleep=3")
    broker.trigger(quick)
    for number in range(40):
        broker.send(str(number))
    got = broker.got(quick, 40)
    assert max(each["at"] for each in got) - min(each["at"] for each in got) < 2.5


def test_structured_events_in_and_out(broker):
    where = path()
    broker.trigger(where, delivery={"format": "json"})
    event = {"specversion": "1.0", "id": "s", "source": "/test", "type": "test", "data": {"a": 1}}
    headers = {"Content-Type": "application/cloudevents+json"}
    answer = broker.cluster.host.request("POST", broker.path, body=json.dumps(event), headers=headers)
    assert answer.status == 202
    got = broker.got(where)[0]
    assert got["headers"]["content-type"].startswith("application/cloudevents+json")
    assert json.loads(got["body"])["data"] == {"a": 1}


def test_a_deleted_trigger_gets_nothing_more_and_a_new_one_nothing_old(broker, cluster):
    dead, alive = path(), path()
    name = broker.trigger(dead)
    broker.send("1")
    broker.got(dead)
    cluster.host.request("DELETE", f"{EVENTING}/triggers/{name}")
    broker.trigger(alive)
    broker.send("2")
    assert [each["headers"]["ce-id"] for each in broker.got(alive)] == ["2"]
    assert len(broker.got(dead)) == 1


def test_a_jobsink_runs_one_job_for_each_event(cluster, wait_until):
    script = 'grep -o \'"id":"[^"]*"\' "$K_EVENT_PATH/event"; test "$K_EXECUTION_MODE" = batch'
    container = {"name": "main", "image": "job", "command": ["sh", "-c", script]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    sink = {
        "apiVersion": "sinks.knative.dev/v1alpha1",
        "kind": "JobSink",
        "metadata": {"name": "worker"},
        "spec": {"job": {"spec": {"backoffLimit": 0, "template": template}}},
    }
    sinks = "/apis/sinks.knative.dev/v1alpha1/namespaces/default/jobsinks"
    answer = cluster.host.request("POST", sinks, json=sink)
    assert answer.status == 201, answer.data
    headers = {"Ce-Specversion": "1.0", "Ce-Id": "job/1", "Ce-Source": "/test", "Ce-Type": "work"}
    first = cluster.host.request("POST", "/jobsinks/default/worker", headers=headers, body=b"")
    again = cluster.host.request("POST", "/jobsinks/default/worker", headers=headers, body=b"")
    assert (first.status, again.status) == (202, 202)
    location = first.headers["Location"]
    assert location == again.headers["Location"]
    status = lambda: cluster.ask("x", location, headers={"Host": "job-sink.knative-eventing.svc.cluster.local"})  # noqa: E731
    wait_until(lambda: status().status == 200, "the job")
    assert status().headers["Reason"] == "Complete"
    jobs = cluster.host.get(
        "/apis/batch/v1/namespaces/default/jobs?labelSelector=sinks.knative.dev/job-sink-name=worker"
    )
    assert len(jobs["items"]) == 1
    cluster.host.request("DELETE", f"{sinks}/worker")


def test_a_sequence_of_a_transform_and_a_service_is_fed_by_a_trigger(broker, cluster, wait_until):
    """The expression runs in a function of its own; the channel is reached by its cluster host name too."""
    apply = lambda group, plural, kind, name, spec: cluster.host.request(  # noqa: E731
        "POST",
        f"/apis/{group}/namespaces/default/{plural}",
        json={"apiVersion": group, "kind": kind, "metadata": {"name": name}, "spec": spec},
    )
    expression = (
        '{"specversion": "1.0", "id": id, "type": "rewritten", "source": source, "word": data.word, "data": data}'
    )
    eventing, flows = "eventing.knative.dev/v1alpha1", "flows.knative.dev/v1"
    made = apply(eventing, "eventtransforms", "EventTransform", "promote", {"jsonata": {"expression": expression}})
    assert made.status == 201, made.data
    where = path()
    steps = [
        {"ref": {"apiVersion": eventing, "kind": "EventTransform", "name": "promote"}},
        {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "receiver"}, "uri": where},
    ]
    assert apply(flows, "sequences", "Sequence", "flow", {"steps": steps}).status == 201
    url = f"/apis/{flows}/namespaces/default/sequences/flow"
    wait_until(lambda: ready(cluster.host.get(url)), "the sequence")
    broker.trigger(subscriber={"ref": {"apiVersion": flows, "kind": "Sequence", "name": "flow"}})
    broker.send("seq-1", body=b'{"word": "hello"}', Content_Type="application/json")
    (got,) = broker.got(where)
    event = json.loads(got["body"])
    assert (event["id"], event["type"], event["word"]) == ("seq-1", "rewritten", "hello")
    host = {"Host": "flow-kn-sequence-0-kn-channel.default.svc.cluster.local"}
    headers = {"Ce-Specversion": "1.0", "Ce-Id": "seq-2", "Ce-Source": "/test", "Ce-Type": "t", **host}
    answer = cluster.ask("x", "/", method="POST", headers=headers, body=b"{}")
    assert answer.status == 202, answer.data
    assert len(broker.got(where, 2)) == 2
    cluster.host.request("DELETE", url)
    cluster.host.request("DELETE", f"/apis/{eventing}/namespaces/default/eventtransforms/promote")
