"""InferenceGraphs: each becomes a Knative Service that runs the router, with the addresses of its steps' services.

Level-triggered like InferenceServices; a change of an InferenceService is told to the graphs that name it.
Source: KServe v1alpha1 API (InferenceGraph), pkg/controller/v1alpha1/inferencegraph.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from zeroflow.errors import InvalidInput, NotFound
from zeroflow.functions.inference import manifests, names
from zeroflow.functions.inference.refusal import Refused
from zeroflow.functions.inference.spec import parse_spec
from zeroflow.inference import graphs, naming
from zeroflow.resources import conditions
from zeroflow.resources.client import Resources
from zeroflow.resources.conditions import condition
from zeroflow.resources.owners import is_controlled_by, owned_by
from zeroflow.resources.starting_over import starting_over

Object = dict[str, Any]

API_VERSION, KIND = "serving.kserve.io/v1alpha1", "InferenceGraph"
LABEL = "serving.kserve.io/inferencegraph"
PROPAGATED = "zeroflow.dev/propagate-headers"
"""Regular expressions, by commas, of the headers that go to every step."""
POD_FIELDS = ("nodeSelector", "tolerations", "affinity", "serviceAccountName")
KNOWN = ("nodes", "resources", "timeout", "minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "routerTimeouts")
SCALING = {"minReplicas": "min-scale", "maxReplicas": "max-scale", "scaleTarget": "target", "scaleMetric": "metric"}
_CLUSTER_HOST = re.compile(r"([a-z0-9-]+)\.([a-z0-9-]+)(?:\.svc(?:\.cluster\.local)?)?")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\]")


class NotYet(Refused):
    """Something that the graph names is not ready; its change is an event."""

    def __init__(self, message: str) -> None:
        super().__init__("WaitingForService", message, failure=None)


@dataclass(frozen=True)
class Graphs:
    """What a reconciliation works with."""

    resources: Callable[[], Resources]
    image: str = "zeroflow/router"

    def concerned(self, namespace: str, service: str) -> list[str]:
        """Return the names of the graphs that name an InferenceService."""
        try:
            found = self.resources().list(API_VERSION, KIND, namespace)
        except NotFound:  # a cluster without InferenceGraphs
            return []
        return [graph["metadata"]["name"] for graph in found if service in _services(graph)]

    def reconcile(self, namespace: str, name: str) -> None:
        """Reconcile one graph; nothing happens when it is gone."""
        starting_over(lambda: self._once(namespace, name))

    def _once(self, namespace: str, name: str) -> None:
        resources = self.resources()
        found = resources.find(names.SERVICE_API_VERSION, names.SERVICE_KIND, namespace, name)
        graph = resources.find(API_VERSION, KIND, namespace, name)
        if graph is None or graph["metadata"].get("deletionTimestamp"):
            return
        try:
            status = _status(graph, self._apply(graph, found))
        except Refused as refused:
            status = _refused(graph, refused)
        if status != graph.get("status"):
            resources.write_status({**graph, "status": status})

    def _apply(self, graph: Object, found: Object | None) -> Object:
        if found is not None and not is_controlled_by(found, graph):
            raise Refused("NameTaken", f"Knative Service {graph['metadata']['name']} belongs to something else")
        for fault in graphs.faults(graph):
            raise Refused("InvalidSpec", fault)
        for field, value in graph["spec"].items():
            if field not in (*KNOWN, *POD_FIELDS) and value not in (None, {}, []):
                raise Refused.field(f"spec.{field}", "is not supported")
        wanted = self._service(graph)
        if found is not None:
            wanted["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
        try:
            return self.resources().apply(wanted)
        except InvalidInput as error:
            raise Refused("KnativeServiceRefused", str(error)) from error

    def _service(self, graph: Object) -> Object:
        metadata, spec = graph["metadata"], graph["spec"]
        annotations = {
            name: value
            for name, value in (metadata.get("annotations") or {}).items()
            if not name.startswith(manifests.KEPT_TO_ITSELF)
        }
        annotations |= {manifests.RUNTIME_ANNOTATION: "function", f"{manifests.AUTOSCALING}min-scale": "0"}
        for field, name in SCALING.items():
            if spec.get(field) is not None:
                annotations[manifests.AUTOSCALING + name] = str(spec[field])
        labels = {**(metadata.get("labels") or {}), LABEL: metadata["name"]}
        template = {key: value for key, value in labels.items() if key != names.VISIBILITY_LABEL}
        revision: Object = {field: spec[field] for field in POD_FIELDS if spec.get(field)}
        if timeout_s := spec.get("timeout"):
            revision["timeoutSeconds"] = timeout_s
        revision["containers"] = [self._container(graph)]
        return {
            "apiVersion": names.SERVICE_API_VERSION,
            "kind": names.SERVICE_KIND,
            "metadata": {
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "labels": labels,
                "ownerReferences": owned_by(graph),
            },
            "spec": {"template": {"metadata": {"labels": template, "annotations": annotations}, "spec": revision}},
        }

    def _container(self, graph: Object) -> Object:
        spec, annotations = graph["spec"], graph["metadata"].get("annotations") or {}
        timeout_s = (spec.get("routerTimeouts") or {}).get("serviceClient") or spec.get("timeout") or 60
        env = {
            "GRAPH": json.dumps(self._resolved(graph), sort_keys=True),
            "PROPAGATE_HEADERS": annotations.get(PROPAGATED, ""),
            "SERVICE_TIMEOUT_S": str(timeout_s),
        }
        container: Object = {
            "name": "router",
            "image": self.image,
            "command": ["gunicorn"],
            "args": [
                "zeroflow.functions.router.handler:create_app()",
                "--worker-class=gthread",
                "--threads=32",
                "--timeout=0",
            ],
            "env": [{"name": name, "value": value} for name, value in env.items() if value],
            "readinessProbe": {"httpGet": {"path": "/readyz"}},
        }
        if spec.get("resources"):
            container["resources"] = spec["resources"]
        return container

    def _resolved(self, graph: Object) -> Object:
        """Return the nodes with the URL of every step's service."""
        namespace = graph["metadata"]["namespace"]
        nodes = {}
        for at, node in graph["spec"]["nodes"].items():
            steps = []
            for step in node["steps"]:
                url = step.get("serviceUrl")
                if step.get("serviceName"):
                    url = self._endpoint(namespace, step["serviceName"])
                elif url:
                    url = self._reachable(f"spec.nodes.{at}", url)
                steps.append({**step, **({"serviceUrl": url} if url else {})})
            nodes[at] = {"routerType": node["routerType"], "steps": steps}
        return nodes

    def _endpoint(self, namespace: str, name: str) -> str:
        """Return where an InferenceService predicts; raise NotYet while it does not say."""
        isvc = self.resources().find(names.API_VERSION, names.KIND, namespace, name)
        if isvc is None:
            raise NotYet(f"InferenceService {name!r} does not exist in namespace {namespace!r}")
        address = ((isvc.get("status") or {}).get("address") or {}).get("url")
        if not address or not conditions.is_true(isvc, "Ready"):
            why = (conditions.find_condition(isvc, "Ready") or {}).get("message") or "it has no status yet"
            raise NotYet(f"InferenceService {name!r} is not ready: {why}")
        model = parse_spec(isvc).model
        protocol = model.protocol if model is not None else "v1"
        return f"{str(address).rstrip('/')}{naming.predict_path(naming.model_name(isvc), protocol)}"

    def _reachable(self, place: str, url: str) -> str:
        """Return a URL as the router can call it: names of the cluster become the address that the host gives them."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not _HOST.fullmatch(
            parts.netloc.partition("@")[0].rsplit(":", 1)[0]
        ):
            raise Refused.field(place, f"has the serviceUrl {url!r}, which is no http or https URL of a host")
        match = _CLUSTER_HOST.fullmatch(parts.hostname or "")
        if match is None:
            return url
        service = self.resources().find(names.SERVICE_API_VERSION, names.SERVICE_KIND, match[2], match[1])
        address = (((service or {}).get("status") or {}).get("address") or {}).get("url")
        rest = parts.path + (f"?{parts.query}" if parts.query else "")
        return f"{str(address).rstrip('/')}{rest}" if address else url


def _services(graph: Mapping[str, Any]) -> set[str]:
    nodes = ((graph.get("spec") or {}).get("nodes") or {}).values()
    return {
        str(step["serviceName"])
        for node in nodes
        if isinstance(node, dict)
        for step in node.get("steps") or ()
        if isinstance(step, dict) and step.get("serviceName")
    }


def _status(graph: Object, service: Object) -> Object:
    status = _begun(graph)
    found = conditions.find_condition(service, "Ready")
    if found is None or not conditions.is_current(service):
        found = condition("Ready", "Unknown", "Deploying", "the router's Knative Service is being updated")
    ready = condition("Ready", found["status"], found.get("reason", ""), found.get("message", ""))
    status["conditions"] = conditions.set_condition(status.get("conditions") or [], ready)
    if url := (service.get("status") or {}).get("url"):
        status["url"] = url
    return status


def _refused(graph: Object, refused: Refused) -> Object:
    status = _begun(graph)
    state: conditions.Status = "Unknown" if isinstance(refused, NotYet) else "False"
    fault = condition("Ready", state, refused.condition_reason, str(refused))
    status["conditions"] = conditions.set_condition(status.get("conditions") or [], fault)
    return status


def _begun(graph: Object) -> Object:
    return {
        **(graph.get("status") or {}),
        "observedGeneration": graph["metadata"].get("generation", 1),
        "deploymentMode": "Knative",
    }
