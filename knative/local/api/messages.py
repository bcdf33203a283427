"""The fields of the built-in kinds, in one compact table: what they are called, of which type, their protobuf numbers.

By it protobuf bodies are read (`rest/protobuf.py`), unknown fields found and documentation shown (`builtin_schemas`).
One line per message: `number name type`. Types: s text, b bool, i whole number, y bytes (base64 in JSON), a
message's name; `*` before a type: repeated, `%`: a map from text; `?` after it: absent and zero differ (a pointer in
the server's types); `^` before a name: the fields of that message belong to this one in JSON. Source: k8s.io/api and
k8s.io/apimachinery, generated.proto (the numbers are part of the API and never change).
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

MESSAGES: Final = """
AggregationRule: 1 clusterRoleSelectors *LabelSelector
BoundObjectReference: 1 kind s, 2 apiVersion s, 3 name s, 4 uid s
ClusterRole: 1 metadata ObjectMeta, 2 rules *PolicyRule, 3 aggregationRule AggregationRule
ClusterRoleBinding: 1 metadata ObjectMeta, 2 subjects *Subject, 3 roleRef RoleRef
ConfigMap: 1 metadata ObjectMeta, 4 immutable b?, 2 data %s, 3 binaryData %y
ConfigMapEnvSource: 1 ^localObjectReference LocalObjectReference, 2 optional b?
ConfigMapKeySelector: 1 ^localObjectReference LocalObjectReference, 2 key s, 3 optional b?
ConfigMapVolumeSource: 1 ^localObjectReference LocalObjectReference, 2 items *KeyToPath, 3 defaultMode i?, 4
  optional b?
Container: 1 name s, 2 image s, 3 command *s, 4 args *s, 5 workingDir s, 6 ports *ContainerPort, 19 envFrom
  *EnvFromSource, 7 env *EnvVar, 8 resources ResourceRequirements, 24 restartPolicy s, 9 volumeMounts *VolumeMount, 10
  livenessProbe Probe, 11 readinessProbe Probe, 22 startupProbe Probe, 13 terminationMessagePath s, 20
  terminationMessagePolicy s, 14 imagePullPolicy s, 15 securityContext SecurityContext, 16 stdin b, 17 stdinOnce b, 18
  tty b
ContainerPort: 1 name s, 2 hostPort i, 3 containerPort i, 4 protocol s, 5 hostIP s
CronJob: 1 metadata ObjectMeta, 2 spec CronJobSpec, 3 status CronJobStatus
CronJobSpec: 1 schedule s, 2 startingDeadlineSeconds i?, 3 concurrencyPolicy s, 4 suspend b?, 5 jobTemplate
  JobTemplateSpec, 6 successfulJobsHistoryLimit i?, 7 failedJobsHistoryLimit i?, 8 timeZone s?
CronJobStatus:
DeleteOptions: 1 gracePeriodSeconds i?, 2 preconditions Preconditions, 3 orphanDependents b?, 4 propagationPolicy s,
  5 dryRun *s, 6 ignoreStoreReadErrorWithClusterBreakingPotential b
EmptyDirVolumeSource: 1 medium s, 2 sizeLimit Quantity
EnvFromSource: 1 prefix s, 2 configMapRef ConfigMapEnvSource, 3 secretRef SecretEnvSource
EnvVar: 1 name s, 2 value s, 3 valueFrom EnvVarSource
EnvVarSource: 1 fieldRef ObjectFieldSelector, 3 configMapKeyRef ConfigMapKeySelector, 4 secretKeyRef
  SecretKeySelector
Event: 1 metadata ObjectMeta, 2 involvedObject ObjectReference, 3 reason s, 4 message s, 5 source EventSource, 6
  firstTimestamp Time, 7 lastTimestamp Time, 8 count i, 9 type s, 10 eventTime MicroTime, 12 action s, 13 related
  ObjectReference, 14 reportingComponent s, 15 reportingInstance s
EventSource: 1 component s, 2 host s
ExecAction: 1 command *s
HTTPGetAction: 1 path s, 2 port IntOrString, 3 host s, 4 scheme s, 5 httpHeaders *HTTPHeader
HTTPHeader: 1 name s, 2 value s
HostPathVolumeSource: 1 path s, 2 type s
Job: 1 metadata ObjectMeta, 2 spec JobSpec, 3 status JobStatus
JobSpec: 1 parallelism i?, 2 completions i?, 3 activeDeadlineSeconds i?, 7 backoffLimit i?, 12 backoffLimitPerIndex
  i?, 13 maxFailedIndexes i?, 4 selector LabelSelector, 5 manualSelector b?, 6 template PodTemplateSpec, 8
  ttlSecondsAfterFinished i?, 9 completionMode s, 10 suspend b?, 14 podReplacementPolicy s, 15 managedBy s
