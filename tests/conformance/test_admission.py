"""What Knative's webhooks refuse, in the words that people search for. Source: knative.dev/serving pkg/apis."""

import pytest

T = "spec.template.spec"
C = f"{T}.containers[0]"
S = "autoscaling.knative.dev"
A = "spec.template.metadata.annotations.autoscaling.knative.dev"


def refused(
    cluster, container=None, spec=None, annotations=None, traffic=None, on_service=None, labels=None, name="no"
):
    template = cluster.template({"command": ["true"]} | (container or {}), None, spec, annotations)
    if container and "image" in container and container["image"] is None:
        del template["spec"]["containers"][0]["image"]
    answer = cluster.try_to_apply(name, template, on_service, labels, traffic)
    assert answer.status == 400, answer.data
    status = answer.json()
    assert status["reason"] == "BadRequest"
    message = status["message"]
    prefix = 'admission webhook "validation.webhook.serving.knative.dev" denied the request: validation failed: '
    assert message.startswith(prefix), message
    return message.removeprefix(prefix)


@pytest.mark.parametrize("name", ["PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION"])
def test_reserved_environment(cluster, name):
    said = refused(cluster, {"env": [{"name": name, "value": "1"}]})
    assert said == f'"{name}" is a reserved environment variable: {C}.env[0].name'


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("nodeSelector", {"a": "b"}),
        ("tolerations", [{"key": "a"}]),
        ("affinity", {"nodeAffinity": {}}),
        ("topologySpreadConstraints", [{"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule"}]),
        ("runtimeClassName", "gvisor"),
        ("securityContext", {"runAsUser": 1}),
        ("initContainers", [{"name": "i", "image": "i"}]),
        ("schedulerName", "mine"),
        ("priorityClassName", "high"),
        ("dnsConfig", {"nameservers": ["1.1.1.1"]}),
        ("hostAliases", [{"ip": "127.0.0.1", "hostnames": ["a"]}]),
        ("hostNetwork", True),
    ],
)
def test_fields_that_are_features(cluster, field, value):
    assert refused(cluster, spec={field: value}) == f"must not set the field(s): {T}.{field}"


