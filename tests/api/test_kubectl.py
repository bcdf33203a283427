"""What people type: the real kubectl with the written kubeconfig."""

import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

MANIFEST = Path(__file__).with_name("service.yaml")


def test_apply_is_created_configured_unchanged(kubectl: Any, tmp_path: Path) -> None:
    manifest = tmp_path / "service.yaml"
    manifest.write_text(MANIFEST.read_text())
    assert "service.serving.knative.dev/hello created" in kubectl("apply", "-f", str(manifest))
    assert "unchanged" in kubectl("apply", "-f", str(manifest))
    manifest.write_text(MANIFEST.read_text().replace("value: first", "value: second"))
    assert "configured" in kubectl("apply", "-f", str(manifest))
    path = "jsonpath={.spec.template.spec.containers[0].env[0].value}"
    assert kubectl("get", "ksvc", "hello", "-o", path) == "second"
    assert "hello" in kubectl("get", "ksvc", "-A", "-o", "wide")
    assert kubectl("get", "ksvc", "-l", "app=hello", "-o", "name").strip() == "service.serving.knative.dev/hello"
    described = kubectl("describe", "ksvc", "hello")
    assert "API Version:  serving.knative.dev/v1" in described
    assert "Events:" in described
    assert "deleted" in kubectl("delete", "-f", str(manifest))
    assert 'services.serving.knative.dev "hello" not found' in kubectl("get", "ksvc", "hello", code=1)


def test_server_side_apply_and_its_conflicts(kubectl: Any) -> None:
    first = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ssa"}, "data": {"k": "1"}})
    second = first.replace('"1"', '"2"')
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", "-", stdin=first)
    other = ("apply", "--server-side", "--field-manager=other", "-f", "-")
    refused = kubectl(*other, stdin=second, code=1)
    assert 'Apply failed with 1 conflict: conflict with "kubectl": .data.k' in refused
    kubectl(*other, "--force-conflicts", stdin=second)
    assert kubectl("get", "cm", "ssa", "-o", "jsonpath={.data.k}") == "2"


def test_client_side_apply_moves_to_server_side(kubectl: Any) -> None:
    manifest = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "csa"}, "data": {"k": "1"}})
    kubectl("apply", "-f", "-", stdin=manifest)
    kubectl("apply", "--server-side", "-f", "-", stdin=manifest)
    kubectl("apply", "--server-side", "-f", "-", stdin=manifest.replace('"1"', '"2"'))
    assert kubectl("get", "cm", "csa", "-o", "jsonpath={.data.k}") == "2"


def test_create_reaches_every_kind_that_kubectl_encodes_itself(kubectl: Any) -> None:
    kubectl("create", "namespace", "team")
    kubectl("create", "configmap", "c", "--from-literal=k=v", "-n", "team")
    kubectl("create", "secret", "generic", "s", "--from-literal=k=v", "-n", "team")
    kubectl("create", "serviceaccount", "sa", "-n", "team")
    kubectl("create", "job", "j", "--image=busybox", "-n", "team", "--", "sleep", "1")
    assert kubectl("get", "secret", "s", "-n", "team", "-o", "jsonpath={.data.k}") == "dg=="
    container = json.loads(kubectl("get", "job", "j", "-n", "team", "-o", "json"))["spec"]["template"]["spec"]
    assert container == {
        "containers": [{"name": "j", "image": "busybox", "command": ["sleep", "1"]}],
        "restartPolicy": "Never",
    }
    assert "already exists" in kubectl("create", "namespace", "team", code=1)
    kubectl("delete", "namespace", "team", "--timeout=20s")
    assert 'namespaces "team" not found' in kubectl("create", "configmap", "c", "-n", "team", code=1)


def test_label_annotate_patch_and_edit(kubectl: Any, server: Any, tmp_path: Path) -> None:
    kubectl("create", "configmap", "p", "--from-literal=k=1")
    kubectl("label", "cm", "p", "team=blue")
    kubectl("annotate", "cm", "p", "note=hi")
    kubectl("patch", "cm", "p", "-p", '{"data":{"x":"1"}}')
    kubectl("patch", "cm", "p", "--type=merge", "-p", '{"data":{"k":"2"}}')
    kubectl("patch", "cm", "p", "--type=json", "-p", '[{"op":"remove","path":"/data/x"}]')
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i \'s/k: "2"/k: "3"/\' "$1"\n')
    editor.chmod(0o700)
    environment = kubectl.environment() | {"KUBE_EDITOR": str(editor)}
    subprocess.run(["kubectl", "edit", "cm", "p"], env=environment, check=True, capture_output=True)
    found = json.loads(kubectl("get", "cm", "p", "-o", "json"))
    assert found["data"] == {"k": "3"}
    assert found["metadata"]["labels"] == {"team": "blue"}
    assert found["metadata"]["annotations"] == {"note": "hi"}


