"""The container of each component: our predictor, a runtime's server, or what the user brings.

Our predictor gets where the model lies, the hash that its bytes must have and whose word that is - and nothing of the
platform but a token that publishes its own observations. A runtime's server and a user's container find the model
below /mnt/models, where an init container puts it. Transformers and explainers are told where the predictor is.

Source: KServe pkg/controller/v1beta1/inferenceservice/components (arguments, merging of containers), pkg/webhook/
admission/pod (storage initializer), explainers (art).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zeroflow.functions.inference import names, runtimes
from zeroflow.functions.inference.canary.policy import policy_of
from zeroflow.functions.inference.component import Component
from zeroflow.functions.inference.location import Location
from zeroflow.functions.inference.modelspec import Model
from zeroflow.functions.inference.rollout import SHADOW
from zeroflow.functions.inference.runtimes import Runtime
from zeroflow.functions.inference.spec import Declared
from zeroflow.functions.inference.stored import MODEL_MOUNT, STORAGE_URI, Stored, root_of
from zeroflow.inference import modelconfig, naming
from zeroflow.models.formats import TRITON, WITH_TORCH
from zeroflow.models.trust import Word
from zeroflow.predictions import tokens

Object = dict[str, Any]

THREADS = 8
WORKER_OPTIONS = ("--worker-class=zeroflow.functions.predictor.worker.QuickWorker", f"--threads={THREADS}")
GUARDED = (
    "STORAGE_EMULATOR_HOST",
    "ZEROFLOW_ALLOW_PRIVATE_HOSTS",
    "ZEROFLOW_HF_MIRROR",
    "ZEROFLOW_MODEL_CACHE",
    "ZEROFLOW_MODEL_SHA256",
    "ZEROFLOW_MODEL_VOUCHED_BY",
    "ZEROFLOW_OCI_MIRROR",
)
"""What is the platform's to say of where models come from and whose bytes are trusted."""
NOT_PASSED = ("name", "args", "env", "envFrom", "ports")
"""What is said of the container of a model and means nothing to our predictor, or is put into it in another way: its
one port speaks HTTP and gRPC, whichever was declared."""
MODEL_VOLUME = "kserve-provision-location"
CONFIG_VOLUME = "model-config"
ART_IMAGE = "kserve/art-explainer:latest"
OF_A_PROCESS = ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES")
"""What OpenTelemetry's variables say of one process, which a predictor says of itself."""
PORT = "$(PORT)"
"""Both hosts replace it in arguments; KServe's fixed 8080 is another process's port on a machine that several share."""


@dataclass(frozen=True)
class Platform:
    """What every predictor of this installation shares."""

    store: str
    """ZEROFLOW_STORE: the local store's directory."""
    domain: str = "localhost"
    """ZEROFLOW_DOMAIN: InferenceServices answer as <name>.<namespace>.<domain>."""
    image: str = "zeroflow/predictor"
    """ZEROFLOW_PREDICTOR_IMAGE: what a cluster runs."""
    torch_image: str = "zeroflow/predictor-torch"
    """ZEROFLOW_PREDICTOR_TORCH_IMAGE: what it runs where a model may need PyTorch."""
    storage: Mapping[str, str] = field(default_factory=dict)
    """Variables of the function's own environment that say where models lie: endpoints, mirrors, caches."""
    trusted: tuple[str, ...] = ()
    """ZEROFLOW_TRUSTED_MODELS: beginnings of locations, by commas, whose pickles the operator vouches for."""
    telemetry: Mapping[str, str] = field(default_factory=dict)
    """OTEL_...: where predictors send the spans of traces."""
    sink: str | None = None
    """K_SINK: the broker that gets what predictors observe."""
    runs_image: Callable[[str], bool] = lambda image: True
    """Whether an image can be run here: on a cluster any, on the embedded host those that something stands for."""
    services: str = "http://{service}.{namespace}.svc.cluster.local"
    """Where one predictor reaches the tag of another revision."""
    token: str | None = field(default=None, repr=False)
    """ZEROFLOW_TOKEN, from which each predictor's own token is derived."""
    is_embedded: bool = False
    """Whether Services are reached through the embedded host, which knows the token and shows it to none of them."""


