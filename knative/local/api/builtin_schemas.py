"""The schemas of the built-in kinds: which fields they have and of which type, and what `kubectl explain` says.

Made from the table of messages. What Kubernetes has and this host takes without looking into it is known by name
only (`NAMED`); whether it may be there is the business of each kind's admission.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from zeroflow.knative.local.api.kinds import Kind
from zeroflow.knative.local.api.lists import MERGE_KEYS
from zeroflow.knative.local.api.messages import Field, messages
from zeroflow.knative.local.api.objects import Object
from zeroflow.knative.local.api.schemas.schema import Schema, compile_schema
from zeroflow.knative.local.api.schemas.validation import faults

NAMED: Final[dict[str, tuple[str, ...]]] = {
    "Container": ("lifecycle", "volumeDevices", "resizePolicy", "restartPolicyRules"),
    "EnvVarSource": ("resourceFieldRef", "fileKeyRef"),
    "Event": ("series",),
    "JobSpec": ("podFailurePolicy", "successPolicy"),
    "PersistentVolumeClaimSpec": ("dataSource", "dataSourceRef"),
    "PodSecurityContext": ("appArmorProfile", "seLinuxOptions", "seccompProfile", "sysctls", "windowsOptions"),
    "PodSpec": (
        *("affinity", "dnsConfig", "ephemeralContainers", "hostAliases", "hostnameOverride", "os", "readinessGates"),
        *("resourceClaims", "schedulingGates", "tolerations", "topologySpreadConstraints"),
    ),
    "ProbeHandler": ("grpc",),
    "ResourceRequirements": ("claims",),
    "SecurityContext": ("appArmorProfile", "capabilities", "seLinuxOptions", "seccompProfile", "windowsOptions"),
    "VolumeSource": (
        *("awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "csi", "downwardAPI", "ephemeral"),
        *("fc", "flexVolume", "flocker", "gcePersistentDisk", "gitRepo", "glusterfs", "image", "iscsi", "nfs"),
        *("photonPersistentDisk", "portworxVolume", "projected", "quobyte", "rbd", "scaleIO", "storageos"),
        "vsphereVolume",
    ),
}
DESCRIPTIONS: Final[dict[str, str]] = {
    "ConfigMap.data": "Text values by key.",
    "ConfigMap.binaryData": "Values that are not text, in base64, by key.",
    "ConfigMap.immutable": "Whether data can never be changed again.",
    "Secret.data": "Values in base64, by key.",
    "Secret.stringData": "Values as text, by key; written into data and never read back.",
    "Secret.type": "What the Secret is for; Opaque unless said otherwise.",
    "Job.spec": "What is to run, how often, and for how long.",
    "JobSpec.parallelism": "How many Pods may run at a time; 1 unless said otherwise.",
    "JobSpec.completions": "How many Pods must succeed; 1 unless said otherwise.",
    "JobSpec.activeDeadlineSeconds": "How long the Job may be active before it is ended and has failed.",
    "JobSpec.backoffLimit": "How many Pods may fail before the Job has failed; 6 unless said otherwise.",
    "JobSpec.template": "The Pod that is run.",
    "JobSpec.ttlSecondsAfterFinished": "How long after its end the Job is deleted; never unless said.",
    "JobSpec.suspend": "Whether the Job waits: its Pods are ended and none is started.",
    "JobSpec.completionMode": "NonIndexed, the only one on this host.",
    "CronJob.spec": "When a Job is made, and which.",
    "CronJobSpec.schedule": "Five cron fields, or @hourly, @daily, ...",
    "CronJobSpec.timeZone": "The IANA time zone of the schedule; UTC unless said otherwise.",
    "CronJobSpec.concurrencyPolicy": "What happens while an earlier Job runs: Allow, Forbid or Replace.",
    "CronJobSpec.startingDeadlineSeconds": "How late a Job may be made; later it is left out.",
    "CronJobSpec.suspend": "Whether no further Jobs are made.",
    "CronJobSpec.jobTemplate": "The Job that is made at each due time.",
    "CronJobSpec.successfulJobsHistoryLimit": "How many completed Jobs are kept; 3 unless said otherwise.",
    "CronJobSpec.failedJobsHistoryLimit": "How many failed Jobs are kept; 1 unless said otherwise.",
    "PersistentVolumeClaimSpec.accessModes": "ReadWriteOnce, ReadOnlyMany, ReadWriteMany.",
    "PersistentVolumeClaimSpec.resources": "requests.storage: the size, which is shown and bounds nothing here.",
    "PersistentVolumeClaimSpec.storageClassName": "Any name: every claim is a directory here.",
    "PodTemplateSpec.spec": "The Pod's containers and volumes.",
    "PodSpec.containers": "What runs in the Pod: processes on this host.",
    "PodSpec.volumes": "Directories that containers mount.",
    "PodSpec.restartPolicy": "What happens when a container ends: Never or OnFailure in a Job.",
    "PodSpec.terminationGracePeriodSeconds": "How long after SIGTERM a process may go on; 30 unless said otherwise.",
    "Container.name": "The name, unique in the Pod.",
    "Container.image": "Shown, and run only where it was mapped to a directory: this host runs processes.",
    "Container.command": "The program and its first arguments.",
    "Container.args": "Further arguments.",
    "Container.env": "Environment variables.",
    "Container.envFrom": "ConfigMaps and Secrets whose entries become environment variables.",
    "Container.workingDir": "The directory in which the program starts.",
    "Container.volumeMounts": "Where the Pod's volumes are seen.",
    "Container.resources": "limits.memory bounds the process, limits.cpu a Job's to whole processors; no other counts.",
    "Volume.persistentVolumeClaim": "The volume of a PersistentVolumeClaim in the same namespace.",
    "Volume.emptyDir": "A directory that lives as long as the Pod.",
    "LeaseSpec.holderIdentity": "Who holds the Lease.",
    "LeaseSpec.leaseDurationSeconds": "How long after renewTime others must wait before they take it.",
    "LeaseSpec.renewTime": "When the holder last renewed it.",
}
_TYPES: Final[dict[str, Object]] = {
    "s": {"type": "string"},
    "b": {"type": "boolean"},
    "i": {"type": "integer"},
    "y": {"type": "string", "format": "byte"},
    "Time": {"type": "string", "format": "date-time"},
    "MicroTime": {"type": "string", "format": "date-time"},
    "IntOrString": {"x-kubernetes-int-or-string": True},
    "Quantity": {"x-kubernetes-preserve-unknown-fields": True},
    "FieldsV1": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
}


@cache
def document(kind: str) -> Object | None:
    """Return the OpenAPI schema of a built-in kind; None for one that is in no table."""
    return _message(kind) if kind in messages() else None


@cache
def _compiled(kind: str) -> Schema | None:
    found = document(kind)
    return compile_schema(found, kind, structural=False) if found is not None else None


def schema_of(kind: Kind) -> Schema | None:
    """Return by what a kind's fields are known: its definition, or the table; None where nothing is."""
    return kind.schema if kind.custom else _compiled(kind.kind)


