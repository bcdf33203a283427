"""Roles evaluated as Kubernetes does, on a store in memory."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from zeroflow.knative.local.api.errors import Invalid
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.identity import admission, defaults
from zeroflow.knative.local.identity.authorization import GROUP, Action, Authorizer
from zeroflow.knative.local.identity.callers import OWNER, Caller, service_account

ADA, BOB = Caller("ada", ("blue", "system:authenticated")), Caller("bob")
ROBOT = service_account("team-a", "robot")


def role(kind: str, name: str, *rules: dict[str, Any], namespace: str | None = None, **more: Any) -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": kind,
        "metadata": metadata | more.pop("metadata", {}),
        "rules": [*rules],
        **more,
    }


def binding(
    name: str, of: str, *subjects: tuple[str, str], namespace: str | None = None, kind: str = "ClusterRole"
) -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": GROUP, "kind": kind, "name": of},
        "subjects": [
            {"kind": what, "name": who, **({"namespace": "team-a"} if what == "ServiceAccount" else {})}
            for what, who in subjects
        ],
    }


def rule(verbs: str, resources: str, group: str = "", **more: Any) -> dict[str, Any]:
    return {"verbs": verbs.split(), "apiGroups": [group], "resources": resources.split(), **more}


def authorizer(documents: Iterable[dict[str, Any]]) -> Authorizer:
    store = Store()
    admission.register(store)

    async def fill() -> None:
        await store.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a"}})
        for document in (*defaults.documents(), *documents):
            await store.create(document)

    asyncio.run(fill())
    return Authorizer(store)


READER = role("Role", "reader", rule("get list", "configmaps pods/log"), namespace="team-a")
BOUND = binding("ada-reads", "reader", ("User", "ada"), namespace="team-a", kind="Role")


@pytest.mark.parametrize(
    ("documents", "caller", "action", "allowed"),
    [
        ([], OWNER, Action("delete", "x", "y"), True),
        ([], ADA, Action("list", "", "configmaps", namespace="team-a"), False),
        ([READER, BOUND], ADA, Action("list", "", "configmaps", namespace="team-a"), True),
        ([READER, BOUND], ADA, Action("list", "", "configmaps", namespace="default"), False),
        ([READER, BOUND], ADA, Action("list", "", "configmaps"), False),
        ([READER, BOUND], ADA, Action("watch", "", "configmaps", namespace="team-a"), False),
        ([READER, BOUND], ADA, Action("list", "apps", "configmaps", namespace="team-a"), False),
        ([READER, BOUND], ADA, Action("get", "", "pods", "log", "x", "team-a"), True),
        ([READER, BOUND], ADA, Action("get", "", "pods", "", "x", "team-a"), False),
        ([READER, BOUND], BOB, Action("list", "", "configmaps", namespace="team-a"), False),
        ([binding("blue", "view", ("Group", "blue"))], ADA, Action("list", "", "pods"), True),
        ([binding("blue", "view", ("Group", "blue"))], ADA, Action("list", "", "secrets", namespace="default"), False),
        (
            [binding("r", "edit", ("ServiceAccount", "robot"), namespace="team-a")],
            ROBOT,
            Action("create", "serving.kserve.io", "inferenceservices", namespace="team-a"),
            True,
        ),
        (
            [binding("r", "edit", ("ServiceAccount", "robot"), namespace="team-a")],
            ROBOT,
            Action("create", "serving.kserve.io", "inferenceservices", namespace="default"),
            False,
        ),
        ([binding("gone", "no-such-role", ("User", "ada"))], ADA, Action("get", "", "pods"), False),
        (
            [
                role("ClusterRole", "one", rule("get", "secrets", resourceNames=["mine"])),
                binding("b", "one", ("User", "ada")),
            ],
            ADA,
            Action("get", "", "secrets", "", "mine", "default"),
            True,
        ),
        (
            [
                role("ClusterRole", "one", rule("get", "secrets", resourceNames=["mine"])),
                binding("b", "one", ("User", "ada")),
            ],
            ADA,
            Action("get", "", "secrets", "", "yours", "default"),
            False,
        ),
        (
            [role("ClusterRole", "s", rule("update", "*/scale", "*")), binding("b", "s", ("User", "ada"))],
            ADA,
            Action("update", "apps", "deployments", "scale", "x", "default"),
            True,
        ),
        ([], ADA, Action("get", path="/apis/x/v1"), True),
        ([], ADA, Action("post", path="/eventing/default/default"), False),
        (
            [
                role(
                    "ClusterRole",
                    "all-views",
                    aggregationRule={"clusterRoleSelectors": [{"matchLabels": {"to": "view"}}]},
                ),
                role("ClusterRole", "widgets", rule("get", "widgets", "x.dev"), metadata={"labels": {"to": "view"}}),
                binding("b", "all-views", ("User", "ada")),
            ],
            ADA,
            Action("get", "x.dev", "widgets"),
            True,
        ),
    ],
)
def test_what_a_caller_may_do(documents: list[dict[str, Any]], caller: Caller, action: Action, allowed: bool) -> None:
    assert authorizer(documents).allows(caller, action) is allowed


def test_nobody_gives_more_than_they_have() -> None:
    found = authorizer([binding("b", "admin", ("User", "ada"), namespace="team-a")])
    view, everything = defaults.documents()[3]["rules"], defaults.documents()[0]["rules"]
    assert found.lacks(ADA, view[1:], "team-a") is None
    lacked = found.lacks(ADA, everything, "team-a")
    assert lacked is not None
    assert lacked.described.startswith('* resource "*" in API group "*"')
    assert found.lacks(ADA, view[1:], "default") is not None


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        (role("Role", "r", {"apiGroups": [""], "resources": ["pods"]}, namespace="team-a"), "verbs must contain"),
        (role("Role", "r", {"verbs": ["get"], "resources": ["pods"]}, namespace="team-a"), "at least one api group"),
        (
            role("Role", "r", {"verbs": ["get"], "nonResourceURLs": ["/x"]}, namespace="team-a"),
            "cannot apply to non-resource",
        ),
        (
            role("Role", "r", {"verbs": "get", "apiGroups": [""], "resources": ["pods"]}, namespace="team-a"),
            "list of strings",
        ),
        (binding("b", "r", ("Robot", "x")), "subjects\\[0\\].kind: Unsupported value"),
        (binding("b", "r", ("User", "x"), kind="Role"), 'roleRef.kind: Unsupported value: "Role"'),
        ({**binding("b", "r"), "roleRef": {}}, "roleRef.name: Required value"),
        (role("ClusterRole", "a/b", rule("get", "pods")), "or contain '/'"),
    ],
    ids=["verbs", "groups", "paths-in-role", "types", "subject", "role-for-cluster", "no-role", "name"],
)
def test_what_is_no_role_is_refused(document: dict[str, Any], fault: str) -> None:
    with pytest.raises(Invalid, match=fault):
        authorizer([document])


def test_a_default_role_gets_what_a_later_version_gives_it_and_keeps_what_was_added() -> None:
    view = next(each for each in defaults.documents() if each["metadata"]["name"] == "view")
    own = {"apiGroups": ["example.com"], "resources": ["things"], "verbs": ["get"]}
    old = {**view, "rules": [own, *view["rules"][1:]]}
    completed = defaults.completed(old, view)
    assert completed is not None
    assert completed["rules"] == [own, *view["rules"][1:], view["rules"][0]]
    assert defaults.completed(completed, view) is None
    kept = {**old, "metadata": {"name": "view", "annotations": {defaults.AUTOUPDATE: "false"}}}
    assert defaults.completed(kept, view) is None
