"""Variables from Secrets, ConfigMaps and the fields of the pod that a step does not have."""

import base64

import pytest

from zeroflow.errors import NotFound
from zeroflow.functions.step.platform import variables

HELD = {
    ("Secret", "ns", "login"): {"data": {"user": base64.b64encode(b"me").decode()}},
    ("ConfigMap", "ns", "colours"): {"data": {"sky": "blue"}},
}
CONTEXT = {"run_id": "r1", "run_name": "a run", "task_id": "t1"}


class Cluster:
    def find(self, api_version, kind, namespace, name):
        return HELD.get((kind, namespace, name))


def _given(kind="Secret", name="login", keys=None, optional=False):
    return {"environment": [{"kind": kind, "name": name, "keys": keys or {"USER_NAME": "user"}, "optional": optional}]}


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        (_given(), {"USER_NAME": "me"}),
        (_given("ConfigMap", "colours", {"SKY": "sky"}), {"SKY": "blue"}),
        (_given(name="none", optional=True), {}),
        (_given(keys={"X": "none"}, optional=True), {}),
        ({"fields": {"RUN": "metadata.annotations['pipelines.kubeflow.org/run_name']"}}, {"RUN": "a run"}),
        ({"fields": {"L": "metadata.labels['mine']"}, "labels": {"mine": "x"}}, {"L": "x"}),
        ({"fields": {"L": "metadata.labels['nobodys']"}}, {"L": ""}),
        ({"fields": {"N": "metadata.namespace"}}, {"N": "ns"}),
    ],
)
def test_variables(platform, expected):
    assert variables(platform, "ns", CONTEXT, Cluster) == expected


@pytest.mark.parametrize(
    ("platform", "part"),
    [
        (_given(name="none"), "Secret 'none', which is not in namespace ns"),
        (_given(keys={"X": "none"}), "Secret 'login' in namespace ns has no key 'none'"),
    ],
)
def test_what_must_be_there_and_is_not_fails_the_step(platform, part):
    with pytest.raises(NotFound, match=part):
        variables(platform, "ns", CONTEXT, Cluster)
