"""The Knative Service that runs a predictor, and the DomainMapping that gives it the InferenceService's name.

The container gets where the model lies, the hash that its bytes must have and whose word that is - and nothing of the
platform: no database, no token. S3 credentials come from the Secret `zeroflow-storage` of the InferenceService's
namespace, where there is one.

Source: KServe, serverless predictors (labels, annotations, autoscaling fields); Knative Serving v1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zeroflow.functions.inference import names
from zeroflow.functions.inference.spec import PredictorSpec
from zeroflow.models.trust import Word
from zeroflow.resources.owners import owned_by

Object = dict[str, Any]

STORAGE_SECRET = "zeroflow-storage"  # noqa: S105 - the name of a Secret
AUTOSCALING = "autoscaling.knative.dev/"
RUNTIME_ANNOTATION = "zeroflow.dev/runtime"
THREADS = 8
WORKER_OPTIONS = ("--worker-class=zeroflow.functions.predictor.worker.QuickWorker", f"--threads={THREADS}")
KEPT_TO_ITSELF = ("kubectl.kubernetes.io/", "zeroflow.dev/", "serving.kserve.io/", names.ROLLOUT_DURATION)
"""Annotations of the InferenceService that say nothing to a revision; the others go into its template, as in KServe."""


@dataclass(frozen=True)
class Platform:
    """What every predictor of this installation shares."""

    store: str
    """ZEROFLOW_STORE: the local store's directory."""
    domain: str = "localhost"
    """ZEROFLOW_DOMAIN: InferenceServices answer as <name>.<namespace>.<domain>."""
    image: str = "zeroflow/predictor"
    """ZEROFLOW_PREDICTOR_IMAGE: what a cluster runs."""
    s3_endpoint: str | None = None
    """An S3-compatible server other than AWS's."""


def service(isvc: Object, spec: PredictorSpec, word: Word, traffic: list[Object], platform: Platform) -> Object:
    """Return the predictor's Knative Service."""
    labels = _labels(isvc, spec)
    annotations = {names.SPEC_SEEN: spec_seen(isvc, spec)}
    if duration := _annotations(isvc).get(names.ROLLOUT_DURATION):
        annotations[names.ROLLOUT_DURATION] = duration
    template: Object = {
        "metadata": {
            "labels": {name: value for name, value in labels.items() if name != names.VISIBILITY_LABEL},
            "annotations": _template_annotations(isvc, spec),
        },
        "spec": {**_revision(spec), "containers": [_container(isvc, spec, word, platform)]},
    }
    return {
        "apiVersion": names.SERVICE_API_VERSION,
        "kind": names.SERVICE_KIND,
        "metadata": {**_metadata(isvc, names.service_name(_name(isvc)), labels), "annotations": annotations},
        "spec": {"template": template, "traffic": traffic},
    }


def mapping(isvc: Object, platform: Platform) -> Object | None:
    """Return the DomainMapping of the InferenceService's own name; None when it is local to the cluster."""
    if (isvc["metadata"].get("labels") or {}).get(names.VISIBILITY_LABEL) == "cluster-local":
        return None
    reference = {
        "apiVersion": names.SERVICE_API_VERSION,
        "kind": names.SERVICE_KIND,
        "name": names.service_name(_name(isvc)),
        "namespace": isvc["metadata"]["namespace"],
    }
    return {
        "apiVersion": names.MAPPING_API_VERSION,
        "kind": names.MAPPING_KIND,
        "metadata": _metadata(isvc, mapping_name(isvc, platform), {names.LABEL: _name(isvc)}),
        "spec": {"ref": reference},
    }


def mapping_name(isvc: Object, platform: Platform) -> str:
    """Return the host name of an InferenceService."""
    return f"{_name(isvc)}.{isvc['metadata']['namespace']}.{platform.domain}"


def spec_seen(isvc: Object, spec: PredictorSpec) -> str:
    """Return what identifies the state of the InferenceService that decides which bytes are served."""
    metadata = isvc["metadata"]
    return f"{metadata['uid']}.{metadata.get('generation', 0)}.{'trusted' if spec.trusts_pickle else 'vouched'}"


