"""The client against a real server: what comes back, what is kept apart, and what each failure is called."""

import itertools
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from zeroflow.errors import Conflict, Forbidden, InvalidInput, NotFound, Unavailable
from zeroflow.resources.client import LazyResources, Resources, connect

KSERVE, ISVC = "serving.kserve.io/v1beta1", "InferenceService"
_numbers = itertools.count()


def isvc(**spec: Any) -> dict[str, Any]:
    metadata = {"name": f"iris-{next(_numbers)}", "namespace": "default", "labels": {"team": "a"}}
    return {"apiVersion": KSERVE, "kind": ISVC, "metadata": metadata, "spec": {"predictor": spec}}


def test_object_comes_back_as_it_was_created(resources: Resources) -> None:
    created = resources.create(isvc(minReplicas=1))
    name = created["metadata"]["name"]
    found = resources.get(KSERVE, ISVC, "default", name)
    assert found == created
    assert found["spec"] == {"predictor": {"minReplicas": 1}}
    assert found["metadata"]["generation"] == 1


def test_list_by_label_over_all_namespaces(resources: Resources) -> None:
    created = resources.create(isvc())
    resources.merge(KSERVE, ISVC, "default", created["metadata"]["name"], {"metadata": {"labels": {"team": "only"}}})
    found = resources.list(KSERVE, ISVC, labels={"team": "only"})
    assert [obj["metadata"]["name"] for obj in found] == [created["metadata"]["name"]]
    assert (found[0]["apiVersion"], found[0]["kind"]) == (KSERVE, ISVC)


def test_applied_again_without_a_field_the_field_goes_and_others_stay(resources: Resources) -> None:
    wanted = isvc(minReplicas=1, maxReplicas=3)
    resources.apply(wanted)
    name = wanted["metadata"]["name"]
    resources.merge(KSERVE, ISVC, "default", name, {"spec": {"predictor": {"timeout": 5}}})
    wanted["spec"]["predictor"].pop("maxReplicas")
    assert resources.apply(wanted)["spec"]["predictor"] == {"minReplicas": 1, "timeout": 5}


def test_applying_the_same_again_changes_nothing(resources: Resources) -> None:
    wanted = isvc(minReplicas=1)
    first = resources.apply(wanted)
    assert resources.apply(wanted)["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_old_resource_version_is_a_conflict(resources: Resources) -> None:
    first = resources.create(isvc(minReplicas=1))
    name = first["metadata"]["name"]
    resources.merge(KSERVE, ISVC, "default", name, {"spec": {"predictor": {"minReplicas": 2}}})
    applied = {key: first[key] for key in ("apiVersion", "kind", "spec")} | {
        "metadata": {"name": name, "namespace": "default", "resourceVersion": first["metadata"]["resourceVersion"]}
    }
    with pytest.raises(Conflict):
        resources.apply(applied)
    with pytest.raises(Conflict):
        resources.write_status({**first, "status": {"url": "http://old"}})
    old = {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"], "labels": {"x": "y"}}}
    with pytest.raises(Conflict):
        resources.merge(KSERVE, ISVC, "default", name, old)


def test_status_is_written_apart_from_the_spec(resources: Resources) -> None:
    created = resources.create(isvc(minReplicas=1))
    written = resources.write_status({**created, "spec": {"predictor": {}}, "status": {"url": "http://x"}})
    assert (written["status"], written["spec"]) == ({"url": "http://x"}, created["spec"])
    assert written["metadata"]["generation"] == 1


def test_taken_name_is_a_conflict(resources: Resources) -> None:
    created = isvc()
    resources.create(created)
    with pytest.raises(Conflict, match="already exists"):
        resources.create(created)


def test_missing_object_is_not_found_and_deleting_it_is_nothing(resources: Resources) -> None:
    with pytest.raises(NotFound, match="nope"):
        resources.get(KSERVE, ISVC, "default", "nope")
    assert resources.find(KSERVE, ISVC, "default", "nope") is None
    resources.delete(KSERVE, ISVC, "default", "nope")


def test_unknown_kind_is_not_found_by_name(resources: Resources) -> None:
    with pytest.raises(NotFound, match=r"no kind Sparkle in serving\.kserve\.io/v1beta1"):
        resources.get(KSERVE, "Sparkle", "default", "x")
    with pytest.raises(NotFound):
        resources.get("sparkle.dev/v1", "Sparkle", "default", "x")


def test_refused_object_is_invalid_input(resources: Resources) -> None:
    with pytest.raises(InvalidInput):
        resources.create({**isvc(), "metadata": {"name": "Not A Name", "namespace": "default"}})


def test_deleted_with_what_it_owns(resources: Resources) -> None:
    from zeroflow.resources.owners import is_controlled_by, owned_by

    owner = resources.create(isvc())
    owned = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": owner["metadata"]["name"],
            "namespace": "default",
            "ownerReferences": owned_by(owner),
        },
    }
    assert is_controlled_by(resources.create(owned), owner)
    resources.delete(KSERVE, ISVC, "default", owner["metadata"]["name"])
    assert resources.find("v1", "ConfigMap", "default", owner["metadata"]["name"]) is None


def test_name_with_a_slash_stays_one_name(resources: Resources) -> None:
    assert resources.find(KSERVE, ISVC, "default", "../services/x") is None


@pytest.mark.parametrize("status", [401, 403, 409, 422, 429, 500, 503], ids=str)
def test_each_failure_has_its_error(status: int) -> None:
    from zeroflow.resources.client import _read

    expected = {401: Forbidden, 403: Forbidden, 409: Conflict, 422: InvalidInput}.get(status, Unavailable)
    with pytest.raises(expected, match="GET /x: because"):
        _read("GET", "/x", status, b'{"kind":"Status","message":"because"}')


def test_no_server_is_unavailable(kubeconfig: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    text = kubeconfig.read_text()
    begin = text.index("http://127.0.0.1:")
    end = text.index('"', begin)
    other = tmp_path / "kubeconfig"
    other.write_text(text[:begin] + f"http://127.0.0.1:{port}" + text[end:])
    with pytest.raises(Unavailable, match="does not answer"):
        connect("x", {"KUBECONFIG": str(other)}).get("v1", "ConfigMap", "default", "x")


@pytest.mark.parametrize(
    ("environment", "fault"),
    [({}, "neither KUBECONFIG nor"), ({"KUBECONFIG": "/nonexistent"}, "cannot read the Kubernetes configuration")],
    ids=["nothing", "no-file"],
)
def test_missing_configuration_is_said(environment: dict[str, str], fault: str) -> None:
    with pytest.raises(Unavailable, match=fault):
        connect("x", environment)


def test_client_is_made_once_and_only_when_needed(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    lazy = LazyResources("x")
    monkeypatch.setitem(os.environ, "KUBECONFIG", str(kubeconfig))
    assert lazy() is lazy()
