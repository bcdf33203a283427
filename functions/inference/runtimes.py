"""Which ServingRuntime serves a model, chosen as KServe chooses; and whether our own predictor takes its place.

Enabled runtimes - for one model, or for many (`multiModel`) where none is named (modelspec.is_of_many) - whose
supportedModelFormats has the format (and version) with autoSelect, and whose protocolVersions has the protocol: those
of the namespace first, then of the cluster; newest first, then by priority for the format.
`spec.predictor.model.runtime` names one. A runtime with the annotation `zeroflow.dev/served-by: predictor` is served
by our predictor instead of its image: ours, and those of KServe's that it stands in for, where it loads the format.
Whoever names the image, its command, or an argument that only that server
knows, means that very server; whoever names its version, or tunes it, means it where images run, and is told
(`Runtime.adapted`) where they do not.

Source: KServe pkg/apis/serving/v1beta1 (predictor.go, GetSupportingRuntimes), pkg/controller (failure messages).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
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
TRITON_PROGRAM = "tritonserver"
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
    adapted: tuple[str, ...] = ()
    """What of the server that was meant does not hold for our predictor, in words."""

    @property
    def is_triton(self) -> bool:
        """Whether its server is Triton, for which a location is a repository of models, whatever their format."""
        container = self.container
        return TRITON_PROGRAM in (*(container.get("command") or ()), *(container.get("args") or ()))

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
        for name in formats.LOADED
        if not (many and name == formats.TRITON)  # which is several models in itself
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


def choose(
    model: Model,
    of_namespace: Iterable[Object],
    of_cluster: Iterable[Object],
    runs_image: Callable[[str], bool] = lambda image: True,
) -> Runtime:
    """Return the runtime that serves the model; raise Refused, in KServe's words, when there is none.

    `runs_image` says whether an image can be run here.
    """
    cluster = list(of_cluster)
    for name, many in ((OWN_NAME, False), (OWN_NAME_OF_MANY, True)):
        if not any(runtime["metadata"]["name"] == name for runtime in cluster):
            cluster.append(own(many))
    if _means_another_server(model) or _tells_server(model):
        cluster = [runtime for runtime in cluster if runtime["metadata"]["name"] not in (OWN_NAME, OWN_NAME_OF_MANY)]
    groups = (("ServingRuntime", list(of_namespace)), ("ClusterServingRuntime", cluster))
    if model.runtime is not None:
        return _named(model, groups, runs_image)
    # KServe's default is v1, also for formats whose servers speak nothing but v2: nobody is served by that
    for asked in (model, *(() if model.protocol_given else (replace(model, protocol="v2"),))):
        for kind, runtimes in groups:
            fitting = [runtime for runtime in runtimes if _fits(asked, runtime)]
            fitting.sort(key=lambda runtime: str(runtime["metadata"].get("creationTimestamp", "")), reverse=True)
            fitting.sort(key=lambda runtime: _priority(asked, runtime), reverse=True)
            if fitting:
                return _chosen(model, kind, fitting[0], runs_image)
    version = f" version {model.format_version}" if model.format_version else ""
    raise Refused(
        "NoSupportingRuntime",
        f"no runtime found to support predictor with model type: {model.format}{version}, protocol {model.protocol} "
        f"({model.place}); our predictor serves {', '.join(formats.LOADED)}",
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


def _named(model: Model, groups: Iterable[tuple[str, list[Object]]], runs_image: Callable[[str], bool]) -> Runtime:
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
    return _chosen(model, kind, runtime, runs_image)


def _unfit(model: Model, fault: str) -> Refused:
    return Refused("NoSupportingRuntime", f"specified runtime {model.runtime} {fault}", failure="NoSupportingRuntime")


def image_of(model: Model, container: Mapping[str, Any]) -> str:
    """Return the image of a runtime's container, in the version that is asked for."""
    image = str(container.get("image", ""))
    if not model.runtime_version:
        return image
    return f"{image.rpartition(':')[0] or image}:{model.runtime_version}"


def _chosen(model: Model, kind: str, runtime: Object, runs_image: Callable[[str], bool]) -> Runtime:
    stands_in = (runtime["metadata"].get("annotations") or {}).get(SERVED_BY) == "predictor"
    found = Runtime(runtime["metadata"]["name"], kind, runtime["spec"], False)
    if not stands_in or model.format not in formats.LOADED or _means_another_server(model):
        return found
    said = _tells_server(model)
    if not said:
        return replace(found, is_own=True)
    image = image_of(model, found.container)
    if runs_image(image):
        return found
    instead = f"served by zeroflow-predictor: image {image} cannot be run here"
    return replace(found, is_own=True, adapted=(f"{instead}; not heeded: {', '.join(said)}",))


def _means_another_server(model: Model) -> bool:
    """Say whether only the runtime's own server can do what is asked: an argument of its own, a command, an image."""
    return bool(model.arguments.others) or any(name in model.container for name in ("command", "image"))


def _tells_server(model: Model) -> list[str]:
    """Return what is said to the runtime's server that no answer depends on: its version, how it is tuned."""
    version = [f"runtimeVersion {model.runtime_version}"] if model.runtime_version else []
    return [*version, *model.arguments.tuning]


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
