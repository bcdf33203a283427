"""Which ServingRuntime serves a model, chosen as KServe chooses; and whether our own predictor takes its place.

Enabled runtimes - for one model, or for many (`multiModel`) where none is named (modelspec.is_of_many) - whose
supportedModelFormats has the format (and version) with autoSelect, and whose protocolVersions has the protocol: those
of the namespace first, then of the cluster; newest first, then by priority for the format.
`spec.predictor.model.runtime` names one. A runtime with the annotation `zeroflow.dev/served-by: predictor` is served
by our predictor instead of its image: ours, and those of KServe's that it stands in for, where it loads the format.

Source: KServe pkg/apis/serving/v1beta1 (predictor.go, GetSupportingRuntimes), pkg/controller (failure messages).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from zeroflow.errors import NotFound
from zeroflow.functions.inference import names
from zeroflow.functions.inference.modelspec import Model
from zeroflow.functions.inference.refusal import Refused
from zeroflow.models import formats
from zeroflow.resources.client import Resources

Object = dict[str, Any]

SERVED_BY = "zeroflow.dev/served-by"
OWN_NAME = "zeroflow-predictor"
OWN_NAME_OF_MANY = "zeroflow-predictor-of-many"
OWN_PRIORITY = 10
VERSIONS = {"sklearn": ("0", "1"), "xgboost": ("1", "2", "3"), "lightgbm": ("3", "4"), "onnx": ("1",)}
"""The major versions of a format that our predictor serves; any of the others."""
_PLACEHOLDER = re.compile(r"\{\{\s*\.(Name|Labels|Annotations)(?:\.([\w./-]+))?\s*\}\}")


@dataclass(frozen=True)
class Runtime:
    """A runtime that was chosen."""

    name: str
    kind: str
    """ServingRuntime or ClusterServingRuntime."""
    spec: Mapping[str, Any]
    is_own: bool
    """Whether our predictor serves, instead of the runtime's image."""

    @property
    def container(self) -> Mapping[str, Any]:
        """The runtime's container; raise Refused when it has none."""
        containers = self.spec.get("containers") or []
        found = next((each for each in containers if each.get("name") == names.CONTAINER), None)
        if found is None:
            what = "No container configuration found in selected serving runtime"
            raise Refused("InvalidServingRuntime", f"{what}: {self.kind} {self.name} has no {names.CONTAINER}")
        return dict(found)


def own(many: bool = False) -> Object:
    """Return our runtime, for one model or many, as a cluster has it that has none installed."""
    supported = [
        {"name": name, **({"version": version} if version else {}), "autoSelect": True, "priority": OWN_PRIORITY}
        for name in formats.SERVED
        for version in VERSIONS.get(name, (None,))
    ]
    return {
        "metadata": {"name": OWN_NAME_OF_MANY if many else OWN_NAME, "annotations": {SERVED_BY: "predictor"}},
        "kind": "ClusterServingRuntime",
        "spec": {
            **({"multiModel": True} if many else {}),
            "supportedModelFormats": supported,
            "protocolVersions": ["v1", "v2", "grpc-v2"],
            "containers": [{"name": names.CONTAINER, "image": "zeroflow/predictor"}],
        },
    }


def installed(resources: Resources, namespace: str) -> tuple[list[Object], list[Object]]:
    """Return the runtimes of a namespace and those of the cluster; none on a cluster without KServe's."""
    try:
        of_namespace = resources.list(names.RUNTIME_API_VERSION, names.RUNTIME_KIND, namespace)
        return of_namespace, resources.list(names.RUNTIME_API_VERSION, names.CLUSTER_RUNTIME_KIND)
    except NotFound:
        return [], []


def choose(model: Model, of_namespace: Iterable[Object], of_cluster: Iterable[Object]) -> Runtime:
    """Return the runtime that serves the model; raise Refused, in KServe's words, when there is none."""
    cluster = list(of_cluster)
    for name, many in ((OWN_NAME, False), (OWN_NAME_OF_MANY, True)):
        if not any(runtime["metadata"]["name"] == name for runtime in cluster):
            cluster.append(own(many))
    if _means_another_server(model):
        cluster = [runtime for runtime in cluster if runtime["metadata"]["name"] not in (OWN_NAME, OWN_NAME_OF_MANY)]
    groups = (("ServingRuntime", list(of_namespace)), ("ClusterServingRuntime", cluster))
    if model.runtime is not None:
        return _named(model, groups)
    for kind, runtimes in groups:
        fitting = [runtime for runtime in runtimes if _fits(model, runtime)]
        fitting.sort(key=lambda runtime: str(runtime["metadata"].get("creationTimestamp", "")), reverse=True)
        fitting.sort(key=lambda runtime: _priority(model, runtime), reverse=True)
        if fitting:
            return _chosen(model, kind, fitting[0])
    version = f" version {model.format_version}" if model.format_version else ""
    raise Refused(
        "NoSupportingRuntime",
        f"no runtime found to support predictor with model type: {model.format}{version}, protocol {model.protocol} "
        f"({model.place}); our predictor serves {', '.join(formats.SERVED)}",
        failure="NoSupportingRuntime",
    )


