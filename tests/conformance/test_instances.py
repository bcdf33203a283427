"""What an instance is given and how it is looked after: ports, init containers, sidecars, probes."""

import os
import socket

import pytest


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def env(**values):
    return [{"name": name, "value": str(value)} for name, value in values.items()]


def test_a_program_that_ignores_port_is_found_at_its_container_port(cluster, removed):
    port = free_port()
    container = {"ports": [{"containerPort": port}], "env": env(BIND=port)}
    cluster.service(removed("fixed-port"), "runtime", container=container)
    told = cluster.ask("fixed-port").json()
    assert told["env"]["BIND"] == str(port)
    assert told["env"]["PORT"] != str(port)


def test_a_program_that_listens_elsewhere_is_told_so(cluster, removed, wait_until):
    port = free_port()
    container = {"ports": [{"containerPort": 8081}], "env": env(BIND=port)}
    deadline = {"serving.knative.dev/progress-deadline": "2s"}
    cluster.service(removed("wrong-port"), "runtime", container=container, annotations=deadline, wait=False)
    wait_until(lambda: cluster.condition("wrong-port").get("status") == "False", "the deadline")
    message = cluster.condition("wrong-port")["message"]
    assert f"it listens on port {port}, and neither on the port that PORT names" in message
    assert "nor on its containerPort (8081)" in message


def test_a_container_port_that_is_taken_is_told_with_the_reason(cluster, removed, wait_until):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        container = {"ports": [{"containerPort": port}], "env": env(BIND=port)}
        cluster.service(removed("taken-port"), "runtime", container=container, wait=False)
        wait_until(lambda: cluster.condition("taken-port").get("status") == "False", "the failure")
        message = cluster.condition("taken-port")["message"]
    assert "Address already in use" in message
    assert "let it listen on the port in the environment variable PORT" in message


def test_startup_probe_holds_requests_back_and_its_failure_is_told(cluster, removed, wait_until):
    probe = {"exec": {"command": ["sh", "-c", "test -e $FLAG"]}, "periodSeconds": 1, "failureThreshold": 2}
    container = {"startupProbe": probe, "env": env(FLAG="/nonexistent/flag")}
    cluster.service(removed("never-started"), "runtime", container=container, wait=False)
    wait_until(lambda: cluster.condition("never-started").get("status") == "False", "the startup probe to fail")
    message = cluster.condition("never-started")["message"]
    assert "Startup probe failed 2 times: command 'sh' ended with exit code 1" in message


@pytest.mark.parametrize(
    "probe",
    [{"httpGet": {"path": "/health"}}, {"tcpSocket": {}}, {"exec": {"command": ["sh", "-c", 'test -n "$K_REVISION"']}}],
    ids=["http", "tcp", "exec"],
)
def test_readiness_by_every_handler(cluster, removed, probe):
    name = f"ready-{next(iter(probe)).lower()}"
    cluster.service(removed(name), "runtime", container={"readinessProbe": probe})
    assert cluster.ask(name).status == 200


def test_an_instance_that_is_no_longer_ready_gets_no_request_until_it_is(cluster, removed, wait_until):
    probe = {"httpGet": {"path": "/health"}, "periodSeconds": 1, "failureThreshold": 1}
    cluster.service(removed("moody"), "runtime", container={"readinessProbe": probe})
    pid = cluster.ask("moody", "/unready?s=4").data
    wait_until(lambda: not ready_pods(cluster, "moody"), "the probe to fail")
    held = cluster.ask("moody").json()  # waits, since no other instance is wanted
    assert str(held["pid"]).encode() == pid
    assert held["asked"]["/health"] > 2
    wait_until(lambda: ready_pods(cluster, "moody"), "the Pod to say so")


def ready_pods(cluster, name):
    pods = cluster.host.get(f"/api/v1/namespaces/default/pods?labelSelector=serving.knative.dev/service={name}")
    return [pod for pod in pods["items"] if pod["status"]["containerStatuses"][0]["ready"]]


