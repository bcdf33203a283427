"""Names, labels and annotations of KServe's contract and of our own. Source: KServe, pkg/constants."""

API_VERSION, KIND = "serving.kserve.io/v1beta1", "InferenceService"
SERVICE_API_VERSION, SERVICE_KIND, REVISION_KIND = "serving.knative.dev/v1", "Service", "Revision"
MAPPING_API_VERSION, MAPPING_KIND = "serving.knative.dev/v1beta1", "DomainMapping"

LABEL = "serving.kserve.io/inferenceservice"
COMPONENT_LABEL = "component"
VISIBILITY_LABEL = "networking.knative.dev/visibility"

STOP = "serving.kserve.io/stop"
TAG_ROUTING = "serving.kserve.io/enable-tag-routing"
DEPLOYMENT_MODE = "serving.kserve.io/deploymentMode"
AUTOSCALER_CLASS, METRIC = "serving.kserve.io/autoscalerClass", "serving.kserve.io/metric"
ROLLOUT_DURATION = "serving.knative.dev/rollout-duration"

REGISTERED_MODEL = "zeroflow.dev/registered-model"
"""The registered model whose newest version this InferenceService serves."""
MODEL_VERSION = "zeroflow.dev/model-version"
"""The version that it serves, or rolls out, now."""
CANARY_PERCENT = "zeroflow.dev/canary-percent"
"""The share of the traffic that a newly registered version gets at first."""
COMPILE = "zeroflow.dev/compile"
"""`false` has the predictor serve the model as it was saved, without the cheaper form that answers the same."""
MULTI_MODEL = "zeroflow.dev/multi-model"
"""`true`: the storageUri is a directory of models, each of which answers under its own name."""
SPEC_SEEN = "zeroflow.dev/spec-seen"
"""On the Knative Service: for which state of the InferenceService its model was inspected."""

RUNTIME_API_VERSION = "serving.kserve.io/v1alpha1"
RUNTIME_KIND, CLUSTER_RUNTIME_KIND = "ServingRuntime", "ClusterServingRuntime"

ROLLOUT = "zeroflow.dev/rollout"
"""`auto`: canaries that decide (canary.policy), with `-steps`, `-metrics`, `-shadow` and others after it."""
OBSERVE = "zeroflow.dev/observe"
"""On the template of a server that is not ours: the InferenceService whose evidence its answers are, told by whoever
passes the requests on."""
TEMPLATE = "zeroflow.dev/template"
"""On the predictor's Knative Service: the hash of what its newest revision runs."""

CONTAINER = "kserve-container"
DEFAULT_CANARY_PERCENT = 20


def service_name(isvc: str, component: str = "predictor") -> str:
    """Return the name of a component's Knative Service."""
    return f"{isvc}-{component}"