JobStatus:
JobTemplateSpec: 1 metadata ObjectMeta, 2 spec JobSpec
KeyToPath: 1 key s, 2 path s, 3 mode i?
LabelSelector: 1 matchLabels %s, 2 matchExpressions *LabelSelectorRequirement
LabelSelectorRequirement: 1 key s, 2 operator s, 3 values *s
Lease: 1 metadata ObjectMeta, 2 spec LeaseSpec
LeaseSpec: 1 holderIdentity s, 2 leaseDurationSeconds i?, 3 acquireTime MicroTime, 4 renewTime MicroTime, 5
  leaseTransitions i?, 6 strategy s, 7 preferredHolder s
LocalObjectReference: 1 name s
LocalSubjectAccessReview: 1 metadata ObjectMeta, 2 spec SubjectAccessReviewSpec, 3 status
  SubjectAccessReviewStatus
ManagedFieldsEntry: 1 manager s, 2 operation s, 3 apiVersion s, 4 time Time, 6 fieldsType s, 7 fieldsV1 FieldsV1, 8
  subresource s
Namespace: 1 metadata ObjectMeta, 2 spec NamespaceSpec, 3 status NamespaceStatus
NamespaceSpec: 1 finalizers *s
NamespaceStatus:
NonResourceAttributes: 1 path s, 2 verb s
ObjectFieldSelector: 1 apiVersion s, 2 fieldPath s
ObjectMeta: 1 name s, 2 generateName s, 3 namespace s, 4 selfLink s, 5 uid s, 6 resourceVersion s, 7 generation i, 8
  creationTimestamp Time, 9 deletionTimestamp Time, 10 deletionGracePeriodSeconds i?, 11 labels %s, 12 annotations %s,
  13 ownerReferences *OwnerReference, 14 finalizers *s, 17 managedFields *ManagedFieldsEntry
ObjectReference: 1 kind s, 2 namespace s, 3 name s, 4 uid s, 5 apiVersion s, 6 resourceVersion s, 7 fieldPath s
OwnerReference: 5 apiVersion s, 1 kind s, 3 name s, 4 uid s, 6 controller b?, 7 blockOwnerDeletion b?
PersistentVolumeClaim: 1 metadata ObjectMeta, 2 spec PersistentVolumeClaimSpec, 3 status PersistentVolumeClaimStatus
PersistentVolumeClaimSpec: 1 accessModes *s, 4 selector LabelSelector, 2 resources ResourceRequirements, 3 volumeName
  s, 5 storageClassName s?, 6 volumeMode s?, 9 volumeAttributesClassName s?
PersistentVolumeClaimStatus:
PersistentVolumeClaimVolumeSource: 1 claimName s, 2 readOnly b
Pod: 1 metadata ObjectMeta, 2 spec PodSpec, 3 status PodStatus
PodSecurityContext: 2 runAsUser i?, 6 runAsGroup i?, 3 runAsNonRoot b?, 4 supplementalGroups *i, 12
  supplementalGroupsPolicy s, 5 fsGroup i?, 9 fsGroupChangePolicy s, 13 seLinuxChangePolicy s
PodSpec: 1 volumes *Volume, 20 initContainers *Container, 2 containers *Container, 3 restartPolicy s, 4
  terminationGracePeriodSeconds i?, 5 activeDeadlineSeconds i?, 6 dnsPolicy s, 7 nodeSelector %s, 8 serviceAccountName
  s, 9 serviceAccount s, 21 automountServiceAccountToken b?, 10 nodeName s, 11 hostNetwork b, 12 hostPID b, 13 hostIPC
  b, 27 shareProcessNamespace b?, 14 securityContext PodSecurityContext, 15 imagePullSecrets *LocalObjectReference, 16
  hostname s, 17 subdomain s, 19 schedulerName s, 24 priorityClassName s, 25 priority i?, 29 runtimeClassName s, 30
  enableServiceLinks b?, 31 preemptionPolicy s, 32 overhead %Quantity, 35 setHostnameAsFQDN b?, 37 hostUsers b?, 40
  resources ResourceRequirements
PodStatus:
PodTemplateSpec: 1 metadata ObjectMeta, 2 spec PodSpec
PolicyRule: 1 verbs *s, 2 apiGroups *s, 3 resources *s, 4 resourceNames *s, 5 nonResourceURLs *s
Preconditions: 1 uid s, 2 resourceVersion s
Probe: 1 ^handler ProbeHandler, 2 initialDelaySeconds i, 3 timeoutSeconds i, 4 periodSeconds i, 5 successThreshold
  i, 6 failureThreshold i, 7 terminationGracePeriodSeconds i?
