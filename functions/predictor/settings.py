"""What a predictor reads from its environment; the inference function writes it into the Knative Service."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from zeroflow.errors import InvalidInput

MAX_BODY_BYTES = 64 << 20


@dataclass(frozen=True)
class PredictorSettings:
    """One predictor: which model, from where, on whose word."""

    model_name: str
    """MODEL_NAME: the name in the protocols' paths."""
    storage_uri: str
    """STORAGE_URI: where the model lies."""
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
    max_body_bytes: int = MAX_BODY_BYTES
    """ZEROFLOW_MAX_BODY_BYTES: a larger request body is refused (413)."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "PredictorSettings":
        """Build the settings; a missing or malformed variable raises InvalidInput naming it."""
        env = os.environ if environment is None else environment
        for name in ("MODEL_NAME", "STORAGE_URI"):
            if not env.get(name):
                raise InvalidInput(f"{name} must be set: the predictor serves the model that it names")
        store = env.get("ZEROFLOW_STORE") or "/nonexistent"
        if not os.path.isabs(store):
            raise InvalidInput(f"ZEROFLOW_STORE must be the absolute path of a directory, got {store!r}")
        limit = env.get("ZEROFLOW_MAX_BODY_BYTES") or str(MAX_BODY_BYTES)
        if not limit.isdecimal() or int(limit) == 0:
            raise InvalidInput(f"ZEROFLOW_MAX_BODY_BYTES must be a positive number of bytes, got {limit!r}")
        return cls(
            model_name=env["MODEL_NAME"],
            storage_uri=env["STORAGE_URI"],
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
            max_body_bytes=int(limit),
        )


def _flag(env: Mapping[str, str], name: str, default: bool) -> bool:
    value = (env.get(name) or str(default)).lower()
    if value not in ("true", "false"):
        raise InvalidInput(f"{name} must be true or false, got {value!r}")
    return value == "true"
