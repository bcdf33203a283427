"""What a predictor reads from its environment; the inference function writes it into the Knative Service."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from zeroflow.errors import InvalidInput
from zeroflow.models.huggingface.options import TextOptions

MAX_BODY_BYTES = 64 << 20
MAX_WAITING = 1000
BATCH_ROWS = 32
MODES = ("all", "request", "response")


@dataclass(frozen=True)
class Identity:
    """Whose predictor this process is."""

    inferenceservice: str
    namespace: str
    revision: str
    component: str = "predictor"
    pod: str = "localhost"


@dataclass(frozen=True)
class Reference:
    """Another InferenceService, whose predictor's answers a canary is compared with."""

    url: str
    model: str


@dataclass(frozen=True)
class Observed:
    """Who is told how this predictor answers."""

    sink: str
    """URL of the broker."""
    token: str | None = field(default=None, repr=False)
    """What lets a predictor publish there (zeroflow.predictions.tokens)."""
    shadow: str | None = None
    """URL at which a canary answers while it is only looked at; 404 otherwise."""
    reference: Reference | None = None
    """Who is asked the same for comparison; None: the canary is compared with the answer that the caller got."""
    predictions: bool = False
    """Whether they are told what was predicted for each request, so that labels can be joined with it."""


@dataclass(frozen=True)
class LoggerSettings:
    """What an InferenceService's `logger` says."""

    url: str
    mode: str = "all"
    headers: tuple[str, ...] = ()
    """Request headers, in lower case, that the events' `metadata` holds."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    source: str | None = None
    endpoint: str = "default"


@dataclass(frozen=True)
class PredictorSettings:
    """One predictor: which model, from where, on whose word."""

    model_name: str
    """MODEL_NAME: the name in the protocols' paths."""
    storage_uri: str
    """STORAGE_URI: where the model lies; "" where a file names the models."""
    store: Path
    """ZEROFLOW_STORE: the directory behind store://<bucket>/<key>."""
    model_format: str | None = None
    """MODEL_FORMAT: what the model must be (KServe's modelFormat.name); None takes what is found."""
    model_version: str | None = None
    """MODEL_VERSION: the registered version, where there is one."""
    sha256: str | None = None
    """ZEROFLOW_MODEL_SHA256: the hash that the model's bytes must have."""
    vouched_by: str | None = None
    """ZEROFLOW_MODEL_VOUCHED_BY: who vouches for those bytes; without it a pickle is not loaded."""
    probabilities: bool = False
    """PREDICT_PROBA: V1 answers class probabilities instead of classes, as KServe's sklearn server does."""
    revision: str | None = None
    """K_REVISION: sent with every answer, so that callers can tell versions apart."""
    s3_endpoint: str | None = None
    """AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL: an S3-compatible server other than AWS's."""
    scratch: Path = Path(tempfile.gettempdir())
    """ZEROFLOW_SCRATCH: where the model is copied to before it is approved and loaded."""
    compiling: bool = True
    """ZEROFLOW_COMPILE: serve a cheaper form of the model where one answers the same."""
    cache: Path | None = None
    """ZEROFLOW_MODEL_CACHE: below it `compiled` (which models were compiled, so that the next start needs less) and
    `repository` (what the processes of a revision agree on, siblings.py)."""
    max_body_bytes: int = MAX_BODY_BYTES
    """ZEROFLOW_MAX_BODY_BYTES: a larger request body is refused (413)."""
    max_waiting: int = MAX_WAITING
    """ZEROFLOW_MAX_WAITING: so many requests may wait for a thread; further ones get 503 and Retry-After."""
    multi_model: bool = False
    """ZEROFLOW_MULTI_MODEL: STORAGE_URI is a directory of models, each in a directory of its own name."""
    trained_models: Path | None = None
    """ZEROFLOW_TRAINED_MODELS: the file that names the models, and goes on to (zeroflow.inference.modelconfig)."""
    identity: Identity = field(default_factory=lambda: Identity("", "", ""))
    """Whose predictor this is: K_REVISION, HOSTNAME, and what ZEROFLOW_OBSERVED and ZEROFLOW_LOGGER say."""
    observed: Observed | None = None
    """ZEROFLOW_OBSERVED: JSON {"sink", "token", "inferenceservice", "namespace", "shadow", "reference", "predictions"};
    who is told of answers."""
    logger: LoggerSettings | None = None
    """ZEROFLOW_LOGGER: JSON with KServe's fields (url, mode, metadataHeaders, metadataAnnotations as an object) and
    inferenceservice, namespace, component, endpoint, source."""
    openai_prefix: str = "/openai"
    """KSERVE_OPENAI_ROUTE_PREFIX: what the paths of OpenAI's API begin with."""
    batch_rows: int | None = None
    """ZEROFLOW_BATCHER: JSON with KServe's fields; its maxBatchSize, in rows. None joins no requests."""
    texts: TextOptions = field(default_factory=TextOptions)
    """ZEROFLOW_TEXT_OPTIONS: JSON with arguments of KServe's Hugging Face server (models.huggingface.options)."""
    traced: bool = False
    """OTEL_EXPORTER_OTLP_ENDPOINT (or ..._TRACES_ENDPOINT) is set, OTEL_TRACES_EXPORTER names no other, and
    OTEL_SDK_DISABLED is not true: spans are sent there."""
    explainer: str | None = None
    """EXPLAINER_HOST: host[:port][/path] of the explainer that V1's explain is sent to."""

    @property
    def memory(self) -> Path | None:
        """Where compiled models are remembered."""
        return self.cache / "compiled" if self.cache else None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "PredictorSettings":
        """Build the settings; a missing or malformed variable raises InvalidInput naming it."""
        env = os.environ if environment is None else environment
        for name in ("MODEL_NAME", "STORAGE_URI"):
            if not env.get(name) and not (name == "STORAGE_URI" and env.get("ZEROFLOW_TRAINED_MODELS")):
                raise InvalidInput(f"{name} must be set: the predictor serves the model that it names")
        store = env.get("ZEROFLOW_STORE") or "/nonexistent"
        if not os.path.isabs(store):
            raise InvalidInput(f"ZEROFLOW_STORE must be the absolute path of a directory, got {store!r}")
        limit = _number(env, "ZEROFLOW_MAX_BODY_BYTES", MAX_BODY_BYTES)
        return cls(
            model_name=env["MODEL_NAME"],
            storage_uri=env.get("STORAGE_URI") or "",
            store=Path(store),
            model_format=env.get("MODEL_FORMAT") or None,
            model_version=env.get("MODEL_VERSION") or None,
            sha256=env.get("ZEROFLOW_MODEL_SHA256") or None,
            vouched_by=env.get("ZEROFLOW_MODEL_VOUCHED_BY") or None,
            probabilities=_flag(env, "PREDICT_PROBA", False),
            revision=env.get("K_REVISION") or None,
            s3_endpoint=env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL") or None,
            scratch=Path(env.get("ZEROFLOW_SCRATCH") or tempfile.gettempdir()),
            compiling=_flag(env, "ZEROFLOW_COMPILE", True),
            cache=Path(env["ZEROFLOW_MODEL_CACHE"]) if env.get("ZEROFLOW_MODEL_CACHE") else None,
            max_body_bytes=limit,
            max_waiting=_number(env, "ZEROFLOW_MAX_WAITING", MAX_WAITING),
            multi_model=_flag(env, "ZEROFLOW_MULTI_MODEL", False),
            trained_models=Path(env["ZEROFLOW_TRAINED_MODELS"]) if env.get("ZEROFLOW_TRAINED_MODELS") else None,
            identity=_identity(env),
            observed=_observed(env),
            logger=_logger(env),
            openai_prefix=_prefix(env),
            batch_rows=_batch_rows(env),
            texts=_texts(env),
            traced=_is_traced(env),
            explainer=env.get("EXPLAINER_HOST") or None,
        )


