"""Knative's runtime contract: what a function sees of its environment and of a request, and how it ends.

After knative.dev/serving test/conformance/runtime.
"""

import http.client
import json
import re
import threading
import time
from pathlib import Path

import pytest
import urllib3


@pytest.fixture(scope="module")
def told(cluster):
    """What a function tells of one request with headers of all kinds."""
    env = [{"name": "WORD", "value": "sesame"}, {"name": "WHERE", "value": "$(K_SERVICE)/$(WORD)"}]
    cluster.service("runtime", "runtime", container={"env": env, "args": ["--flag", "$(WORD)"], "workingDir": "/tmp"})
    headers = {
        "X-User-Header": "Some Value",
        "Knative-Serving-Namespace": "forged",
        "Knative-Serving-Revision": "forged",
        "K-Proxy-Request": "forged",
        "X-Forwarded-For": "192.0.2.1",
        "Zeroflow-Caller": "forged",
        "Connection": "keep-alive, X-Hop",
        "X-Hop": "1",
    }
    told = cluster.ask("runtime", "/some%20path/?a=1&b=%2F", "POST", body=b"the body", headers=headers).json()
    told["seen"] = {name.lower(): value for name, value in told["headers"]}
    yield told
    cluster.delete("runtime")


def test_the_environment_of_the_contract(told, cluster):
    env = told["env"]
    assert env["PORT"].isdigit()
    assert (env["K_SERVICE"], env["K_CONFIGURATION"], env["K_REVISION"]) == ("runtime", "runtime", "runtime-00001")
    assert (env["WORD"], env["WHERE"]) == ("sesame", "runtime/sesame")


def test_nothing_of_the_hosts_own_secrets(told, cluster):
    token = (cluster.host.home / "secrets" / "platform.token").read_text().strip()
    assert token not in json.dumps(told)


def test_args_and_working_directory(told):
    assert told["argv"] == ["--flag", "sesame"]
    assert told["env"].get("PWD", "/tmp")


def test_method_path_query_and_body_are_unchanged(told):
    assert (told["method"], told["path"], told["body"]) == ("POST", "/some%20path/?a=1&b=%2F", "the body")


def test_one_connection_serves_services_and_apis_in_turn(told, cluster):
    connection = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=60)
    answers = []
    for host, path in [("runtime.default.localhost", "/a"), ("localhost", "/version")] * 2:
        connection.request("GET", path, headers={"Host": f"{host}:{cluster.port}", "X-Word": "b"})
        answers.append(json.loads(connection.getresponse().read()))
    connection.close()
    services, versions = answers[::2], answers[1::2]
    for answer in services:
        del answer["asked"]  # how often
        answer["headers"] = sorted(pair for pair in answer["headers"] if pair[0].lower() != "traceparent")
    assert services[0]["path"] == "/a"
    assert services[0] == services[1]
    assert versions[0] == versions[1]
    assert versions[0]["major"] == "1"


def test_host_and_forwarding_headers(told, cluster):
    seen = told["seen"]
    host = f"runtime.default.localhost:{cluster.port}"
    assert seen["host"] == host
    assert seen["forwarded"] == f'for=127.0.0.1;host="{host}";proto=http'
    assert seen["x-forwarded-for"] == "192.0.2.1, 127.0.0.1"
    assert seen["x-forwarded-proto"] == "http"
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", seen["traceparent"])


def test_user_headers_pass_unchanged_and_in_their_case(told):
    assert ["X-User-Header", "Some Value"] in told["headers"]


@pytest.mark.parametrize(
    "name", ["knative-serving-namespace", "knative-serving-revision", "k-proxy-request", "zeroflow-caller", "x-hop"]
)
def test_internal_and_hop_by_hop_headers_stay_behind(told, name):
    assert name not in told["seen"]


def test_standard_input_is_at_its_end_and_tmp_is_writable(told):
    assert told["stdin"] == "eof"
    assert told["tmp"]


HIDDEN = {"key": "password", "path": "p"}


def test_configmaps_and_secrets_as_environment_and_as_files(cluster, removed):
    api = "/api/v1/namespaces/default"
    config = {"metadata": {"name": "settings"}, "data": {"COLOUR": "red", "file.txt": "in a file"}}
    secret = {"metadata": {"name": "hidden"}, "stringData": {"password": "s3cret"}}
    assert cluster.host.request("POST", f"{api}/configmaps", json=config).status == 201
    assert cluster.host.request("POST", f"{api}/secrets", json=secret).status == 201
    container = {
        "env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "hidden", "key": "password"}}}],
        "envFrom": [{"configMapRef": {"name": "settings"}, "prefix": "MY_"}],
        "volumeMounts": [
            {"name": "files", "mountPath": "/etc/settings"},
            {"name": "together", "mountPath": "/etc/together"},
        ],
        "readinessProbe": {
            "exec": {
                "command": ["sh", "-c", "grep -q 'in a file' /etc/settings/file.txt && grep -q s3cret /etc/together/p"]
            }
        },
    }
    sources = [{"configMap": {"name": "settings"}}, {"secret": {"name": "hidden", "items": [HIDDEN]}}]
    volumes = [
        {"name": "files", "configMap": {"name": "settings"}},
        {"name": "together", "projected": {"sources": sources}},
    ]
    cluster.service(removed("configured"), "runtime", container=container, spec={"volumes": volumes})
    env = cluster.ask("configured").json()["env"]
    assert (env["PASSWORD"], env["MY_COLOUR"]) == ("s3cret", "red")


