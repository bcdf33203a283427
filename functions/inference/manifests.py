"""The Knative Service that runs a component, and the DomainMapping that gives an InferenceService its own name.

Source: KServe, serverless components (labels, annotations, autoscaling fields); Knative Serving v1.
"""

from collections.abc import Mapping
from typing import Any

from zeroflow.functions.inference import names
from zeroflow.functions.inference.component import DECIDED, Component
from zeroflow.functions.inference.containers import Platform, Pod
from zeroflow.functions.inference.spec import Declared
from zeroflow.models.trust import Word
from zeroflow.resources.owners import owned_by

Object = dict[str, Any]

AUTOSCALING = "autoscaling.knative.dev/"
RUNTIME_ANNOTATION = "zeroflow.dev/runtime"
REPLAY_ANNOTATION = "zeroflow.dev/replay"
"""`safe`: a prediction may be asked for again when the instance that was asked has died before it answered."""
HTTP2_ANNOTATION = "zeroflow.dev/http2"
"""`also`: the one port speaks gRPC by HTTP/2 and the rest by HTTP/1.1."""
KEPT_TO_ITSELF = ("kubectl.kubernetes.io/", "zeroflow.dev/", "serving.kserve.io/", names.ROLLOUT_DURATION)
"""Annotations of the InferenceService that say nothing to a revision; the others go into its template, as in KServe."""


def service(isvc: Object, component: Component, pod: Pod, traffic: list[Object], seen: str) -> Object:
    """Return a component's Knative Service; `seen` notes which state of the InferenceService it was made for."""
    labels = _labels(isvc, component)
    annotations = {names.SPEC_SEEN: seen}
    if duration := _annotations(isvc).get(names.ROLLOUT_DURATION):
        annotations[names.ROLLOUT_DURATION] = duration
    template: Object = {
        "metadata": {
            "labels": {name: value for name, value in labels.items() if name != names.VISIBILITY_LABEL},
            "annotations": _template_annotations(isvc, component, pod),
        },
        "spec": _revision(component, pod),
    }
    name = names.service_name(isvc["metadata"]["name"], component.kind)
    return {
        "apiVersion": names.SERVICE_API_VERSION,
        "kind": names.SERVICE_KIND,
        "metadata": {**_metadata(isvc, name, labels), "annotations": annotations},
        "spec": {"template": template, "traffic": traffic},
    }


def mapping(isvc: Object, entry: str, platform: Platform) -> Object | None:
    """Return the DomainMapping of the InferenceService's own name to the Knative Service `entry`.

    None when it is local to the cluster.
    """
    if (isvc["metadata"].get("labels") or {}).get(names.VISIBILITY_LABEL) == "cluster-local":
        return None
    reference = {
        "apiVersion": names.SERVICE_API_VERSION,
        "kind": names.SERVICE_KIND,
        "name": entry,
        "namespace": isvc["metadata"]["namespace"],
    }
    return {
        "apiVersion": names.MAPPING_API_VERSION,
        "kind": names.MAPPING_KIND,
        "metadata": _metadata(isvc, mapping_name(isvc, platform), {names.LABEL: isvc["metadata"]["name"]}),
        "spec": {"ref": reference},
    }


def mapping_name(isvc: Object, platform: Platform) -> str:
    """Return the host name of an InferenceService."""
    return f"{isvc['metadata']['name']}.{isvc['metadata']['namespace']}.{platform.domain}"


def spec_seen(isvc: Object, spec: Declared) -> str:
    """Return what identifies the state of the InferenceService that decides which bytes are served."""
    metadata = isvc["metadata"]
    return f"{metadata['uid']}.{metadata.get('generation', 0)}.{'trusted' if spec.trusts_pickle else 'vouched'}"


def word_of(found: Object | None, isvc: Object, spec: Declared, uri: str) -> Word | None:
    """Return what the Knative Service says of the model's bytes, if it was made for this very state of the spec.

    A revision stays with the bytes it was made for; they are looked at again when the InferenceService changes.
    """
    if found is None or _annotations(found).get(names.SPEC_SEEN) != spec_seen(isvc, spec):
        return None
    env = {
        variable["name"]: variable.get("value")
        for container in found["spec"]["template"]["spec"]["containers"]
        for variable in container.get("env") or []
    }
    if env.get("STORAGE_URI") != uri:
        return None
    return Word(env.get("ZEROFLOW_MODEL_SHA256") or None, env.get("ZEROFLOW_MODEL_VOUCHED_BY") or None)


def _annotations(obj: Object) -> Mapping[str, str]:
    return obj["metadata"].get("annotations") or {}


def _labels(isvc: Object, component: Component) -> dict[str, str]:
    own = isvc["metadata"].get("labels") or {}
    identity = {names.LABEL: isvc["metadata"]["name"], names.COMPONENT_LABEL: component.kind}
    return {**own, **component.labels, **identity}


def _metadata(isvc: Object, name: str, labels: Mapping[str, str]) -> Object:
    return {
        "name": name,
        "namespace": isvc["metadata"]["namespace"],
        "labels": dict(labels),
        "ownerReferences": owned_by(isvc),
    }


def _template_annotations(isvc: Object, component: Component, pod: Pod) -> dict[str, str]:
    given = {name: value for name, value in _annotations(isvc).items() if not name.startswith(KEPT_TO_ITSELF)}
    annotations = {**given, **component.annotations}
    for name in (RUNTIME_ANNOTATION, REPLAY_ANNOTATION, HTTP2_ANNOTATION, names.OBSERVE):
        annotations.pop(name, None)
    if pod.is_own:
        annotations |= {RUNTIME_ANNOTATION: "predictor", REPLAY_ANNOTATION: "safe", HTTP2_ANNOTATION: "also"}
    elif component.kind in DECIDED:
        annotations[names.OBSERVE] = isvc["metadata"]["name"]
    annotations.setdefault(f"{AUTOSCALING}class", "kpa.autoscaling.knative.dev")
    for name, value in (
        ("min-scale", component.scaling.min_replicas),
        ("max-scale", component.scaling.max_replicas),
        ("target", component.scaling.target),
        ("metric", component.scaling.metric),
    ):
        if value is not None:
            annotations[AUTOSCALING + name] = str(value)
    annotations.setdefault(f"{AUTOSCALING}min-scale", "0")  # nothing idle stays up unless somebody asks for it
    return annotations


def _revision(component: Component, pod: Pod) -> Object:
    fields: Object = dict(component.pod)
    if component.container_concurrency is not None:
        fields["containerConcurrency"] = component.container_concurrency
    if component.timeout_s is not None:
        fields["timeoutSeconds"] = fields["responseStartTimeoutSeconds"] = component.timeout_s
    if volumes := [*fields.pop("volumes", ()), *pod.volumes]:
        fields["volumes"] = volumes
    if init := [*fields.pop("initContainers", ()), *pod.init]:
        fields["initContainers"] = init
    others = component.containers[1:] if not pod.is_own else ()
    return {**fields, "containers": [_with_quantities(each) for each in (pod.container, *others)]}


def _with_quantities(container: Mapping[str, Any]) -> Object:
    """Return a container whose quantities are texts where YAML made numbers of them (`cpu: 0.1`)."""
    said = {
        kind: {name: str(each) if isinstance(each, float) else each for name, each in (of or {}).items()}
        for kind, of in (container.get("resources") or {}).items()
        if kind in ("limits", "requests")
    }
    return {**container, **({"resources": {**container["resources"], **said}} if said else {})}