def test_wait_sees_a_condition_become_true(kubectl: Any, server: Any) -> None:
    service = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "w"}, "spec": {}}
    made = server.control("create", service)
    waiting = subprocess.Popen(
        ["kubectl", "wait", "--for=condition=Ready", "ksvc/w", "--timeout=20s"],
        env=kubectl.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    made["status"] = {"conditions": [{"type": "Ready", "status": "True"}]}
    server.control("status", made)
    assert "condition met" in waiting.communicate(timeout=30)[0]
    assert "timed out" in kubectl("wait", "--for=condition=Never", "ksvc/w", "--timeout=1s", code=1)


def test_get_watch_prints_changes_as_they_come(kubectl: Any, server: Any) -> None:
    watching = subprocess.Popen(
        ["kubectl", "get", "cm", "-w", "--output-watch-events", "--field-selector=metadata.name=live"],
        env=kubectl.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    lines = iter(watching.stdout.readline, "")
    path = "/api/v1/namespaces/default/configmaps"
    ready = threading.Timer(20, watching.kill)
    ready.start()
    try:
        server.call("POST", path, {"metadata": {"name": "live"}})
        assert next(lines).split() == ["EVENT", "NAME", "DATA", "AGE"]
        assert next(lines).split()[:3] == ["ADDED", "live", "0"]
        server.call("PATCH", f"{path}/live", {"data": {"k": "v"}}, "application/merge-patch+json")
        assert next(lines).split()[:3] == ["MODIFIED", "live", "1"]
        server.call("DELETE", f"{path}/live")
        assert next(lines).split()[:2] == ["DELETED", "live"]
    finally:
        ready.cancel()
        watching.kill()
        watching.stdout.close()
        watching.wait()


def test_discovery_explain_and_access(kubectl: Any) -> None:
    resources = kubectl("api-resources")
    assert "inferenceservices" in resources
    assert "ksvc" in resources
    assert "KIND:       Service" in kubectl("explain", "ksvc")
    assert "labels" in kubectl("explain", "configmap.metadata.labels")
    assert "backoffLimit\t<integer>" in kubectl("explain", "job.spec")
    assert "VERSION:    v1" in kubectl("explain", "cronjob.spec.jobTemplate.spec.template.spec.containers.env")
    assert "accessModes" in kubectl("explain", "pvc", "--recursive")
    assert "Kubernetes control plane" in kubectl("cluster-info")
    assert kubectl("auth", "can-i", "create", "pods").strip() == "yes"
    assert "zeroflow" in kubectl("auth", "whoami")
    assert "Server Version: v1.32" in kubectl("version")
    assert "No resources found" in kubectl("get", "all", "-n", "kube-system")
    assert "Active" in kubectl("describe", "namespace", "default")


def test_a_definition_that_is_applied_can_be_used_at_once(kubectl: Any, server: Any) -> None:
    names = {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "shortNames": ["gd"]}
    column = {"name": "Size", "type": "integer", "jsonPath": ".spec.size"}
    version = {"name": "v1", "served": True, "storage": True, "additionalPrinterColumns": [column]}
    version["schema"] = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    kind = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    kubectl("apply", "-f", "-", stdin=json.dumps({**kind, "metadata": {"name": "gadgets.example.com"}, "spec": spec}))
    kubectl("wait", "--for=condition=Established", "crd/gadgets.example.com", "--timeout=5s")
    gadget = {"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": "g"}, "spec": {"size": 7}}
    kubectl("apply", "-f", "-", stdin=json.dumps(gadget))
    assert kubectl("get", "gd").split() == ["NAME", "SIZE", "g", "7"]
    kubectl("delete", "crd", "gadgets.example.com", "--timeout=10s")
    assert server.call("GET", "/apis/example.com/v1")[0] == 404


def test_strict_validation_names_the_unknown_field(kubectl: Any) -> None:
    text = MANIFEST.read_text().replace("spec:\n  template", "spek:\n  template")
    refused = kubectl("create", "-f", "-", stdin=text, code=1)
    assert 'strict decoding error: unknown field "spek"' in refused


def test_a_custom_kind_scales_and_obeys_its_rules(kubectl: Any, server: Any) -> None:
    size = {"type": "object", "properties": {"replicas": {"type": "integer"}, "max": {"type": "integer", "default": 5}}}
    rules = [
        {"rule": "self.replicas <= self.max", "message": "more replicas than max"},
        {"rule": "!has(oldSelf.max) || self.max >= oldSelf.max", "message": "max never shrinks", "fieldPath": ".max"},
    ]
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "properties": {
                    "spec": size | {"x-kubernetes-validations": rules},
                    "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
                },
            }
        },
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
        },
        "additionalPrinterColumns": [{"name": "Born", "type": "date", "jsonPath": ".metadata.creationTimestamp"}],
    }
    names = {"plural": "herds", "kind": "Herd", "categories": ["all", "animals"]}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "herds.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    kubectl("create", "-f", "-", stdin=json.dumps(definition))
    herd = {"apiVersion": "example.com/v1", "kind": "Herd", "metadata": {"name": "h"}, "spec": {"replicas": 2}}
    kubectl("apply", "-f", "-", stdin=json.dumps(herd))
    assert "scaled" in kubectl("scale", "herd/h", "--replicas=4")
    assert kubectl("get", "herd", "h", "-o", "jsonpath={.spec.replicas}/{.spec.max}") == "4/5"
    refused = kubectl("scale", "herd/h", "--replicas=6", code=1)
    assert 'The Herd "h" is invalid: spec: Invalid value: "object": more replicas than max' in refused
    assert "xpected replicas to be 1" in kubectl("scale", "herd/h", "--current-replicas=1", "--replicas=2", code=1)
    refused = kubectl("patch", "herd", "h", "--type=merge", "-p", '{"spec":{"max":4}}', code=1)
    assert 'spec.max: Invalid value: "object": max never shrinks' in refused
    assert kubectl("get", "animals", "-o", "name").strip() == "herd.example.com/h"
    assert kubectl("get", "herd").split()[:2] == ["NAME", "BORN"]
    assert "FIELD: max <integer>" in kubectl("explain", "herd.spec.max")
    broken = json.loads(json.dumps(definition).replace("self.replicas <=", "self.replica <="))
    assert "undefined field 'replica'" in kubectl("replace", "-f", "-", stdin=json.dumps(broken), code=1)
    kubectl("delete", "crd", "herds.example.com")


