"""Nothing of the KFP API is open to others because somebody forgot to say who may use it."""

import pytest

from pipelines.harness import Platform
from zeroflow.functions.pipeline.access import ANYBODY, RULES

OWNERS_ALONE = {"report_workflow", "create_visualization"}
"""What is not there; nobody but the owner is told so."""


class Reviews:
    """The Kubernetes API, which allows what it is told to and notes what it was asked."""

    def __init__(self):
        self.allowed, self.asked = set(), []

    def create(self, review):
        wanted = review["spec"]["resourceAttributes"]
        self.asked.append((review["spec"]["user"], wanted["verb"], wanted["resource"], wanted["namespace"]))
        return {"status": {"allowed": (wanted["verb"], wanted["namespace"]) in self.allowed}}


@pytest.fixture
def mesh(tmp_path, broker, monkeypatch, database_url):
    """A cluster on which a mesh says who asks."""
    monkeypatch.setenv("MULTIUSER", "true")
    monkeypatch.setenv("KUBEFLOW_USERID_HEADER", "x-goog-authenticated-user-email")
    monkeypatch.setenv("KUBEFLOW_USERID_PREFIX", "accounts.google.com:")
    reviews = Reviews()
    platform = Platform(database_url, tmp_path, broker, lambda: reviews)
    platform.reviews = reviews
    yield platform
    platform.close()


def test_every_operation_has_a_rule(platform):
    rules = platform.app.url_map.iter_rules()
    operations = {name for rule in rules if (name := rule.endpoint.removeprefix("kfp.")) != rule.endpoint}
    assert operations == RULES.keys() | ANYBODY | OWNERS_ALONE


def test_on_a_cluster_the_mesh_says_who_asks(mesh):
    said = {"x-goog-authenticated-user-email": "accounts.google.com:ada@example.com"}
    asked = mesh.app.test_client()
    nobody = asked.get("/apis/v2beta1/runs?namespace=blue")
    assert (nobody.status_code, nobody.get_json()["code"]) == (401, 16)
    assert "x-goog-authenticated-user-email" in nobody.get_json()["message"]
    refused = asked.get("/apis/v2beta1/runs?namespace=blue", headers=said)
    assert (refused.status_code, refused.get_json()["code"]) == (403, 7)
    mesh.reviews.allowed = {("list", "blue")}
    assert asked.get("/apis/v2beta1/runs?namespace=blue", headers=said).status_code == 200
    assert mesh.reviews.asked == [("ada@example.com", "list", "runs", "blue")] * 2
    assert asked.get("/apis/v2beta1/workflows", headers=said).status_code == 405
    assert asked.post("/apis/v2beta1/workflows", headers=said).status_code == 403