def test_a_liveness_probe_that_fails_brings_a_new_instance(cluster, removed, wait_until):
    probe = {"httpGet": {"path": "/live"}, "periodSeconds": 1, "failureThreshold": 1}
    cluster.service(removed("mortal"), "runtime", container={"livenessProbe": probe})
    pid = cluster.ask("mortal", "/set?alive=false").data
    wait_until(lambda: cluster.ask("mortal", "/set").data != pid, "another instance")


def test_grpc_probe_asks_the_standard_health_service(cluster, removed, wait_until):
    container = {
        "ports": [{"name": "h2c", "containerPort": 50051}],
        "readinessProbe": {"grpc": {"service": "other"}, "periodSeconds": 1},
        "env": env(HEALTHY="echo"),
    }
    deadline = {"serving.knative.dev/progress-deadline": "3s"}
    cluster.service(removed("unhealthy"), "echo_grpc", container=container, annotations=deadline, wait=False)
    wait_until(lambda: cluster.condition("unhealthy").get("status") == "False", "the deadline")
    assert "grpc health of 'other' is not SERVING" in cluster.condition("unhealthy")["message"]
    container["readinessProbe"] = {"grpc": {"service": "echo"}}
    cluster.service("unhealthy", "echo_grpc", container=container)


def test_a_sidecar_runs_beside_the_container_and_shares_its_volumes(cluster, removed):
    shared = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    beside = {
        "name": "beside",
        "image": "b",
        "command": ["sh", "-c", "echo up > /shared/up; exec sleep 1000"],
        **shared,
    }
    beside |= shared
    probe = {"exec": {"command": ["test", "-e", "/shared/up"]}}
    container = {"name": "main", "ports": [{"containerPort": 8080}], "readinessProbe": probe, **shared}
    spec = {"volumes": [{"name": "shared", "emptyDir": {}}]}
    template = cluster.template(container, "runtime", spec)
    template["spec"]["containers"].append(beside)
    cluster.apply(removed("two"), template)
    assert cluster.ask("two").status == 200


def test_init_containers_run_first_where_an_administrator_allows_them(cluster, removed):
    first = {"name": "first", "image": "f", "command": ["sh", "-c", "echo fetched > /mnt/models/model"]}
    mounted = {"volumeMounts": [{"name": "models", "mountPath": "/mnt/models"}]}
    spec = {"volumes": [{"name": "models", "emptyDir": {}}], "initContainers": [first | mounted]}
    probe = {"exec": {"command": ["test", "-e", "/mnt/models/model"]}}
    template = cluster.template({"readinessProbe": probe, **mounted}, "runtime", spec)
    refused = cluster.try_to_apply("fetching", template)
    assert refused.status == 400, refused.data
    assert "must not set the field(s): spec.template.spec.initContainers" in refused.json()["message"]
    template["metadata"]["labels"] = {"serving.kserve.io/inferenceservice": "fetching"}
    cluster.apply(removed("fetching"), template)
    assert cluster.ask("fetching").status == 200


SYSTEM_PYTHON = "/usr/bin/python3"  # another user may not even look at the one that runs the tests
WHO = """
import http.server, os
class Who(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        told = f"{os.getuid()} {os.getgid()}".encode()
        self.send_response(200); self.send_header("Content-Length", str(len(told))); self.end_headers()
        self.wfile.write(told)
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Who).serve_forever()
"""


@pytest.mark.skipif(not os.access(SYSTEM_PYTHON, os.X_OK), reason=f"there is no {SYSTEM_PYTHON}")
def test_a_container_runs_as_the_user_that_it_names_or_says_why_not(cluster, removed, wait_until):
    container = {"command": [SYSTEM_PYTHON, "-c", WHO], "securityContext": {"runAsUser": 43210, "runAsGroup": 43211}}
    cluster.service(removed("somebody"), container=container, wait=False)
    if os.geteuid() == 0:
        cluster.ready("somebody")
        assert cluster.ask("somebody").data == b"43210 43211"
    else:
        wait_until(lambda: cluster.condition("somebody").get("status") == "False", "the refusal")
        assert "only root can start a process as another user" in cluster.condition("somebody")["message"]