def test_nested_fields_of_built_in_kinds_are_checked(kubectl: Any) -> None:
    job = kubectl("create", "job", "typo", "--image=any", "--dry-run=client", "-o", "json", "--", "true")
    misspelt = job.replace('"command"', '"comand"')
    said = kubectl("create", "-f", "-", stdin=misspelt, code=1)
    assert 'strict decoding error: unknown field "spec.template.spec.containers[0].comand"' in said
    mistyped = job.replace('"spec": {', '"spec": {"parallelism": "2",', 1)
    said = kubectl("create", "--validate=false", "-f", "-", stdin=mistyped, code=1)
    assert "cannot unmarshal string into Go struct field Job.spec.parallelism of type integer" in said


def test_logs_follow_a_pod(kubectl: Any, server: Any) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "logged"}, "spec": {"containers": [{"name": "c"}]}}
    made = server.control("create", pod)
    log = server.home / "logs" / "default" / "logged" / "c.log"
    log.parent.mkdir(parents=True)
    log.write_text("line 1\nline 2\n")
    made["status"] = {"phase": "Succeeded"}
    server.control("status", made)
    assert kubectl("logs", "logged") == "line 1\nline 2\n"
    assert kubectl("logs", "-f", "--tail=1", "logged") == "line 2\n"
    assert "logged" in kubectl("get", "pods")
    assert os.path.exists(log)


def test_what_has_no_effect_on_this_host_is_said(kubectl: Any) -> None:
    bounds = {"capabilities": {"drop": ["ALL"]}, "runAsUser": 1000}
    container = {"name": "c", "image": "any", "command": ["true"], "securityContext": bounds}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "bound"}, "spec": {"template": template}}
    said = kubectl("apply", "-f", "-", stdin=json.dumps(job))
    assert "job.batch/bound created" in said
    path = "spec.template.spec.containers[0].securityContext"
    assert f"Warning: {path}.capabilities: has no effect on this host: a process is no container" in said
    assert f"{path}.runAsUser: has no effect on this host: its programs run as the host's user" in said
    service = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "bound"},
        "spec": {"template": {"spec": {"containers": [{"image": "any", "securityContext": bounds}]}}},
    }
    said = kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(service))
    assert f"{path}.capabilities: has no effect" in said
    assert "runAsUser" not in said


def test_what_other_clusters_have_is_refused_with_what_there_is_instead(kubectl: Any) -> None:
    said = kubectl("create", "deployment", "web", "--image=nginx", code=1)
    assert "this host has no Deployments, StatefulSets or DaemonSets: declare a Service of serving.knative.dev" in said
    assert "this host has no Ingresses" in kubectl("create", "ingress", "i", "--rule=a/b=c:80", code=1)