def mistyped(kind: Kind, obj: Object) -> str | None:
    """Return what is of the wrong type in an object of a built-in kind, as the API server says it; None if all fits."""
    schema = None if kind.custom else _compiled(kind.kind)
    for cause in faults(schema, obj) if schema is not None else ():
        if cause.reason == "FieldValueTypeInvalid":
            found, _, wanted = cause.message.removeprefix('Invalid value: "').partition('"')
            wanted = wanted.partition("must be of type ")[2].partition(":")[0]
            return f"json: cannot unmarshal {found} into Go struct field {kind.kind}.{cause.field} of type {wanted}"
    return None


def _message(name: str) -> Object:
    if not messages()[name]:  # a status: written by the host alone
        return {"type": "object", "nullable": True, "x-kubernetes-preserve-unknown-fields": True}
    properties: dict[str, Any] = {}
    for field in messages()[name].values():
        if field.inline:
            properties |= {
                inner: part | _described(name, inner) for inner, part in _message(field.type)["properties"].items()
            }
        else:
            properties[field.name] = _field(field) | _described(name, field.name)
    for known in NAMED.get(name, ()):
        properties[known] = {"x-kubernetes-preserve-unknown-fields": True}
    return {"type": "object", "nullable": True, "properties": properties}


def _described(message: str, field: str) -> Object:
    text = DESCRIPTIONS.get(f"{message}.{field}")
    return {"description": text} if text else {}


def _field(field: Field) -> Object:
    kind = _TYPES.get(field.type)
    inner = {**kind, "nullable": True} if kind is not None else _message(field.type)
    if field.mapped:
        return {"type": "object", "nullable": True, "additionalProperties": inner}
    if field.repeated:
        made: Object = {"type": "array", "nullable": True, "items": inner}
        if field.name in MERGE_KEYS and inner.get("properties"):
            keys = list(MERGE_KEYS[field.name])
            made |= {"x-kubernetes-patch-merge-key": keys[0], "x-kubernetes-patch-strategy": "merge"}
        return made
    return inner
