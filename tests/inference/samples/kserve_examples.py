"""KServe's own client, unmodified: InferenceServices built from its classes as its end-to-end tests build them.

Prints JSON: for each whether it became ready, what the condition Adapted says, and what it predicted by KServe's own
inference client.
"""

import asyncio
import json
import sys
from urllib.parse import urlsplit

from kserve import (
    InferenceRESTClient,
    KServeClient,
    RESTConfig,
    V1beta1AutoScalingSpec,
    V1beta1Batcher,
    V1beta1InferenceService,
    V1beta1InferenceServiceSpec,
    V1beta1LoggerSpec,
    V1beta1MetricsSpec,
    V1beta1MetricTarget,
    V1beta1ModelFormat,
    V1beta1ModelSpec,
    V1beta1PredictorSpec,
    V1beta1ResourceMetricSource,
    V1beta1SKLearnSpec,
    V1beta1TritonSpec,
    V1beta1XGBoostSpec,
    constants,
)
from kubernetes import client

kubeconfig, sink = sys.argv[1:]
BUCKET = "gs://kfserving-examples/models"
SKLEARN = f"{BUCKET}/sklearn/1.0/model"
MODE, SCALER = "serving.kserve.io/deploymentMode", "serving.kserve.io/autoscalerClass"
SMALL = client.V1ResourceRequirements(
    requests={"cpu": "50m", "memory": "128Mi"}, limits={"cpu": "100m", "memory": "256Mi"}
)
ROWS = [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]
V1 = {"instances": ROWS}
TENSOR = {"name": "input-0", "shape": [2, 4], "datatype": "FP32", "data": ROWS}

memory = V1beta1MetricsSpec(
    type="Resource",
    resource=V1beta1ResourceMetricSource(
        name="memory", target=V1beta1MetricTarget(type="Utilization", average_utilization=50)
    ),
)
probe = client.V1Probe(http_get=client.V1HTTPGetAction(path="/v2/models/by-model/ready", port=8080))


def by_format(name: str, **fields: object) -> V1beta1ModelSpec:
    return V1beta1ModelSpec(model_format=V1beta1ModelFormat(name=name), resources=SMALL, **fields)


WANTED = {
    # name: (annotations, predictor, the model's name, by V2)
    "by-framework": ({}, {"sklearn": V1beta1SKLearnSpec(storage_uri=SKLEARN, resources=SMALL)}, None, False),
    "by-model": (
        {},
        {"model": by_format("sklearn", protocol_version="v2", storage_uri=SKLEARN, readiness_probe=probe)},
        None,
        True,
    ),
    "named": (
        {},
        {"xgboost": V1beta1XGBoostSpec(storage_uri=f"{BUCKET}/xgboost/iris", args=["--model_name", "iris"])},
        "iris",
        False,
    ),
    "leaves": (
        {},
        {
            "model": by_format(
                "lightgbm",
                storage_uri=f"{BUCKET}/lightgbm/iris",
                runtime="kserve-mlserver",
                protocol_version="v2",
            )
        },
        None,
        True,
    ),
    "raw": (
        {MODE: "RawDeployment"},
        {
            "sklearn": V1beta1SKLearnSpec(storage_uri=SKLEARN),
            "scale_metric": "cpu",
            "scale_target": 50,
            "min_replicas": 1,
            "max_replicas": 2,
        },
        None,
        False,
    ),
    "keda": (
        {MODE: "RawDeployment", SCALER: "keda"},
        {
            "sklearn": V1beta1SKLearnSpec(storage_uri=SKLEARN),
            "min_replicas": 1,
            "max_replicas": 5,
            "auto_scaling": V1beta1AutoScalingSpec(metrics=[memory]),
        },
        None,
        False,
    ),
    "logged": (
        {},
        {
            "sklearn": V1beta1SKLearnSpec(storage_uri=SKLEARN),
            "logger": V1beta1LoggerSpec(mode="all", url=sink),
            "batcher": V1beta1Batcher(max_batch_size=32, max_latency=5000),
            "timeout": 60,
        },
        None,
        False,
    ),
    "triton": (
        {},
        {"triton": V1beta1TritonSpec(storage_uri=f"{BUCKET}/triton/simple", runtime_version="23.05-py3")},
        "iris",
        True,
    ),
}

kserve = KServeClient(config_file=kubeconfig)
for name, (annotations, predictor, _, _) in WANTED.items():
    metadata = client.V1ObjectMeta(name=name, namespace="by-class", annotations=annotations)
    spec = V1beta1InferenceServiceSpec(predictor=V1beta1PredictorSpec(**predictor))
    kserve.create(
        V1beta1InferenceService(
            api_version=constants.KSERVE_V1BETA1,
            kind=constants.KSERVE_KIND_INFERENCESERVICE,
            metadata=metadata,
            spec=spec,
        )
    )


async def predicted(url: str, name: str, by_v2: bool) -> object:
    rest = InferenceRESTClient(RESTConfig(protocol="v2" if by_v2 else "v1", timeout=60))
    body = {"inputs": [TENSOR]} if by_v2 else V1
    answer = await rest.infer(url, body, model_name=name, headers={"Host": urlsplit(url).netloc})
    return answer.outputs[0].data if by_v2 else answer["predictions"]


told = {}
for name, (_, _, model, by_v2) in WANTED.items():
    kserve.wait_isvc_ready(name, namespace="by-class", timeout_seconds=120, polling_interval=1)
    status = kserve.get(name, namespace="by-class")["status"]
    said = [each["message"] for each in status["conditions"] if each["type"] == "Adapted"]
    found = asyncio.run(predicted(status["url"], model or name, by_v2))
    told[name] = {"adapted": "".join(said), "predictions": found}
    kserve.delete(name, namespace="by-class")
print(json.dumps(told))