def filled(value: Any, isvc: Object) -> Any:
    """Return a runtime's container with KServe's placeholders ({{.Name}}, {{.Labels.x}}) replaced."""
    if isinstance(value, str):
        metadata = isvc["metadata"]

        def replacement(match: re.Match[str]) -> str:
            if match[1] == "Name":
                return str(metadata["name"])
            return str((metadata.get(match[1].lower()) or {}).get(match[2] or "", ""))

        return _PLACEHOLDER.sub(replacement, value)
    if isinstance(value, list):
        return [filled(item, isvc) for item in value]
    if isinstance(value, dict):
        return {name: filled(item, isvc) for name, item in value.items()}
    return value


def _named(model: Model, groups: Iterable[tuple[str, list[Object]]]) -> Runtime:
    found = next(
        ((kind, each) for kind, group in groups for each in group if each["metadata"]["name"] == model.runtime), None
    )
    if found is None:
        raise Refused(
            "RuntimeNotRecognized",
            f"{model.place}.runtime {model.runtime!r} is not known: there is no ServingRuntime or "
            "ClusterServingRuntime of this name",
            failure="RuntimeNotRecognized",
        )
    kind, runtime = found
    if runtime["spec"].get("disabled"):
        raise Refused("RuntimeDisabled", f"specified runtime {model.runtime} is disabled", failure="RuntimeDisabled")
    if bool(runtime["spec"].get("multiModel")) != model.is_of_many:
        if model.is_of_many:
            raise _unfit(model, f"is for one model, and {model.place}.storageUri names none")
        raise _unfit(model, f"is for many models (multiModel), and {model.place} names one")
    if model.protocol_given and not _speaks(model, runtime):
        raise _unfit(model, f"does not support specified protocol version {model.protocol}")
    if not any(_supports(model, entry) for entry in _formats(runtime)):
        known = ", ".join(sorted({str(entry.get("name")) for entry in _formats(runtime)}))
        raise _unfit(model, f"does not support specified framework/version {model.format}; it supports {known}")
    return _chosen(model, kind, runtime)


def _unfit(model: Model, fault: str) -> Refused:
    return Refused("NoSupportingRuntime", f"specified runtime {model.runtime} {fault}", failure="NoSupportingRuntime")


def _chosen(model: Model, kind: str, runtime: Object) -> Runtime:
    stands_in = (runtime["metadata"].get("annotations") or {}).get(SERVED_BY) == "predictor"
    is_own = stands_in and model.format in formats.SERVED and not _means_another_server(model)
    return Runtime(runtime["metadata"]["name"], kind, runtime["spec"], is_own)


def _means_another_server(model: Model) -> bool:
    """Say whether the user speaks to the runtime's own server: its arguments, command, image, or version of it."""
    others = model.own_arguments is None or any(name in model.container for name in ("command", "image"))
    return bool(model.runtime_version) or others


def _fits(model: Model, runtime: Object) -> bool:
    spec = runtime["spec"]
    if spec.get("disabled") or spec.get("workerSpec") or not _speaks(model, runtime):
        return False
    if bool(spec.get("multiModel")) != model.is_of_many:
        return False
    return any(entry.get("autoSelect") and _supports(model, entry) for entry in _formats(runtime))


def _formats(runtime: Object) -> list[Mapping[str, Any]]:
    return list(runtime["spec"].get("supportedModelFormats") or [])


def _speaks(model: Model, runtime: Object) -> bool:
    protocols = runtime["spec"].get("protocolVersions") or []
    return not protocols or model.protocol in protocols


def _supports(model: Model, entry: Mapping[str, Any]) -> bool:
    if entry.get("name") != model.format:
        return False
    supported = entry.get("version")
    if model.format_version is None or supported is None:
        return True
    return model.format_version == supported or model.format_version.startswith(f"{supported}.")


def _priority(model: Model, runtime: Object) -> int:
    """Return the highest priority that the runtime claims for the format."""
    return max(
        (int(entry.get("priority") or 0) for entry in _formats(runtime) if entry.get("name") == model.format), default=0
    )