@pytest.mark.parametrize(
    "volume",
    [{"hostPath": {"path": "/"}}, {"csi": {"driver": "d"}}, {"persistentVolumeClaim": {"claimName": "c"}}],
    ids=lambda volume: next(iter(volume)),
)
def test_volumes_that_are_features(cluster, volume):
    container = {"volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": True}]}
    said = refused(cluster, container, {"volumes": [{"name": "v"} | volume]})
    assert said == f"must not set the field(s): {T}.volumes[0].{next(iter(volume))}"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"spec": {"timeoutSeconds": 601}}, f"expected 0 <= 601 <= 600: {T}.timeoutSeconds"),
        ({"spec": {"containerConcurrency": 1001}}, f"expected 0 <= 1001 <= 1000: {T}.containerConcurrency"),
        (
            {"spec": {"timeoutSeconds": 10, "responseStartTimeoutSeconds": 20}},
            f"expected 0 <= 20 <= 10: {T}.responseStartTimeoutSeconds",
        ),
        ({"container": {"ports": [{"containerPort": 8012}]}}, f"invalid value: 8012: {C}.ports[0].containerPort"),
        (
            {"container": {"ports": [{"containerPort": 1}, {"containerPort": 2}]}},
            f"more than one container port is set: {C}.ports\nOnly a single port is allowed",
        ),
        (
            {"container": {"ports": [{"containerPort": 1, "name": "grpc"}]}},
            f"Port name grpc is not allowed: {C}.ports[0]\nName must be empty, or one of: 'h2c', 'http1'",
        ),
        ({"container": {"name": "queue-proxy"}}, f'"queue-proxy" is a reserved container name: {C}.name'),
        ({"container": {"image": None}}, f"missing field(s): {C}.image"),
        (
            {
                "container": {"volumeMounts": [{"name": "v", "mountPath": "/dev/log/"}]},
                "spec": {"volumes": [{"name": "v", "emptyDir": {}}]},
            },
            f'mountPath "/dev/log" is a reserved path: {C}.volumeMounts[0].mountPath',
        ),
        (
            {"container": {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}},
            f"volumeMount has no matching volume: {C}.volumeMounts[0].name",
        ),
        (
            {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}},
            f'volume with name "v" not mounted: {T}.volumes[0].name',
        ),
        (
            {"container": {"readinessProbe": {"httpGet": {"path": "/"}, "tcpSocket": {}}}},
            f"expected exactly one, got both: {C}.readinessProbe.httpGet, {C}.readinessProbe.tcpSocket",
        ),
        (
            {"container": {"readinessProbe": {"tcpSocket": {}, "timeoutSeconds": 3}}},
            f"timeoutSeconds is disallowed when periodSeconds is zero: {C}.readinessProbe.timeoutSeconds",
        ),
        ({"container": {"lifecycle": {"preStop": {}}}}, f"must not set the field(s): {C}.lifecycle"),
        (
            {"container": {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}},
            f"must not set the field(s): {C}.env[0].valueFrom.fieldRef",
        ),
        ({"annotations": {f"{S}/min-scale": "-1"}}, f"expected 0 <= -1 <= 2147483647: {A}/min-scale"),
        ({"annotations": {"autoscaling.knative.dev/window": "2s"}}, f"expected 6s <= 2s <= 1h0m0s: {A}/window"),
        (
            {"annotations": {"autoscaling.knative.dev/min-scale": "5", "autoscaling.knative.dev/maxScale": "2"}},
            f"max-scale=2 is less than min-scale=5: {A}/max-scale, {A}/min-scale",
        ),
        ({"annotations": {f"{S}/initial-scale": "0"}}, f"invalid value: 0: {A}/initial-scale=0 not allowed by cluster"),
        (
            {"annotations": {"autoscaling.knative.dev/bogus": "1"}},
            f'invalid key name "autoscaling.knative.dev/bogus": {A}/bogus',
        ),
        (
            {"on_service": {"autoscaling.knative.dev/min-scale": "1"}},
            "autoscaling annotations must be put under spec.template.metadata.annotations to work: "
            "metadata.annotations.autoscaling.knative.dev/min-scale",
        ),
        (
            {"on_service": {"serving.knative.dev/rollout-duration": "1.5s"}},
            "invalid value: 1.5s: metadata.annotations.serving.knative.dev/rollout-duration",
        ),
        ({"traffic": [{"percent": 90}]}, "Traffic targets sum to 90, want 100: spec.traffic"),
        (
            {"traffic": [{"percent": 50, "tag": "a"}, {"percent": 50, "tag": "a"}]},
            'Multiple definitions for "a": spec.traffic[0].tag, spec.traffic[1].tag',
        ),
        (
            {"traffic": [{"percent": 100, "configurationName": "no"}]},
            "must not set the field(s): spec.traffic[0].configurationName",
        ),
        (
            {"traffic": [{"percent": 100, "latestRevision": True, "revisionName": "no-1"}]},
            'may not set revisionName "no-1" when latestRevision is true: spec.traffic[0].latestRevision',
        ),
        (
            {"labels": {"networking.knative.dev/visibility": "public"}},
            "invalid value: public: metadata.labels.networking.knative.dev/visibility",
        ),
    ],
    ids=lambda value: value[:48] if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_refused_and_how(cluster, given, said):
    assert refused(cluster, **given) == said


def test_the_name_of_a_service_is_a_dns_label(cluster):
    assert refused(cluster, name="1st").startswith("invalid value: not a DNS 1035 label: 1st")


def test_all_faults_are_told_at_once(cluster):
    said = refused(cluster, spec={"nodeSelector": {"a": "b"}, "hostNetwork": True, "timeoutSeconds": 601})
    assert said.splitlines() == [
        f"expected 0 <= 601 <= 600: {T}.timeoutSeconds",
        f"must not set the field(s): {T}.hostNetwork, {T}.nodeSelector",
    ]


def test_an_administrator_may_allow_a_feature(cluster, removed):
    feature = "kubernetes.podspec-nodeselector"
    assert cluster.configure("config-features", {feature: "enabled"}).status == 200
    try:
        cluster.service(removed("selective"), "runtime", spec={"nodeSelector": {"a": "b"}})
    finally:
        cluster.configure("config-features", {feature: None})


def test_an_administrator_sets_what_templates_leave_open_and_is_told_what_cannot_be(cluster, removed):
    assert cluster.configure("config-defaults", {"revision-timeout-seconds": "7"}).status == 200
    try:
        made = cluster.service(removed("open"), "runtime")
    finally:
        cluster.configure("config-defaults", {"revision-timeout-seconds": None})
    assert made["spec"]["template"]["spec"]["timeoutSeconds"] == 7
    told = cluster.configure("config-defaults", {"revision-timeout-seconds": "601"})
    assert told.status == 400
    assert "cannot be greater than max-revision-timeout-seconds (600)" in told.json()["message"]