def word_of(found: Object | None, isvc: Object, spec: PredictorSpec) -> Word | None:
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
    if env.get("STORAGE_URI") != spec.storage_uri:
        return None
    return Word(env.get("ZEROFLOW_MODEL_SHA256"), env.get("ZEROFLOW_MODEL_VOUCHED_BY"))


def _name(isvc: Object) -> str:
    return str(isvc["metadata"]["name"])


def _annotations(obj: Object) -> Mapping[str, str]:
    return obj["metadata"].get("annotations") or {}


def _labels(isvc: Object, spec: PredictorSpec) -> dict[str, str]:
    own = isvc["metadata"].get("labels") or {}
    return {**own, **spec.labels, names.LABEL: _name(isvc), names.COMPONENT_LABEL: "predictor"}


def _metadata(isvc: Object, name: str, labels: Mapping[str, str]) -> Object:
    return {
        "name": name,
        "namespace": isvc["metadata"]["namespace"],
        "labels": dict(labels),
        "ownerReferences": owned_by(isvc),
    }


def _template_annotations(isvc: Object, spec: PredictorSpec) -> dict[str, str]:
    given = {name: value for name, value in _annotations(isvc).items() if not name.startswith(KEPT_TO_ITSELF)}
    annotations = {**given, **spec.annotations, RUNTIME_ANNOTATION: "predictor"}
    annotations.setdefault(f"{AUTOSCALING}class", "kpa.autoscaling.knative.dev")
    for name, value in (
        ("min-scale", spec.min_replicas),
        ("max-scale", spec.max_replicas),
        ("target", spec.scale_target),
        ("metric", spec.scale_metric),
    ):
        if value is not None:
            annotations[AUTOSCALING + name] = str(value)
    annotations.setdefault(f"{AUTOSCALING}min-scale", "0")  # nothing idle stays up unless somebody asks for it
    return annotations


def _revision(spec: PredictorSpec) -> Object:
    fields: Object = {}
    if spec.container_concurrency is not None:
        fields["containerConcurrency"] = spec.container_concurrency
    if spec.timeout_s is not None:
        fields["timeoutSeconds"] = fields["responseStartTimeoutSeconds"] = spec.timeout_s
    if spec.service_account is not None:
        fields["serviceAccountName"] = spec.service_account
    if spec.image_pull_secrets:
        fields["imagePullSecrets"] = list(spec.image_pull_secrets)
    return fields


def _container(isvc: Object, spec: PredictorSpec, word: Word, platform: Platform) -> Object:
    container: Object = {
        "name": names.CONTAINER,
        "image": platform.image,
        "command": ["gunicorn"],
        "args": [
            "zeroflow.functions.predictor.handler:create_app()",
            "--workers=1",  # more requests at once: more replicas
            *WORKER_OPTIONS,
            "--timeout=0",  # a large model may load for minutes; Knative's own deadlines apply
        ],
        "env": _env(isvc, spec, word, platform),
        "readinessProbe": {"httpGet": {"path": "/v2/health/ready"}},
    }
    if spec.resources:
        container["resources"] = dict(spec.resources)
    if spec.storage_uri.startswith("s3://"):
        container["envFrom"] = [{"secretRef": {"name": STORAGE_SECRET, "optional": True}}]
    return container


def _env(isvc: Object, spec: PredictorSpec, word: Word, platform: Platform) -> list[Object]:
    own = {
        "MODEL_NAME": _name(isvc),
        "STORAGE_URI": spec.storage_uri,
        "MODEL_FORMAT": spec.model_format,
        "MODEL_VERSION": spec.model_version,
        "PROTOCOL": spec.protocol,
        "ZEROFLOW_STORE": platform.store,
        "ZEROFLOW_MODEL_SHA256": word.sha256,
        "ZEROFLOW_MODEL_VOUCHED_BY": word.by,
        "ZEROFLOW_COMPILE": None if spec.compiling else "false",
        "OMP_NUM_THREADS": "1",  # a row is too little work for two threads: they double its time and triple its p99
        "AWS_ENDPOINT_URL_S3": platform.s3_endpoint if spec.storage_uri.startswith("s3://") else None,
    }
    given = {variable["name"] for variable in spec.env}
    set_here = [{"name": name, "value": value} for name, value in own.items() if value and name not in given]
    return [*set_here, *spec.env]