def _flag(env: Mapping[str, str], name: str, default: bool) -> bool:
    value = (env.get(name) or str(default)).lower()
    if value not in ("true", "false"):
        raise InvalidInput(f"{name} must be true or false, got {value!r}")
    return value == "true"


def _number(env: Mapping[str, str], name: str, default: int) -> int:
    value = env.get(name) or str(default)
    if not value.isascii() or not value.isdecimal() or int(value) == 0:
        raise InvalidInput(f"{name} must be a positive number, got {value!r}")
    return int(value)


def _object(env: Mapping[str, str], name: str) -> dict[str, Any] | None:
    """Return the JSON object in a variable; None when it is not set."""
    if not env.get(name):
        return None
    try:
        value = orjson.loads(env[name])
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"{name} must be a JSON object: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInput(f"{name} must be a JSON object, got {env[name][:80]!r}")
    return value


def _url(given: Mapping[str, Any], field_name: str, place: str) -> str:
    value = given.get(field_name)
    if not isinstance(value, str) or not value.startswith(("http://", "https://")):
        raise InvalidInput(f"{place}.{field_name} must be an http or https URL, got {value!r}")
    return value


def _observed(env: Mapping[str, str]) -> Observed | None:
    given = _object(env, "ZEROFLOW_OBSERVED")
    if given is None:
        return None
    shadow = _url(given, "shadow", "ZEROFLOW_OBSERVED") if given.get("shadow") else None
    return Observed(
        sink=_url(given, "sink", "ZEROFLOW_OBSERVED"),
        token=given.get("token"),
        shadow=shadow,
        reference=_reference(given.get("reference")),
        predictions=given.get("predictions") is True,
    )


