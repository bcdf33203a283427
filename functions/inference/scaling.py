"""How many replicas a component has; where a Deployment, an HPA or KEDA is asked for, the nearest that Knative has.

Everything runs as a Knative Service here, scaled by concurrency or requests per second. What KServe's Standard mode
would do otherwise is not refused, since the model is served all the same; the status says it (`Adapted`). Replicas keep
Standard's bounds - one at least unless 0 is asked for, a fixed number unless `maxReplicas` is given - and between them
concurrency decides instead of CPU, memory or an external metric. Whoever sets `autoscaling.knative.dev/class` himself
speaks to Knative, which gets metric and target as they are.

Source: KServe v1beta1 API (ComponentExtensionSpec, AutoScalingSpec), pkg/constants, reconcilers hpa and keda.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from zeroflow.functions.inference import names
from zeroflow.functions.inference.refusal import Refused

KNATIVE_MODES, STANDARD_MODES = ("Serverless", "Knative"), ("Standard", "RawDeployment")
REQUEST_METRICS, POD_METRICS = ("concurrency", "rps"), ("cpu", "memory")
FIELDS = ("minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "scaleMetricType", "autoScaling")
CLASS = "autoscaling.knative.dev/class"


@dataclass(frozen=True)
class Scaling:
    """The replicas of one component."""

    min_replicas: int | None = None
    max_replicas: int | None = None
    target: int | None = None
    metric: str | None = None
    adapted: tuple[str, ...] = ()
    """What is done otherwise than it was asked for, in words."""


def is_standard(annotations: Mapping[str, str]) -> bool:
    """Say whether a Deployment is asked for; raise Refused for a mode that is not known."""
    mode = annotations.get(names.DEPLOYMENT_MODE, KNATIVE_MODES[0])
    if mode not in (*KNATIVE_MODES, *STANDARD_MODES):
        raise Refused(
            "UnsupportedDeploymentMode",
            f"annotation {names.DEPLOYMENT_MODE}: {mode} is not supported; predictors run as Knative Services",
        )
    return mode in STANDARD_MODES


def scaling(kind: str, declared: Mapping[str, Any], annotations: Mapping[str, str]) -> Scaling:
    """Read how a component scales; raise Refused for a value that makes no sense."""
    place, scaler = f"spec.{kind}", annotations.get(names.AUTOSCALER_CLASS)
    least = whole(place, declared, "minReplicas", 0)
    most = whole(place, declared, "maxReplicas", 0) or None  # 0 sets no limit
    target = whole(place, declared, "scaleTarget", 1)
    wanted = list(_metrics(place, declared, annotations))
    if is_standard(annotations):
        least = 1 if least is None else least
        most = most if scaler == "external" else max(least, 1, (most or 0) if scaler != "none" else 0)
    if {**annotations, **(declared.get("annotations") or {})}.get(CLASS) is not None:
        return Scaling(least, most, target, wanted[0] if wanted else None)
    others = [metric for metric in wanted if metric not in REQUEST_METRICS]
    if not wanted and is_standard(annotations) and scaler != "external":
        others = ["cpu"]  # what Standard goes by unless told
    adapted = [f"{kind}: autoscalerClass external has no Deployment to scale here"] if scaler == "external" else []
    if not others:
        return Scaling(least, most, target, wanted[0] if wanted else None, tuple(adapted))
    if most != (least or 1):  # more than one may run
        bounds = f"{least or 0} to {most} replicas" if most else f"{least or 0} or more replicas"
        adapted.append(f"{kind}: {bounds}, by concurrency instead of {', '.join(others)}")
    return Scaling(least, most, adapted=tuple(adapted))


def whole(place: str, declared: Mapping[str, Any], name: str, least: int, most: int | None = None) -> int | None:
    """Return a field that is a whole number within bounds, None when it is absent; raise Refused."""
    value = declared.get(name)
    if value is None:
        return None
    if type(value) is not int or value < least or (most is not None and value > most):
        accepted = f"{least} to {most}" if most is not None else f"{least} or more"
        raise Refused.field(f"{place}.{name}", f"must be {accepted}, got {value!r}")
    return value


def _metrics(place: str, declared: Mapping[str, Any], annotations: Mapping[str, str]) -> Iterator[str]:
    """Yield what replicas are to be scaled by, the one that counts first."""
    metric = declared.get("scaleMetric")
    if metric not in (None, *REQUEST_METRICS, *POD_METRICS):
        known = ", ".join((*POD_METRICS, *REQUEST_METRICS))
        raise Refused.field(f"{place}.scaleMetric", f"is {metric!r}, supported are {known}")
    given = (declared.get("autoScaling") or {}) if isinstance(declared.get("autoScaling"), dict | None) else None
    metrics = given.get("metrics") or [] if given is not None else None
    if not isinstance(metrics, list) or not all(isinstance(each, dict) for each in metrics):
        raise Refused.field(f"{place}.autoScaling", "must be an object with a list of metrics")
    if metric is not None:
        yield metric
    for each in metrics:
        resource = (each.get("resource") or {}).get("name")
        yield str(resource) if each.get("type") == "Resource" and resource else f"an {each.get('type')} metric"
    if metric is None and not metrics and (annotated := annotations.get(names.METRIC)):
        yield annotated
