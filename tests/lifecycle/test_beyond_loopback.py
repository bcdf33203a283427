"""A host that others can reach: TLS by a certificate of its own, the token, kubectl."""

import json
import os
import shutil
import socket
import ssl
import subprocess

import kubernetes
import pytest
import urllib3

from lifecycle.conftest import eventually, running
from zeroflow.knative.local import tls
from zeroflow.knative.local.acceptor import is_own
from zeroflow.models.trust import TRUST_ANNOTATION
from zeroflow.predictions import tokens
from zeroflow.predictions.observation import source_prefix
from zeroflow.predictions.outcome import FAILED


def own_address():
    """Return an address of this machine that is not loopback, or skip."""
    found = [address for address in tls.names_of_this_machine("0.0.0.0") if address[0].isdigit() and ":" not in address]
    if not found:
        pytest.skip("this machine has no address beyond loopback")
    return found[0]


@pytest.fixture(scope="module")
def exposed(tmp_path_factory):
    with running(tmp_path_factory.mktemp("exposed") / "home", "--listen", "0.0.0.0") as host:
        yield host


def kubectl(host, *arguments, code=0):
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    environment = {**os.environ, "KUBECONFIG": str(host.home / "kubeconfig"), "HOME": str(host.home)}
    done = subprocess.run(["kubectl", *arguments], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_kubectl_and_the_official_client_come_in_with_the_kubeconfig(exposed):
    assert "zeroflow" in kubectl(exposed, "get", "namespaces")
    address = own_address()
    assert "zeroflow" in kubectl(exposed, "--context", address, "get", "namespaces")
    config = str(exposed.home / "kubeconfig")
    api = kubernetes.client.CoreV1Api(kubernetes.config.new_client_from_config(config, context=address))
    assert "zeroflow" in {found.metadata.name for found in api.list_namespace().items}


def test_a_client_that_does_not_know_the_authority_refuses(exposed):
    assert "certificate" in kubectl(exposed, "--certificate-authority=/dev/null", "get", "ns", code=1)
    with urllib3.PoolManager(retries=False) as pool, pytest.raises(urllib3.exceptions.HTTPError, match="certificate"):
        pool.request("GET", f"https://{own_address()}:{exposed.port}/healthz")


def test_with_tls_the_token_is_still_needed(exposed):
    config = json.loads((exposed.home / "kubeconfig").read_text())
    authority = exposed.home / "secrets" / "ca.crt"
    with urllib3.PoolManager(retries=False, ca_certs=str(authority)) as pool:
        url = f"https://{own_address()}:{exposed.port}/api/v1/namespaces"
        assert pool.request("GET", url).status == 401
        token = config["users"][0]["user"]["token"]
        assert pool.request("GET", url, headers={"Authorization": f"Bearer {token}"}).status == 200


def test_plain_http_from_elsewhere_is_told_to_use_tls_and_plain_http_from_here_works(exposed):
    address = own_address()
    with socket.create_connection((address, exposed.port)) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n\r\n")
        answer = b"".join(iter(lambda: sock.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
    assert b"use https://" in answer
    token = (exposed.home / "secrets" / "platform.token").read_text()
    assert exposed.request("GET", "/healthz", headers={"Authorization": f"Bearer {token}"}).status == 200


def test_who_says_nothing_or_nonsense_does_not_disturb_others(exposed):
    silent = [socket.create_connection(("127.0.0.1", exposed.port)) for _ in range(50)]
    with socket.create_connection(("127.0.0.1", exposed.port)) as nonsense:
        nonsense.sendall(b"\x16\x03\x01\x00\x05hello")
        nonsense.recv(100)
    assert "zeroflow" in kubectl(exposed, "get", "namespaces")
    for sock in silent:
        sock.close()


def test_h2_is_spoken_over_tls_to_those_who_speak_nothing_else(exposed):
    context = ssl.create_default_context(cafile=str(exposed.home / "secrets" / "ca.crt"))
    for offered, chosen in ((["h2"], "h2"), (["h2", "http/1.1"], "http/1.1")):
        context.set_alpn_protocols(offered)
        with (
            socket.create_connection(("127.0.0.1", exposed.port)) as sock,
            context.wrap_socket(sock, server_hostname="localhost") as secure,
        ):
            assert secure.selected_alpn_protocol() == chosen


def test_the_authority_is_kept_and_the_certificate_follows_the_names(tmp_path):
    _, first = tls.server_context(tmp_path, ["10.0.0.1"])
    before = (tmp_path / "tls.pem").read_bytes()
    _, again = tls.server_context(tmp_path, ["10.0.0.1"])
    assert (first, before) == (again, (tmp_path / "tls.pem").read_bytes())
    _, later = tls.server_context(tmp_path, ["10.0.0.2"])
    assert later == first
    assert (tmp_path / "tls.pem").read_bytes() != before
    (tmp_path / "tls.pem").write_text("damaged")
    tls.server_context(tmp_path, ["10.0.0.2"])
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_loopback_is_told_from_elsewhere():
    assert [is_own(peer) for peer in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "fe80::1%eth0")] == [
        True,
        True,
        True,
        False,
        False,
    ]


CLASS = """
class Model:
    def predict(self, payload, headers=None):
        return {}
"""


def test_a_sleeping_predictor_is_woken_and_heard_where_every_request_needs_a_token(exposed):
    def apply(api_version, kind, name, spec):
        metadata = {"name": name, "annotations": {"autoscaling.knative.dev/window": "6s", TRUST_ANNOTATION: "true"}}
        document = {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}
        file = exposed.home / f"{name}.json"
        file.write_text(json.dumps(document))
        kubectl(exposed, "apply", "-f", str(file))

    for name in ("first", "second"):
        place = exposed.home / "store" / "models" / name
        place.mkdir(parents=True)
        (place / "model.py").write_text(CLASS)
    apply("serving.kserve.io/v1beta1", "InferenceService", "shared", {"predictor": {"sklearn": {}}})
    for name in ("first", "second"):
        model = {"storageUri": f"store://models/{name}", "framework": "python", "memory": "1Mi"}
        apply("serving.kserve.io/v1alpha1", "TrainedModel", name, {"inferenceService": "shared", "model": model})
        eventually(lambda name=name: "True" in kubectl(exposed, "get", "tm", name), f"{name} to be ready")
        eventually(lambda: "shared-predictor" not in kubectl(exposed, "get", "pods"), "the predictor to sleep")


@pytest.mark.parametrize(
    ("method", "path", "event_type", "of", "status"),
    [
        ("POST", "/eventing/zeroflow/default", FAILED, "shared", 202),
        ("POST", "/eventing/zeroflow/default", FAILED, "other", 401),
        ("POST", "/eventing/zeroflow/default", "dev.zeroflow.run.requested", "shared", 401),
        ("POST", "/eventing/events", FAILED, "shared", 403),
        ("GET", "/eventing/events", FAILED, "shared", 403),
        ("GET", "/api/v1/namespaces", FAILED, "shared", 403),
        ("POST", "/serving/default/shared/v1/models/first:predict", FAILED, "shared", 403),
    ],
)
def test_predictors_own_token_is_good_for_its_events_alone(exposed, method, path, event_type, of, status):
    token = (exposed.home / "secrets" / "platform.token").read_text().strip()
    own = tokens.issue(token, "default", "shared")
    headers = {"Authorization": f"Bearer {own}", "ce-specversion": "1.0", "ce-id": "1", "ce-type": event_type}
    headers |= {"ce-source": f"{source_prefix('default', of)}pod", "content-type": "application/json"}
    url = f"http://127.0.0.1:{exposed.port}{path}"
    assert urllib3.request(method, url, body=b"{}", headers=headers, retries=False).status == status