@pytest.mark.parametrize("code", [201, 302, 404, 418, 500, 503])
def test_status_codes_pass_unchanged(cluster, told, code):
    answer = cluster.ask("runtime", f"/status?code={code}", redirect=False)
    assert (answer.status, answer.data) == (code, b"as asked")


def test_connections_are_kept_on_both_sides(cluster, told):
    headers = {"Host": f"runtime.default.localhost:{cluster.port}"}
    with urllib3.HTTPConnectionPool("127.0.0.1", cluster.port, maxsize=1) as pool:
        clients = {pool.request("GET", "/", headers=headers).json()["client"] for _ in range(5)}
        assert pool.num_connections == 1
    assert len(clients) == 1


def test_parts_of_an_answer_arrive_as_they_are_sent(cluster, told):
    began = time.monotonic()
    answer = cluster.ask("runtime", "/drip?n=3&s=0.5", preload_content=False)
    parts = answer.stream(decode_content=False)
    assert next(parts) == b"data: 0\n\n"
    assert time.monotonic() - began < 0.5
    assert b"".join(parts) == b"data: 1\n\ndata: 2\n\n"
    assert time.monotonic() - began >= 1.0


def test_the_head_of_an_answer_does_not_wait_for_its_body(cluster, told):
    began = time.monotonic()
    answer = cluster.ask("runtime", "/drip?n=1&s=2&wait=1", preload_content=False)
    assert time.monotonic() - began < 1.5
    assert answer.read() == b"data: 0\n\n"


def test_a_large_body_and_a_chunked_one_pass(cluster, told):
    body = b"0123456789abcdef" * (1 << 16)
    assert len(cluster.ask("runtime", "/", "POST", body=body).json()["body"]) == len(body)
    chunked = cluster.ask("runtime", "/", "POST", body=iter([b"x" * 1000] * 100), chunked=True)
    assert chunked.json()["body"] == "x" * 100_000


def test_a_failing_container_is_told_and_the_old_revision_stays(cluster, removed, wait_until):
    cluster.service(removed("careful"), "runtime")
    env = [{"name": "FAIL_AT_START", "value": "no model here"}, {"name": "FAIL_CODE", "value": "7"}]
    cluster.service("careful", "runtime", container={"env": env}, wait=False)
    wait_until(lambda: cluster.condition("careful").get("status") == "False", "the failure")
    ready = cluster.condition("careful")
    assert ready["reason"] == "RevisionFailed"
    assert 'Revision "careful-00002" failed with message: Container failed with: no model here' in ready["message"]
    healthy = cluster.condition("careful-00002", "ContainerHealthy", "revisions")
    assert (healthy["status"], healthy["reason"]) == ("False", "ExitCode7")
    assert cluster.get("careful")["status"]["latestReadyRevisionName"] == "careful-00001"
    assert cluster.ask("careful").json()["env"]["K_REVISION"] == "careful-00001"


def test_an_image_that_is_no_program_is_container_missing(cluster, removed, wait_until):
    cluster.service(removed("imageonly"), None, wait=False)
    wait_until(lambda: cluster.condition("imageonly").get("status") == "False", "the failure")
    healthy = cluster.condition("imageonly-00001", "ContainerHealthy", "revisions")
    assert (healthy["status"], healthy["reason"]) == ("False", "ContainerMissing")


def test_sigterm_comes_after_the_last_request(cluster, removed, wait_until, tmp_path):
    told = tmp_path / "term"
    cluster.service(removed("graceful"), "runtime", container={"env": [{"name": "TELL_TERM", "value": str(told)}]})
    answers = []
    asking = threading.Thread(target=lambda: answers.append(cluster.ask("graceful", "/sleep?s=1.5").status))
    asking.start()
    wait_until(lambda: cluster.ask("graceful").json()["asked"].get("/sleep"), "the request to be in")
    cluster.service("graceful", "runtime", container={"env": [{"name": "NEW", "value": "yes"}]})
    cluster.host.request("DELETE", "/apis/serving.knative.dev/v1/namespaces/default/revisions/graceful-00001")
    asking.join(30)
    assert answers == [200]
    wait_until(told.exists, "SIGTERM")
    assert "in flight: 0" in Path(told).read_text()
