"""A RolloutPolicy that an InferenceService names, as the annotations that it stands for.

`zeroflow.dev/rollout-policy: careful` takes what the RolloutPolicy of that name in the InferenceService's namespace
says; annotations of the InferenceService's own go before it. It says `auto`, unless the InferenceService says `manual`.
"""

from collections.abc import Mapping
from typing import Any

from zeroflow.functions.inference import names
from zeroflow.functions.inference.refusal import Refused
from zeroflow.resources.client import Resources

Object = dict[str, Any]

API_VERSION, KIND = "zeroflow.dev/v1alpha1", "RolloutPolicy"
ANNOTATION = f"{names.ROLLOUT}-policy"
OPTIONS = {
    "steps": "steps",
    "metrics": "metrics",
    "guards": "guards",
    "shadow": "shadow",
    "alpha": "alpha",
    "minRequests": "min-requests",
    "maxRequests": "max-requests",
    "labelsFrom": "labels-from",
    "reference": "reference",
}


def with_policy(resources: Resources, isvc: Object) -> Object:
    """Return the InferenceService with the policy that it names; raise Refused when there is none of that name."""
    given: Mapping[str, str] = isvc["metadata"].get("annotations") or {}
    name = given.get(ANNOTATION)
    if name is None:
        return isvc
    namespace = isvc["metadata"]["namespace"]
    policy = resources.find(API_VERSION, KIND, namespace, name)
    if policy is None:
        raise Refused(
            "RolloutPolicyNotFound", f"annotation {ANNOTATION} names {name!r}: namespace {namespace} has no such {KIND}"
        )
    said = {
        f"{names.ROLLOUT}-{OPTIONS[field]}": _text(value) for field, value in policy["spec"].items() if field in OPTIONS
    }
    annotations = {names.ROLLOUT: "auto", **said, **given}
    return {**isvc, "metadata": {**isvc["metadata"], "annotations": annotations}}


def concerned(resources: Resources, namespace: str, policy: str) -> list[str]:
    """Return the names of the InferenceServices that name a policy."""
    return [
        str(isvc["metadata"]["name"])
        for isvc in resources.list(names.API_VERSION, names.KIND, namespace)
        if (isvc["metadata"].get("annotations") or {}).get(ANNOTATION) == policy
    ]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