def _reference(given: Any) -> Reference | None:
    if given is None:
        return None
    place = "ZEROFLOW_OBSERVED.reference"
    if not isinstance(given, dict) or not isinstance(given.get("model"), str):
        raise InvalidInput(f"{place} must be an object with url and model")
    return Reference(_url(given, "url", place), given["model"])


def _prefix(env: Mapping[str, str]) -> str:
    value = env.get("KSERVE_OPENAI_ROUTE_PREFIX", "/openai").strip("/")
    return f"/{value}" if value else ""


def _batch_rows(env: Mapping[str, str]) -> int | None:
    given = _object(env, "ZEROFLOW_BATCHER")
    if given is None:
        return None
    rows, latency_ms = given.get("maxBatchSize", BATCH_ROWS), given.get("maxLatency", 1)
    for name, value in (("maxBatchSize", rows), ("maxLatency", latency_ms)):
        if type(value) is not int or value < 1:
            raise InvalidInput(f"ZEROFLOW_BATCHER.{name} must be a whole number of 1 or more, got {value!r}")
    return int(rows)


def _is_traced(env: Mapping[str, str]) -> bool:
    named = env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or env.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    wanted = env.get("OTEL_TRACES_EXPORTER") or "otlp"
    return bool(named) and "otlp" in wanted.split(",") and env.get("OTEL_SDK_DISABLED", "").lower() != "true"


def _texts(env: Mapping[str, str]) -> TextOptions:
    try:
        return TextOptions.of(_object(env, "ZEROFLOW_TEXT_OPTIONS") or {})
    except InvalidInput as error:
        raise InvalidInput(f"ZEROFLOW_TEXT_OPTIONS: {error}") from error


def _identity(env: Mapping[str, str]) -> Identity:
    given = {**(_object(env, "ZEROFLOW_LOGGER") or {}), **(_object(env, "ZEROFLOW_OBSERVED") or {})}
    return Identity(
        inferenceservice=str(given.get("inferenceservice") or env["MODEL_NAME"]),
        namespace=str(given.get("namespace") or "default"),
        revision=env.get("K_REVISION") or "",
        component=str(given.get("component") or "predictor"),
        pod=env.get("HOSTNAME") or "localhost",
    )


def _logger(env: Mapping[str, str]) -> LoggerSettings | None:
    given = _object(env, "ZEROFLOW_LOGGER")
    if given is None:
        return None
    observed = _observed(env)
    if not given.get("url") and observed is not None:
        given = {**given, "url": observed.sink}
    mode = given.get("mode") or "all"
    if mode not in MODES:
        raise InvalidInput(f"ZEROFLOW_LOGGER.mode must be one of {', '.join(MODES)}, got {mode!r}")
    headers, annotations = given.get("metadataHeaders") or [], given.get("metadataAnnotations") or {}
    if not isinstance(headers, list) or not isinstance(annotations, dict):
        raise InvalidInput("ZEROFLOW_LOGGER: metadataHeaders must be a list, metadataAnnotations an object")
    return LoggerSettings(
        url=_url(given, "url", "ZEROFLOW_LOGGER"),
        mode=mode,
        headers=tuple(str(name).lower() for name in headers),
        annotations=annotations,
        source=given.get("source"),
        endpoint=str(given.get("endpoint") or "default"),
    )
