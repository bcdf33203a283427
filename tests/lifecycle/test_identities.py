"""People on a host: what each may do by their roles, and who the audit trail says it was."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from lifecycle.conftest import running

MODELS = "/api/model_registry/v1/registered_models"


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    with running(tmp_path_factory.mktemp("identities") / "home") as host:
        yield host


@pytest.fixture(scope="module")
def add(host):
    def add(name, *options):
        command = [sys.executable, "-m", "zeroflow", "users", "add", name, *options]
        environment = {**os.environ, "ZEROFLOW_HOME": str(host.home)}
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()

    return add


def ask(host, token, method, path, body=None, **headers):
    told = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **headers}
    answer = host.request(method, path, headers=told, body=None if body is None else json.dumps(body))
    return answer.status, answer.data.decode()


def test_a_person_may_do_what_roles_say_and_is_told_what_not(host, add):
    token = add("ada")
    host.kubectl("create", "namespace", "team-a")
    host.kubectl("create", "rolebinding", "ada", "--clusterrole=edit", "--user=ada", "-n", "team-a")
    maps = "/api/v1/namespaces/{}/configmaps"
    assert ask(host, token, "POST", maps.format("team-a"), {"metadata": {"name": "mine"}})[0] == 201
    code, said = ask(host, token, "GET", maps.format("default"))
    assert code == 403
    assert json.loads(said)["message"] == (
        'configmaps is forbidden: User "ada" cannot list resource "configmaps" in API group "" '
        'in the namespace "default"'
    )
    assert ask(host, "zf-nobodys", "GET", maps.format("team-a"))[0] == 401
    assert ask(host, token, "GET", "/eventing/events")[0] == 403
    assert "yes" in host.kubectl(
        "auth", "can-i", "create", "inferenceservices.serving.kserve.io", "--as=ada", "-n", "team-a"
    )
    assert "no" in host.kubectl("auth", "can-i", "create", "cm", "--as=ada", "-n", "default", check=False)
    assert ask(host, token, "GET", maps.format("team-a"), None, **{"Impersonate-User": "zeroflow"})[0] == 403


def test_nobody_makes_themselves_an_administrator(host, add):
    token = add("eve")
    host.kubectl("create", "rolebinding", "eve", "--clusterrole=admin", "--user=eve", "-n", "default")
    path = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings"
    mine = {"subjects": [{"kind": "User", "name": "eve"}]}
    for name, code in (("cluster-admin", 403), ("view", 201)):
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
        answered, said = ask(
            host, token, "POST", path, {"metadata": {"name": f"eve-{name}"}, "roleRef": reference, **mine}
        )
        assert answered == code, said
    patch = {"subjects": [{"kind": "Group", "name": "system:authenticated", "apiGroup": "rbac.authorization.k8s.io"}]}
    merge = {"Content-Type": "application/merge-patch+json"}
    assert ask(host, token, "PATCH", f"{path}/eve", patch, **merge)[0] == 403


def test_a_service_account_asks_with_a_token_of_its_own(host):
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    host.kubectl("create", "serviceaccount", "robot", "-n", "default")
    host.kubectl(
        "create", "rolebinding", "robot", "--clusterrole=view", "--serviceaccount=default:robot", "-n", "default"
    )
    token = host.kubectl("create", "token", "robot", "-n", "default", "--duration=10m").strip()
    assert ask(host, token, "GET", "/api/v1/namespaces/default/configmaps")[0] == 200
    assert ask(host, token, "GET", "/api/v1/namespaces/default/secrets")[0] == 403
    code, said = ask(host, token, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
    assert (code, json.loads(said)["status"]["userInfo"]["username"]) == (201, "system:serviceaccount:default:robot")
    host.kubectl("delete", "serviceaccount", "robot", "-n", "default")
    assert ask(host, token, "GET", "/api/v1/namespaces/default/configmaps")[0] == 401


def test_the_registry_is_told_who_asks_and_believes_nobody_else(host, add):
    token = add("carol")
    assert ask(host, token, "POST", MODELS, {"name": "refused"})[0] == 403
    host.kubectl(
        *("create", "role", "registry", "--verb=get,create,patch", "--resource=services.serving.knative.dev/proxy"),
        *("--resource-name=register", "-n", "zeroflow"),
    )
    host.kubectl("create", "rolebinding", "carol", "--role=registry", "--user=carol", "-n", "zeroflow")
    forged = {"zeroflow-caller": "ada", "kubeflow-userid": "ada", "zeroflow-caller-proof": "00"}
    assert ask(host, token, "POST", MODELS, {"name": "hers"}, **forged)[0] == 201
    assert host.request("POST", MODELS, json={"name": "nobodys"}, headers={"zeroflow-caller": "ada"}).status == 201
    assert ask(host, token, "DELETE", f"{MODELS}/1")[0] == 403
    lines = host.request("GET", "/api/model_registry/zeroflow/audit").data.decode().splitlines()
    written = {record["entity_name"]: (record["actor"], record["authenticated"]) for record in map(json.loads, lines)}
    assert written["hers"] == ("user:carol", True)
    assert written["nobodys"] == ("anonymous", False)
    assert "refused" not in written
