"""The model of a predictor: its format, where it lies, by which protocol it answers, which runtime is asked for.

A legacy framework field is the same said in another way: it is rewritten as KServe's defaulting webhook does.
Source: KServe v1beta1 API (ModelSpec, PredictorExtensionSpec) and its defaults (protocol v2 for onnx, triton and
huggingface, else v1).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.functions.inference import arguments
from zeroflow.functions.inference.arguments import Arguments
from zeroflow.functions.inference.refusal import Refused
from zeroflow.functions.inference.stored import MODEL_MOUNT, Stored, stored
from zeroflow.inference.services import FRAMEWORKS
from zeroflow.models.huggingface.options import TextOptions

CONTAINER_FIELDS = (
    "args",
    "command",
    "env",
    "envFrom",
    "image",
    "imagePullPolicy",
    "livenessProbe",
    "name",
    "ports",
    "readinessProbe",
    "resources",
    "securityContext",
    "startupProbe",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "volumeMounts",
    "workingDir",
)
MODEL_FIELDS = ("modelFormat", "storageUri", "storage", "protocolVersion", "runtime", "runtimeVersion")
STORAGE_FIELDS = ("key", "path", "parameters", "schemaPath")
RESERVED_ENV = (
    "MODEL_NAME",
    "STORAGE_URI",
    "MODEL_FORMAT",
    "MODEL_VERSION",
    "PROTOCOL",
    "PORT",
    "STORAGE_EMULATOR_HOST",  # a private address that is trusted: the operator's to say
)


@dataclass(frozen=True)
class Model:
    """A model that is to be served."""

    place: str
    """Where it is declared: spec.predictor.model, spec.predictor.sklearn, ..."""
    format: str
    format_version: str | None
    protocol: str
    protocol_given: bool
    storage_uri: str | None
    storage: Mapping[str, Any] | None
    """`storage` as declared: key, path, parameters."""
    runtime: str | None
    runtime_version: str | None
    container: Mapping[str, Any] = field(default_factory=dict)
    """What the user says of the container, CONTAINER_FIELDS only."""
    from_hub: bool = False
    """Whether its location is what an argument names (`--model_id`): KServe's own server fetches it itself."""
    several: tuple[Stored, ...] = ()
    """Its locations, where there are several or one that is not put at /mnt/models."""
    arguments: Arguments = field(default_factory=Arguments)
    """What the container's `args` are to our predictor."""

    @property
    def is_of_many(self) -> bool:
        """Whether it names no model: those of the TrainedModels that name its InferenceService are served instead.

        KServe's IsMMSPredictor; a Hugging Face model of the hub is named by an argument.
        """
        named = self.storage_uri is not None or self.storage is not None or bool(self.several)
        return not named and self.format != "huggingface"


def parse_model(predictor: Mapping[str, Any]) -> Model | None:
    """Read the model; None for a predictor of the user's own containers. Raise Refused for what is not honoured."""
    given = [name for name in ("model", *FRAMEWORKS) if predictor.get(name) is not None]
    if not given:
        return None
    if predictor.get("containers"):
        raise Refused.field(
            "spec.predictor.containers",
            "is not supported beside a model: a container that stands before the model goes into "
            "spec.transformer.containers, one that serves it alone into spec.predictor.containers without the model",
        )
    field_name = given[0]
    place, declared = f"spec.predictor.{field_name}", predictor[field_name]
    for name, value in declared.items():
        if name not in (*MODEL_FIELDS, *CONTAINER_FIELDS) and value not in (None, {}, [], False):
            raise Refused.field(f"{place}.{name}", "is not supported")
    model_format = declared.get("modelFormat") or {} if field_name == "model" else {"name": field_name}
    if not isinstance(model_format.get("name"), str):
        raise Refused.field(f"{place}.modelFormat.name", "is missing")
    protocol = declared.get("protocolVersion")
    version = model_format.get("version")
    listed = stored("spec.predictor", {"storageUris": predictor.get("storageUris")})
    if listed and (declared.get("storageUri") or declared.get("storage")):
        raise Refused.field("spec.predictor.storageUris", f"and {place}.storageUri exclude each other")
    uri = declared.get("storageUri") or (listed[0].uri if listed else None)
    said = arguments.parse(declared.get("args"), model_format["name"])
    try:
        TextOptions.of(said.options)
    except InvalidInput as error:
        raise Refused.field(f"{place}.args", str(error)) from error
    from_hub = uri is None and not declared.get("storage") and model_format["name"] == "huggingface"
    return Model(
        place=place,
        format=model_format["name"],
        format_version=None if version is None else str(version),
        protocol=protocol or ("v2" if field_name in ("onnx", "triton", "huggingface") else "v1"),
        protocol_given=protocol is not None,
        storage_uri=said.hub_uri if from_hub else uri,
        from_hub=from_hub,
        several=() if [each.path for each in listed] == [MODEL_MOUNT] else listed,
        storage=_storage(f"{place}.storage", declared.get("storage")),
        runtime=declared.get("runtime") or None,
        runtime_version=declared.get("runtimeVersion") or None,
        container=_container(place, declared),
        arguments=said,
    )


def model_place(isvc: Mapping[str, Any]) -> str:
    """Return the key below spec.predictor that holds the model: `model`, or the field of a framework."""
    predictor = (isvc.get("spec") or {}).get("predictor") or {}
    return next((name for name in ("model", *FRAMEWORKS) if predictor.get(name) is not None), "model")


def _storage(place: str, storage: Any) -> Mapping[str, Any] | None:
    if storage is None:
        return None
    if not isinstance(storage, dict) or not set(storage) <= set(STORAGE_FIELDS):
        raise Refused.field(place, f"must be an object of {', '.join(STORAGE_FIELDS)}")
    if storage.get("schemaPath"):
        raise Refused.field(f"{place}.schemaPath", "is not supported")
    return storage


def _container(place: str, declared: Mapping[str, Any]) -> Mapping[str, Any]:
    container = {name: declared[name] for name in CONTAINER_FIELDS if declared.get(name) not in (None, {}, [], "")}
    for variable in container.get("env") or ():
        name = variable.get("name", "") if isinstance(variable, dict) else ""
        if not name:
            raise Refused.field(f"{place}.env", "must be a list of variables with a name")
        if name in RESERVED_ENV or name.startswith(("ZEROFLOW_", "K_")):
            raise Refused.field(f"{place}.env", f"sets {name}, which the platform sets")
    return container