@dataclass(frozen=True)
class Pod:
    """A container and what else its pod needs."""

    container: Object
    volumes: tuple[Object, ...] = ()
    init: tuple[Object, ...] = ()
    is_own: bool = False


def own_predictor(
    isvc: Object,
    spec: Declared,
    model: Model,
    location: Location,
    word: Word,
    platform: Platform,
    explainer_host: str | None = None,
    reference_name: str | None = None,
) -> Pod:
    """Return our predictor; `explainer_host` is where it sends what it is to explain.

    `reference_name`: the name by which the model answers that a canary's copies are compared with.
    """
    access = location.access
    mounts, volumes = [*access.mounts], [*access.volumes]
    if model.is_of_many:
        mounts.append({"name": CONFIG_VOLUME, "mountPath": modelconfig.DIRECTORY, "readOnly": True})
        volumes.append({"name": CONFIG_VOLUME, "configMap": {"name": modelconfig.name_of(isvc["metadata"]["name"])}})
    container: Object = {
        "image": platform.torch_image if model.is_of_many or model.format in WITH_TORCH else platform.image,
        "command": ["gunicorn"],
        "args": [
            "zeroflow.functions.predictor.handler:create_app()",
            "--workers=1",  # more requests at once: more replicas
            *WORKER_OPTIONS,
            "--timeout=0",  # a large model may load for minutes; Knative's own deadlines apply
        ],
        "readinessProbe": {"httpGet": {"path": "/v2/health/ready"}},
        **{name: value for name, value in model.container.items() if name not in NOT_PASSED},
        "name": names.CONTAINER,
        "env": _own_env(isvc, spec, model, location, word, platform, explainer_host, reference_name),
    }
    if sources := [*access.env_from, *model.container.get("envFrom", ())]:
        container["envFrom"] = sources
        container["env"] = _guarded(container["env"])
    if mounts:
        container["volumeMounts"] = [*mounts, *container.get("volumeMounts", ())]
    return Pod(container, tuple(volumes), is_own=True)


def runtime_server(isvc: Object, model: Model, runtime: Runtime) -> Pod:
    """Return the server of a runtime, with what the user says of it merged in as KServe does, still without a model."""
    given, container = model.container, runtimes.filled(runtime.container, isvc)
    merged = {**container, **{name: value for name, value in given.items() if name not in ("name", "env", "args")}}
    merged["args"] = [*(container.get("args") or []), *(given.get("args") or [])]
    if not given.get("image"):
        merged["image"] = runtimes.image_of(model, container)
    if env := _merged_env(container.get("env") or [], given.get("env") or []):
        merged["env"] = env
    return Pod(merged, tuple(runtime.spec.get("volumes") or ()))


def custom(component: Component, model_name: str, predictor_host: str | None) -> Pod:
    """Return the user's own container; a transformer or explainer is told its model and where the predictor is."""
    container = {"name": names.CONTAINER, **component.containers[0]}
    if component.kind != "predictor":
        container["args"] = _told(list(container.get("args") or []), model_name, predictor_host)
    return Pod(container)


def art(component: Component, declared: Mapping[str, Any], model_name: str, predictor_host: str | None) -> Pod:
    """Return KServe's ART explainer."""
    args = _told([], model_name, predictor_host)
    if component.container_concurrency:
        args += ["--workers", str(component.container_concurrency)]
    if declared.get("storageUri"):
        args += ["--storage_uri", MODEL_MOUNT]
    args += ["--adversary_type", str(declared.get("type", ""))]
    for name, value in sorted((declared.get("config") or {}).items()):
        args += [f"--{name}", str(value)]
    image = ART_IMAGE
    if version := declared.get("runtimeVersion"):
        image = f"{ART_IMAGE.rpartition(':')[0]}:{version}"
    passed = {name: declared[name] for name in ("env", "resources", "image") if declared.get(name)}
    return Pod({"name": names.CONTAINER, "image": image, "args": args, **passed})