ProbeHandler: 1 exec ExecAction, 2 httpGet HTTPGetAction, 3 tcpSocket TCPSocketAction
ResourceAttributes: 1 namespace s, 2 verb s, 3 group s, 4 version s, 5 resource s, 6 subresource s, 7 name s
ResourceRequirements: 1 limits %Quantity, 2 requests %Quantity
Role: 1 metadata ObjectMeta, 2 rules *PolicyRule
RoleBinding: 1 metadata ObjectMeta, 2 subjects *Subject, 3 roleRef RoleRef
RoleRef: 1 apiGroup s, 2 kind s, 3 name s
Secret: 1 metadata ObjectMeta, 5 immutable b?, 2 data %y, 4 stringData %s, 3 type s
SecretEnvSource: 1 ^localObjectReference LocalObjectReference, 2 optional b?
SecretKeySelector: 1 ^localObjectReference LocalObjectReference, 2 key s, 3 optional b?
SecretVolumeSource: 1 secretName s, 2 items *KeyToPath, 3 defaultMode i?, 4 optional b?
SecurityContext: 2 privileged b?, 4 runAsUser i?, 8 runAsGroup i?, 5 runAsNonRoot b?, 6 readOnlyRootFilesystem b?, 7
  allowPrivilegeEscalation b?, 9 procMount s
SelfSubjectAccessReview: 1 metadata ObjectMeta, 2 spec SelfSubjectAccessReviewSpec, 3 status
  SubjectAccessReviewStatus
SelfSubjectAccessReviewSpec: 1 resourceAttributes ResourceAttributes, 2 nonResourceAttributes NonResourceAttributes
SelfSubjectReview: 1 metadata ObjectMeta, 2 status SelfSubjectReviewStatus
SelfSubjectReviewStatus:
SelfSubjectRulesReview: 1 metadata ObjectMeta, 2 spec SelfSubjectRulesReviewSpec, 3 status SubjectRulesReviewStatus
SelfSubjectRulesReviewSpec: 1 namespace s
ServiceAccount: 1 metadata ObjectMeta, 2 secrets *ObjectReference, 3 imagePullSecrets *LocalObjectReference, 4
  automountServiceAccountToken b?
Subject: 1 kind s, 2 apiGroup s, 3 name s, 4 namespace s
SubjectAccessReview: 1 metadata ObjectMeta, 2 spec SubjectAccessReviewSpec, 3 status
  SubjectAccessReviewStatus
SubjectAccessReviewSpec: 1 resourceAttributes ResourceAttributes, 2 nonResourceAttributes NonResourceAttributes, 3
  user s, 4 groups *s, 6 uid s
SubjectAccessReviewStatus:
SubjectRulesReviewStatus:
TCPSocketAction: 1 port IntOrString, 2 host s
TokenRequest: 1 metadata ObjectMeta, 2 spec TokenRequestSpec, 3 status TokenRequestStatus
TokenRequestSpec: 1 audiences *s, 4 expirationSeconds i?, 3 boundObjectRef BoundObjectReference
TokenRequestStatus:
TokenReview: 1 metadata ObjectMeta, 2 spec TokenReviewSpec, 3 status TokenReviewStatus
TokenReviewSpec: 1 token s, 2 audiences *s
TokenReviewStatus:
Volume: 1 name s, 2 ^volumeSource VolumeSource
VolumeMount: 1 name s, 2 readOnly b, 7 recursiveReadOnly s, 3 mountPath s, 4 subPath s, 5 mountPropagation s, 6
  subPathExpr s
VolumeSource: 1 hostPath HostPathVolumeSource, 2 emptyDir EmptyDirVolumeSource?, 6 secret SecretVolumeSource, 10
  persistentVolumeClaim PersistentVolumeClaimVolumeSource, 19 configMap ConfigMapVolumeSource
"""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message."""

    name: str
    type: str
    repeated: bool
    mapped: bool
    pointer: bool
    inline: bool


@cache
def messages() -> dict[str, dict[int, Field]]:
    """Return the table: message -> number -> field."""
    found: dict[str, dict[int, Field]] = {}
    for line in MESSAGES.strip().replace("\n  ", " ").splitlines():
        name, _, text = line.partition(":")
        found[name] = {}
        for item in filter(None, (part.strip() for part in text.split(","))):
            number, field, kind = item.split(" ")
            found[name][int(number)] = Field(
                field.lstrip("^"), kind.strip("*%?"), kind[0] == "*", kind[0] == "%", kind[-1] == "?", field[0] == "^"
            )
    return found
