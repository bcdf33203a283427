"""What an InferenceService asks for, read from its spec and annotations.

A field that this release does not honour is refused by name; none is ignored in silence.
Source: KServe v1beta1 API (InferenceServiceSpec), pkg/constants (annotations).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zeroflow.functions.inference import collocation, names
from zeroflow.functions.inference.component import Component, parse_component
from zeroflow.functions.inference.modelspec import Model, parse_model
from zeroflow.functions.inference.refusal import Refused
from zeroflow.functions.inference.scaling import is_standard
from zeroflow.inference import services
from zeroflow.models.trust import TRUST_ANNOTATION


@dataclass(frozen=True)
class Declared:
    """An InferenceService as it is declared."""

    predictor: Component
    model: Model | None
    """None when the predictor is the user's own container."""
    transformer: Component | None = None
    explainer: Component | None = None
    art: Mapping[str, Any] | None = None
    """spec.explainer.art, where the explainer is KServe's."""
    model_version: str | None = None
    trusts_pickle: bool = False
    compiling: bool = True
    multi_model: bool = False
    standard: bool = False
    """Whether a Deployment is asked for, instead of a Knative Service."""
    apart: tuple[str, ...] = ()
    """What is said of a transformer that was taken out of the predictor's pod."""

    @property
    def adapted(self) -> tuple[str, ...]:
        """What is done otherwise than it was asked for, in words."""
        mode = ("runs as a Knative Service, not as a Deployment",) if self.standard else ()
        return (*mode, *self.apart, *(said for each in self.components for said in each.adapted))

    def unheeded(self, own_predictor: bool) -> tuple[str, ...]:
        """Return what only our predictor does and another container is asked to do, in words."""
        others = self.components[1:] if own_predictor else self.components
        given = {each.kind: (each.logger and "logger", each.batcher and "batcher") for each in others}
        return tuple(
            f"{kind}: its container is not our predictor, and has no {field}"
            for kind, fields in given.items()
            for field in fields
            if field
        )

    @property
    def components(self) -> tuple[Component, ...]:
        """All components that are asked for, the predictor first."""
        return tuple(each for each in (self.predictor, self.transformer, self.explainer) if each is not None)


def parse_spec(isvc: Mapping[str, Any]) -> Declared:
    """Read an InferenceService; raise Refused naming the first thing that cannot be honoured."""
    annotations: Mapping[str, str] = isvc["metadata"].get("annotations") or {}
    for fault in services.faults(isvc):
        raise Refused("InvalidSpec", fault)
    canary_percent(annotations)
    spec, apart = collocation.taken_apart(isvc["spec"])
    if spec.get("canary"):
        raise Refused.field("spec.canary", "is for RawDeployment; use spec.predictor.canaryTrafficPercent")
    transformer, explainer = spec.get("transformer") or None, spec.get("explainer") or None
    predictor = spec["predictor"]
    return Declared(
        predictor=parse_component("predictor", predictor, ("model", *services.FRAMEWORKS), annotations),
        model=parse_model(predictor),
        transformer=parse_component("transformer", transformer, (), annotations) if transformer else None,
        explainer=parse_component("explainer", explainer, ("art",), annotations) if explainer else None,
        art=(explainer or {}).get("art"),
        model_version=annotations.get(names.MODEL_VERSION),
        trusts_pickle=flag(annotations, TRUST_ANNOTATION, False),
        compiling=flag(annotations, names.COMPILE, True),
        multi_model=flag(annotations, names.MULTI_MODEL, False),
        standard=is_standard(annotations),
        apart=apart,
    )


def canary_percent(annotations: Mapping[str, str]) -> int:
    """Return the share that a newly registered version gets at first."""
    value = annotations.get(names.CANARY_PERCENT, str(names.DEFAULT_CANARY_PERCENT))
    if not value.isdecimal() or int(value) > 100:
        raise Refused("InvalidAnnotation", f"annotation {names.CANARY_PERCENT} must be 0 to 100, got {value!r}")
    return int(value)


def is_stopped(isvc: Mapping[str, Any]) -> bool:
    """Say whether the InferenceService is to keep its object but run nothing."""
    return flag(isvc["metadata"].get("annotations") or {}, names.STOP, False)


def flag(annotations: Mapping[str, str], name: str, default: bool) -> bool:
    """Return what an annotation says; raise Refused for anything but true and false."""
    value = annotations.get(name, str(default).lower())
    if value not in ("true", "false"):
        raise Refused("InvalidAnnotation", f'annotation {name} must be "true" or "false", got {value!r}')
    return value == "true"
