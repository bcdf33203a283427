"""KServe's own client, unmodified, against a kubeconfig: create, wait, patch, replace, graphs, delete. Prints JSON."""

import json
import sys

from kserve import (
    KServeClient,
    V1alpha1InferenceGraph,
    V1alpha1InferenceGraphSpec,
    V1alpha1InferenceRouter,
    V1alpha1InferenceStep,
    V1beta1InferenceService,
    V1beta1InferenceServiceSpec,
    V1beta1ModelFormat,
    V1beta1ModelSpec,
    V1beta1PredictorSpec,
    constants,
)
from kubernetes import client

kubeconfig, name, uri, second_uri = sys.argv[1:]
kserve = KServeClient(config_file=kubeconfig)


def service(location: str, **predictor: object) -> V1beta1InferenceService:
    model = V1beta1ModelSpec(model_format=V1beta1ModelFormat(name="sklearn"), storage_uri=location)
    return V1beta1InferenceService(
        api_version=constants.KSERVE_V1BETA1,
        kind=constants.KSERVE_KIND_INFERENCESERVICE,
        metadata=client.V1ObjectMeta(name=name, namespace="default", annotations={"zeroflow.dev/trust-pickle": "true"}),
        spec=V1beta1InferenceServiceSpec(predictor=V1beta1PredictorSpec(model=model, **predictor)),
    )


told = {}
kserve.create(service(uri))
kserve.wait_isvc_ready(name, namespace="default", timeout_seconds=60, polling_interval=1)
told["ready"] = kserve.is_isvc_ready(name, namespace="default")
told["url"] = kserve.get(name, namespace="default")["status"]["url"]
kserve.patch(name, service(second_uri, canary_traffic_percent=30), namespace="default")
kserve.wait_isvc_ready(name, namespace="default", timeout_seconds=60, polling_interval=1)
told["patched"] = kserve.get(name, namespace="default")["spec"]["predictor"]["canaryTrafficPercent"]
found = kserve.get(name, namespace="default")
replacement = service(second_uri)
replacement.metadata.resource_version = found["metadata"]["resourceVersion"]
kserve.replace(name, replacement, namespace="default")
kserve.wait_isvc_ready(name, namespace="default", timeout_seconds=60, polling_interval=1)
told["replaced"] = kserve.get(name, namespace="default")["spec"]["predictor"].get("canaryTrafficPercent")
graph = V1alpha1InferenceGraph(
    api_version=constants.KSERVE_V1ALPHA1,
    kind=constants.KSERVE_KIND_INFERENCEGRAPH,
    metadata=client.V1ObjectMeta(name=f"{name}-graph", namespace="default"),
    spec=V1alpha1InferenceGraphSpec(
        nodes={
            "root": V1alpha1InferenceRouter(router_type="Sequence", steps=[V1alpha1InferenceStep(service_name=name)])
        }
    ),
)
kserve.create_inference_graph(graph, namespace="default")
kserve.wait_ig_ready(f"{name}-graph", namespace="default", timeout_seconds=60)
told["graph"] = kserve.get_inference_graph(f"{name}-graph", namespace="default")["status"]["url"]
kserve.delete_inference_graph(f"{name}-graph", namespace="default")
kserve.delete(name, namespace="default")
print(json.dumps(told))