def with_models(pod: Pod, found: Sequence[tuple[Stored, Location]], platform: Platform) -> Pod:
    """Return the pod with the bytes of locations below their paths, put there before the container starts."""
    root = root_of(tuple(stored for stored, _ in found))
    mounted = [mount for mount in pod.container.get("volumeMounts") or () if mount.get("mountPath") != root]
    place = {"name": MODEL_VOLUME, "mountPath": root}
    own = [
        *({"name": name, "value": value} for name, value in platform.storage.items()),
        {"name": "ZEROFLOW_STORE", "value": platform.store},
    ]
    inits = []
    for number, (stored, location) in enumerate(found):
        access = location.access
        initializer: Object = {
            "name": "storage-initializer" + (f"-{number}" if number else ""),
            "image": platform.image,
            "command": ["python", "-m", "zeroflow.artifacts.initializer"],
            "args": [location.uri, stored.path],
            "env": [*own, *access.env],
            "volumeMounts": [place, *access.mounts],
        }
        if access.env_from:
            initializer |= {"envFrom": access.env_from, "env": _guarded(initializer["env"])}
        inits.append(initializer)
    volumes = {each["name"]: each for _, location in found for each in location.access.volumes}
    container = {**pod.container, "volumeMounts": [{**place, "readOnly": True}, *mounted]}
    if variables := container.get("env"):
        container["env"] = [
            {"name": STORAGE_URI, "value": MODEL_MOUNT} if each.get("name") == STORAGE_URI else each
            for each in variables
        ]
    return Pod(
        container=container,
        volumes=(*pod.volumes, {"name": MODEL_VOLUME, "emptyDir": {}}, *volumes.values()),
        init=(*pod.init, *inits),
    )


def telemetry_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Return OpenTelemetry's variables without headers, which hold keys: those a predictor gets from a Secret."""
    given = {name: value for name, value in environment.items() if name.startswith("OTEL_")}
    return {name: value for name, value in given.items() if not name.endswith("HEADERS") and name not in OF_A_PROCESS}


def _told(args: list[str], model_name: str, predictor_host: str | None) -> list[str]:
    for name, value in (("--model_name", model_name), ("--predictor_host", predictor_host), ("--http_port", PORT)):
        if value is not None and not any(word == name or word.startswith(f"{name}=") for word in args):
            args += [name, value]
    return args


def _guarded(env: list[Object]) -> list[Object]:
    """Return variables that nothing a user brings by envFrom can say in the platform's place."""
    named = {variable["name"] for variable in env}
    return [*env, *({"name": name, "value": ""} for name in GUARDED if name not in named)]


def _merged_env(of_runtime: list[Object], of_user: list[Object]) -> list[Object]:
    names_given = {variable.get("name") for variable in of_user}
    return [*(variable for variable in of_runtime if variable.get("name") not in names_given), *of_user]


