"""Reading a Kubernetes container as a process. Expected values follow Kubernetes' documentation."""

import pytest

from zeroflow.knative.local.home import Home
from zeroflow.knative.local.identity.tokens import KEY_FILE, Tokens
from zeroflow.knative.local.processes.container import (
    BadContainer,
    NotRunnable,
    container_argv,
    expand,
    quantity,
    resolve,
)
from zeroflow.knative.local.processes.mounting import Mount, relocated
from zeroflow.knative.local.processes.pods import PodContext
from zeroflow.knative.local.processes.volumes import mount

POD = {"metadata": {"name": "p", "namespace": "n", "annotations": {"zeroflow.dev/runtime": "function"}}, "spec": {}}


def nothing(kind, namespace, name):
    return None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y2"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(MISSING)", "$(MISSING)"),
        ("$(A", "$(A"),
        ("$A $", "$A $"),
    ],
)
def test_references_are_expanded_as_kubernetes_does(text, expected):
    assert expand(text, {"A": "1", "B": "2"}) == expected


def test_command_and_args_are_joined_and_an_image_alone_is_not_runnable():
    assert container_argv({"command": ["a", "$(X)"], "args": ["b"]}, {"X": "x"}) == ("a", "x", "b")
    with pytest.raises(NotRunnable, match="give container 'c' a `command`"):
        container_argv({"name": "c", "image": "python:3.12", "args": ["b"]}, {})


@pytest.mark.parametrize(
    ("written", "value"),
    [("64Mi", 67108864), ("1G", 10**9), ("1.5Gi", 1610612736), ("1e3", 1000), ("500m", 0), ("7", 7)],
)
def test_quantities(written, value):
    assert quantity(written) == value


def test_only_gunicorn_runs_in_a_runtime():
    assert resolve(POD, {"command": ["gunicorn", "a:b"]}, {}, nothing).runtime == "function"
    assert resolve(POD, {"command": ["/usr/bin/gunicorn", "a:b"]}, {}, nothing).runtime == "function"
    assert resolve(POD, {"command": ["python", "a.py"]}, {}, nothing).runtime is None


def test_mount_paths_are_replaced_where_a_path_begins_with_them():
    mounts = (Mount("/etc/a", "/x/1"), Mount("/etc/a/b", "/x/2"))
    assert [relocated(text, mounts) for text in ("/etc/a", "/etc/a/c", "/etc/a/b/d", "/etc/ab", "in /etc/a")] == [
        "/x/1",
        "/x/1/c",
        "/x/2/d",
        "/etc/ab",
        "in /etc/a",
    ]


@pytest.mark.parametrize(
    ("volume", "mounted", "words"),
    [
        (
            {"hostPath": {"path": "/"}},
            {},
            "is hostPath; this host has configMap, downwardAPI, emptyDir, ",
        ),
        ({"secret": {"secretName": "s"}}, {}, 'secret "s" not found'),
        ({"emptyDir": {}}, {"subPath": "../up"}, "must stay inside its volume"),
        ({"persistentVolumeClaim": {"claimName": "c"}}, {}, 'persistentvolumeclaim "c" not found'),
        ({"configMap": {"name": "c"}}, {"mountPath": "relative"}, "must be an absolute path"),
        ({"configMap": {"name": "c"}}, {"mountPath": "/"}, "must be an absolute path"),
        ({"configMap": {"name": "c"}}, {"subPathExpr": "$(A)"}, "has subPath, not subPathExpr"),
        ({"configMap": {"name": "c", "items": [{"key": "k", "path": "../../up"}]}}, {}, "must stay inside its volume"),
        ({"configMap": {"name": "c", "items": [{"key": "no", "path": "no"}]}}, {}, "references non-existent key: no"),
        ({"projected": {"sources": [{"configMap": {"name": "c"}}] * 2}}, {}, "conflicting duplicate paths: 'k'"),
        (
            {"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
            {},
            'serviceaccounts "default" not found',
        ),
        ({"projected": {"sources": [{"clusterTrustBundle": {"path": "t"}}]}}, {}, "no trust bundles"),
    ],
    ids=[
        "host path",
        "missing secret",
        "sub path",
        "missing claim",
        "relative",
        "root",
        "expression",
        "item path",
        "missing key",
        "two of a name",
        "token",
        "bundle",
    ],
)
def test_volumes_that_cannot_be_are_refused(tmp_path, volume, mounted, words):
    pod = POD | {"spec": {"volumes": [{"name": "v"} | volume]}}
    container = {"volumeMounts": [{"name": "v", "mountPath": "/v"} | mounted]}

    def find(kind, namespace, name):
        return {"data": {"k": "v"}} if kind == "ConfigMap" else None

    with pytest.raises(BadContainer, match=words):
        mount(PodContext(None, find, None, Home(tmp_path)), pod, container, tmp_path / "pod")
    assert not (tmp_path / "up").exists()


def test_a_projected_volume_puts_sources_together(tmp_path):
    sources = [
        {"configMap": {"name": "c", "items": [{"key": "k", "path": "deep/k"}]}},
        {"secret": {"name": "missing", "optional": True}},
        {"secret": {"name": "s"}},
        {
            "downwardAPI": {
                "items": [
                    {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                    {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}},
                ]
            }
        },
    ]
    metadata = POD["metadata"] | {"labels": {"b": 'quoted "x"', "a": "1"}}
    pod = {"metadata": metadata, "spec": {"volumes": [{"name": "v", "projected": {"sources": sources}}]}}
    objects = {("ConfigMap", "c"): {"data": {"k": "v"}}, ("Secret", "s"): {"stringData": {"password": "p"}}}
    context = PodContext(None, lambda kind, namespace, name: objects.get((kind, name)), None, Home(tmp_path))
    (mounted,) = mount(context, pod, {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}, tmp_path / "pod")
    assert mounted.read_only
    root = tmp_path / "pod" / "v"
    found = {name: (root / name).read_text() for name in ("deep/k", "password", "labels", "name")}
    assert {entry.name for entry in root.iterdir() if entry.name[0] != "."} == {"deep", "password", "labels", "name"}
    assert found == {"deep/k": "v", "password": "p", "labels": 'a="1"\nb="quoted \\"x\\""', "name": "p"}


def test_a_projected_token_is_that_of_the_pods_account_for_its_audience(tmp_path):
    home = Home(tmp_path)
    home.prepare()
    sources = [{"serviceAccountToken": {"path": "in/token", "audience": "vault", "expirationSeconds": 3600}}]
    spec = {"serviceAccountName": "robot", "volumes": [{"name": "v", "projected": {"sources": sources}}]}
    account = {"metadata": {"uid": "1-2"}}
    context = PodContext(
        None, lambda *key: account if key == ("ServiceAccount", "default", "robot") else None, None, home
    )
    pod = {"metadata": POD["metadata"] | {"namespace": "default"}, "spec": spec}
    mount(context, pod, {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}, tmp_path / "pod")
    file = tmp_path / "pod" / "v" / "in" / "token"
    claims = Tokens(home.secrets / KEY_FILE).read(file.read_text())
    assert (claims.namespace, claims.name, claims.uid, claims.audiences) == ("default", "robot", "1-2", ("vault",))
    assert file.stat().st_mode & 0o777 == 0o400
