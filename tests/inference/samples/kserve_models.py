"""KServe's own client, unmodified: TrainedModels made, waited for by both protocols, asked, deleted. Prints JSON."""

import json
import sys

import requests
from kserve import (
    KServeClient,
    V1alpha1ModelSpec,
    V1alpha1TrainedModel,
    V1alpha1TrainedModelSpec,
    V1beta1InferenceService,
    V1beta1InferenceServiceSpec,
    V1beta1PredictorSpec,
    V1beta1SKLearnSpec,
    constants,
)
from kubernetes import client

kubeconfig, isvc, uri, address = sys.argv[1:]
kserve = KServeClient(config_file=kubeconfig)
limits = client.V1ResourceRequirements(limits={"cpu": "1", "memory": "1Gi"})
kserve.create(
    V1beta1InferenceService(
        api_version=constants.KSERVE_V1BETA1,
        kind=constants.KSERVE_KIND_INFERENCESERVICE,
        metadata=client.V1ObjectMeta(name=isvc, namespace="default"),
        spec=V1beta1InferenceServiceSpec(
            predictor=V1beta1PredictorSpec(min_replicas=1, sklearn=V1beta1SKLearnSpec(resources=limits))
        ),
    )
)
kserve.wait_isvc_ready(isvc, namespace="default", timeout_seconds=60, polling_interval=1)
told = {}
for name, protocol in (("sdk-model1", "v1"), ("sdk-model2", "v2")):
    spec = V1alpha1ModelSpec(storage_uri=uri, memory="256Mi", framework="sklearn")
    kserve.create_trained_model(
        V1alpha1TrainedModel(
            api_version=constants.KSERVE_V1ALPHA1,
            kind=constants.KSERVE_KIND_TRAINEDMODEL,
            metadata=client.V1ObjectMeta(
                name=name, namespace="default", annotations={"zeroflow.dev/trust-pickle": "true"}
            ),
            spec=V1alpha1TrainedModelSpec(inference_service=isvc, model=spec),
        ),
        "default",
    )
    kserve.wait_model_ready(
        isvc,
        name,
        isvc_namespace="default",
        cluster_ip=address,
        protocol_version=protocol,
        timeout_seconds=60,
        polling_interval=1,
    )
    rows = [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]
    answer = requests.post(f"http://{address}/v1/models/{name}:predict", json={"instances": rows}, timeout=30)
    told[name] = answer.json()
kserve.delete_trained_model("sdk-model1", namespace="default")
print(json.dumps(told))