def _own_env(
    isvc: Object,
    spec: Declared,
    model: Model,
    location: Location,
    word: Word,
    platform: Platform,
    explainer_host: str | None,
    reference_name: str | None,
) -> list[Object]:
    own = {
        "MODEL_NAME": naming.predictor_name(isvc),
        "STORAGE_URI": location.uri,
        "MODEL_FORMAT": None if model.is_of_many else model.format,
        "ZEROFLOW_TRAINED_MODELS": f"{modelconfig.DIRECTORY}/{modelconfig.FILE}" if model.is_of_many else None,
        "ZEROFLOW_MULTI_MODEL": "true" if spec.multi_model or model.format == TRITON else None,
        "MODEL_VERSION": spec.model_version,
        "PROTOCOL": model.protocol,
        "ZEROFLOW_STORE": platform.store,
        "ZEROFLOW_MODEL_SHA256": word.sha256,
        "ZEROFLOW_MODEL_VOUCHED_BY": word.by,
        "ZEROFLOW_COMPILE": None if spec.compiling else "false",
        "OMP_NUM_THREADS": "1",  # a row is too little work for two threads: they double its time and triple its p99
        "ZEROFLOW_LOGGER": _logger(isvc, spec.predictor),
        "ZEROFLOW_TEXT_OPTIONS": json.dumps(dict(model.arguments.options), sort_keys=True)
        if model.arguments.options
        else None,
        "ZEROFLOW_BATCHER": json.dumps(dict(spec.predictor.batcher)) if spec.predictor.batcher else None,
        "ZEROFLOW_OBSERVED": _observed(isvc, platform, reference_name),
        "EXPLAINER_HOST": explainer_host,
        **platform.telemetry,
        **(platform.storage if model.is_of_many else _storage(location, platform)),
    }
    given = {variable["name"] for variable in (*location.access.env, *model.container.get("env", ()))}
    set_here = [{"name": name, "value": value} for name, value in own.items() if value and name not in given]
    return [*set_here, *location.access.env, *model.container.get("env", ())]


def _storage(location: Location, platform: Platform) -> Mapping[str, str]:
    """Return what the platform says of a kind of location, for its predictors alone, and where all keep what lasts."""
    scheme = location.uri.partition("://")[0]
    prefixes = {
        "s3": ("AWS_", "S3_"),
        "gs": ("STORAGE_EMULATOR_HOST", "ZEROFLOW_MODEL_"),
        "hf": ("ZEROFLOW_HF_", "HF_", "ZEROFLOW_ALLOW_"),
        "oci": ("ZEROFLOW_OCI_",),
        "http": ("ZEROFLOW_ALLOW_",),
        "https": ("ZEROFLOW_ALLOW_",),
    }.get(scheme, ())
    wanted = (*prefixes, "ZEROFLOW_MODEL_CACHE")
    return {name: value for name, value in platform.storage.items() if name.startswith(wanted)}


def _logger(isvc: Object, component: Component) -> str | None:
    if component.logger is None:
        return None
    annotations = isvc["metadata"].get("annotations") or {}
    chosen = component.logger.get("metadataAnnotations") or []
    return json.dumps(
        {
            **component.logger,
            "metadataAnnotations": {name: annotations[name] for name in chosen if name in annotations},
            "inferenceservice": isvc["metadata"]["name"],
            "namespace": isvc["metadata"]["namespace"],
            "component": component.kind,
        },
        sort_keys=True,
    )


def _observed(isvc: Object, platform: Platform, reference_name: str | None) -> str | None:
    """Return where, and with which token of its own, the predictor tells how it answers."""
    if platform.sink is None or platform.token is None:
        return None
    namespace, name = isvc["metadata"]["namespace"], isvc["metadata"]["name"]
    token = tokens.issue(platform.token, namespace, name)
    said: Object = {"sink": platform.sink, "token": token, "namespace": namespace, "inferenceservice": name}
    annotations = isvc["metadata"].get("annotations") or {}
    if (policy := policy_of(annotations)) is not None and policy.needs_labels:
        said["predictions"] = True
    if annotations.get(f"{names.ROLLOUT}-shadow") == "true":
        service = f"{SHADOW}-{names.service_name(name)}"
        said["shadow"] = platform.services.format(namespace=namespace, service=service)
        if policy is not None and policy.reference is not None:
            place = platform.services.format(namespace=namespace, service=names.service_name(policy.reference))
            said["reference"] = {"url": place, "model": reference_name or policy.reference}
    return json.dumps(said, sort_keys=True)
