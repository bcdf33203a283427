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


def test_a_user_of_a_home_without_a_host_is_told_where_they_were_added(tmp_path):
    command = [sys.executable, "-m", "zeroflow", "users", "add", "ada"]
    environment = {**os.environ, "ZEROFLOW_HOME": str(tmp_path)}
    told = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stderr
    assert f"no host runs on {tmp_path}, where ada was added" in told


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


RUNS = "/apis/v2beta1/runs"


@pytest.fixture(scope="module")
def spec():
    """Return a pipeline that only passes a parameter on: it takes no step to run."""
    return {
        "pipelineInfo": {"name": "nothing"},
        "root": {
            "dag": {"tasks": {"read": {"componentRef": {"name": "comp-read"}, "taskInfo": {"name": "read"}}}},
        },
        "components": {"comp-read": {"executorLabel": "exec-read", "outputDefinitions": {"artifacts": {
            "artifact": {"artifactType": {"schemaTitle": "system.Artifact", "schemaVersion": "0.0.1"}}}}}},
        "deploymentSpec": {"executors": {"exec-read": {"importer": {
            "artifactUri": {"constant": "https://example.com/data"},
            "typeSchema": {"schemaTitle": "system.Artifact", "schemaVersion": "0.0.1"}}}}},
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.17.0",
    }  # fmt: skip


def submitted(host, token, spec, namespace):
    """Create an experiment and a run in it; return the status and the answer of what came last."""
    code, said = ask(host, token, "POST", "/apis/v2beta1/experiments", {"display_name": "e", "namespace": namespace})
    if code != 200:
        return code, json.loads(said)
    asked = {"display_name": "r", "pipeline_spec": spec, "experiment_id": json.loads(said)["experiment_id"]}
    code, said = ask(host, token, "POST", RUNS, asked)
    return code, json.loads(said)


def test_the_kfp_api_is_divided_by_namespaces(host, add, spec):
    tokens = {name: add(name, *options) for name, options in {"dan": (), "fay": ("--group", "blue")}.items()}
    for namespace, binding in {
        "dans": ("--clusterrole=edit", "--user=dan"),
        "fays": ("--clusterrole=edit", "--group=blue"),
    }.items():
        host.kubectl("create", "namespace", namespace)
        host.kubectl("create", "rolebinding", "editors", *binding, "-n", namespace)
    host.kubectl("create", "rolebinding", "guests", "--clusterrole=view", "--user=dan", "-n", "fays")

    code, mine = submitted(host, tokens["dan"], spec, "dans")
    assert code == 200, mine
    code, hers = submitted(host, tokens["fay"], spec, "fays")
    assert code == 200, hers
    code, said = submitted(host, tokens["dan"], spec, "fays")
    assert (code, said["code"]) == (403, 7)
    assert said["message"].startswith("User 'dan' is not authorized with reason: ")
    assert "create experiments.pipelines.kubeflow.org in namespace fays" in said["message"]

    def code_of(name, method, path):
        return ask(host, tokens[name], method, path)[0]

    of_hers, of_mine = f"{RUNS}/{hers['run_id']}", f"{RUNS}/{mine['run_id']}"
    assert code_of("dan", "GET", f"{RUNS}?namespace=fays") == 200
    assert code_of("dan", "GET", of_hers) == 200
    assert code_of("dan", "GET", f"{of_hers}/tasks") == 200
    assert code_of("dan", "POST", f"{of_hers}:archive") == 403
    assert code_of("dan", "DELETE", of_hers) == 403
    for path in (
        of_mine,
        f"{of_mine}/tasks",
        f"{of_mine}/events",
        f"{RUNS}?namespace=dans",
        f"{of_hers}/diff/{mine['run_id']}",
    ):
        assert code_of("fay", "GET", path) == 403
    assert code_of("fay", "GET", f"{RUNS}?experiment_id={mine['experiment_id']}") == 403
    assert code_of("fay", "GET", RUNS) == 403  # the namespace `default`
    mine_too = f"experiment_id={hers['experiment_id']}"  # what an operation does not look at opens nothing
    for listed in ("pipelines", "experiments", "artifacts"):
        assert code_of("fay", "GET", f"/apis/v2beta1/{listed}?namespace=dans&{mine_too}") == 403
    smuggled = {"display_name": "x", "namespace": "dans", "experiment_id": hers["experiment_id"]}
    for made in ("pipelines", "experiments"):
        assert ask(host, tokens["fay"], "POST", f"/apis/v2beta1/{made}", smuggled)[0] == 403
    assert code_of("fay", "GET", f"{RUNS}/00000000-0000-0000-0000-000000000000") == 404
    assert code_of("fay", "POST", f"{of_hers}:archive") == 200
    assert json.loads(ask(host, tokens["fay"], "GET", "/apis/v2beta1/healthz")[1])["multi_user"] is True
    assert code_of("dan", "GET", "/apis/v2beta1/auth?namespace=fays&resources=VIEWERS&verb=GET") == 200
    assert code_of("fay", "GET", "/apis/v2beta1/auth?namespace=dans&resources=VIEWERS&verb=GET") == 403

    import kfp
    import kfp_server_api

    client = kfp.Client(host=host.url, existing_token=tokens["fay"], namespace="fays")
    assert [run.run_id for run in client.list_runs(namespace="fays").runs] == [hers["run_id"]]
    with pytest.raises(kfp_server_api.ApiException, match="not authorized") as refused:
        client.terminate_run(mine["run_id"])
    assert refused.value.status == 403

    forged = {"zeroflow-caller": "dan", "zeroflow-caller-groups": "system:masters"}
    assert ask(host, tokens["fay"], "GET", of_mine, None, **forged)[0] == 403
    assert host.request("GET", of_mine).status == 200  # the owner
    assert json.loads(host.request("GET", "/apis/v2beta1/healthz").data)["multi_user"] is False


def test_a_run_is_made_only_from_pipelines_that_one_may_read(host, add, spec):
    token = add("gil")
    host.kubectl("create", "namespace", "gils")
    host.kubectl("create", "rolebinding", "gil", "--clusterrole=edit", "--user=gil", "-n", "gils")
    versions = {}
    for namespace in ("gils", "default"):
        uploaded = host.request(
            "POST",
            f"/apis/v2beta1/pipelines/upload?name=shared&namespace={namespace}",
            fields={"uploadfile": ("shared.yaml", json.dumps(spec))},
        )
        pipeline_id = json.loads(uploaded.data)["pipeline_id"]
        versions[namespace] = {"pipeline_id": pipeline_id}
    for namespace, expected in (("gils", 200), ("default", 403)):
        asked = {"display_name": "r", "namespace": "gils", "pipeline_version_reference": versions[namespace]}
        assert ask(host, token, "POST", RUNS, asked)[0] == expected
