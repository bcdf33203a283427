"""By which credentials and endpoints stores are reached: read once from an environment, passed down.

The variables are those that KServe's storage initializer and the vendors' own libraries read, so that what works
there works here. Source: KServe python/storage (kserve_storage), boto3, google-cloud-storage, huggingface_hub.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from zeroflow.errors import InvalidInput

DEFAULT_MAX_BYTES = 50 << 30


@dataclass(frozen=True)
class S3Access:
    """How S3 is reached; what is None is found by boto3 itself."""

    endpoint: str | None = None
    """AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL."""
    key_id: str | None = None
    secret: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str | None = None
    anonymous: bool = False
    """awsAnonymousCredential: requests are not signed."""
    verify: bool = True
    """S3_VERIFY_SSL."""
    virtual_bucket: bool = False
    """S3_USER_VIRTUAL_BUCKET: the bucket is part of the host name."""
    accelerate: bool = False
    """S3_USE_ACCELERATE."""


@dataclass(frozen=True)
class Access:
    """How every kind of location is reached."""

    s3: S3Access = field(default_factory=S3Access)
    gcs_endpoint: str = "https://storage.googleapis.com"
    """STORAGE_EMULATOR_HOST, as google-cloud-storage reads it."""
    gcs_credentials: str | None = field(default=None, repr=False)
    """The JSON of a service account: GOOGLE_APPLICATION_CREDENTIALS names its file; without it, access is anonymous."""
    http_headers: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    """Headers by host, from HTTPS_HOST and HTTPS_HEADERS (`Name: value` lines or JSON)."""
    private_hosts: frozenset[str] = frozenset()
    """ZEROFLOW_ALLOW_PRIVATE_HOSTS: `host` or `host:port`, by commas; others are reached only at public addresses."""
    hub_mirror: Path | None = None
    """ZEROFLOW_HF_MIRROR: a directory with <organisation>/<model>, or the hub's own cache layout. Else HF_HOME/hub."""
    hub_endpoint: str | None = "https://huggingface.co"
    """HF_ENDPOINT; None when HF_HUB_OFFLINE says that the hub is not to be asked."""
    hub_token: str | None = field(default=None, repr=False)
    """HF_TOKEN, once HUGGING_FACE_HUB_TOKEN."""
    oci_mirror: Path | None = None
    """ZEROFLOW_OCI_MIRROR: a directory of OCI image layouts, <registry>/<repository>."""
    claim: Path | None = None
    """ZEROFLOW_CLAIM: where the claim that `pvc://` names is mounted."""
    cache: Path | None = None
    """ZEROFLOW_MODEL_CACHE: a directory that keeps what was fetched, by its hash."""
    max_bytes: int = DEFAULT_MAX_BYTES
    """ZEROFLOW_MAX_MODEL_BYTES: what is larger, unpacked, is refused."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Access":
        """Read the variables; raise InvalidInput naming one that is malformed."""
        env = os.environ if environment is None else environment
        limit = env.get("ZEROFLOW_MAX_MODEL_BYTES") or str(DEFAULT_MAX_BYTES)
        if not limit.isdecimal() or int(limit) == 0:
            raise InvalidInput(f"ZEROFLOW_MAX_MODEL_BYTES must be a positive number of bytes, got {limit!r}")
        emulator = env.get("STORAGE_EMULATOR_HOST") or ""
        hosts = frozenset(part.strip().lower() for part in env.get("ZEROFLOW_ALLOW_PRIVATE_HOSTS", "").split(","))
        return cls(
            s3=_s3(env),
            gcs_endpoint=_url(emulator) if emulator else cls.gcs_endpoint,
            gcs_credentials=_gcs_credentials(env),
            http_headers=_headers(env),
            private_hosts=hosts - {""},
            hub_mirror=_directory(env.get("ZEROFLOW_HF_MIRROR") or _below(env.get("HF_HOME"), "hub")),
            hub_endpoint=None
            if _yes(env.get("HF_HUB_OFFLINE"), False)
            else _url(env.get("HF_ENDPOINT") or "https://huggingface.co"),
            hub_token=env.get("HF_TOKEN") or env.get("HUGGING_FACE_HUB_TOKEN") or None,
            oci_mirror=_directory(env.get("ZEROFLOW_OCI_MIRROR")),
            claim=_directory(env.get("ZEROFLOW_CLAIM")),
            cache=_directory(env.get("ZEROFLOW_MODEL_CACHE")),
            max_bytes=int(limit),
        )


def _s3(env: Mapping[str, str]) -> S3Access:
    config = _object(env, "STORAGE_CONFIG") | _object(env, "STORAGE_OVERRIDE_CONFIG")
    endpoint = config.get("endpoint_url") or env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL")
    return S3Access(
        endpoint=endpoint or None,
        key_id=config.get("access_key_id") or env.get("AWS_ACCESS_KEY_ID") or None,
        secret=config.get("secret_access_key") or env.get("AWS_SECRET_ACCESS_KEY") or None,
        session_token=None if config.get("access_key_id") else env.get("AWS_SESSION_TOKEN") or None,
        region=config.get("region") or env.get("AWS_DEFAULT_REGION") or None,
        anonymous=_yes(config.get("anonymous") or env.get("awsAnonymousCredential"), False),
        verify=_yes(config.get("verify_ssl") or env.get("S3_VERIFY_SSL"), True),
        virtual_bucket=_yes(env.get("S3_USER_VIRTUAL_BUCKET"), False),
        accelerate=_yes(env.get("S3_USE_ACCELERATE"), False),
    )


def _object(env: Mapping[str, str], name: str) -> dict[str, str]:
    text = env.get(name)
    if not text:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{name} must be a JSON object") from error
    if not isinstance(value, dict):
        raise InvalidInput(f"{name} must be a JSON object")
    return {str(key): str(item) for key, item in value.items() if item is not None}


def _gcs_credentials(env: Mapping[str, str]) -> str | None:
    if given := env.get("GOOGLE_APPLICATION_CREDENTIALS_JSON"):
        return given
    path = env.get("GOOGLE_APPLICATION_CREDENTIALS")
    if not path:
        return None
    try:
        return Path(path).read_text()
    except OSError as error:
        raise InvalidInput(f"GOOGLE_APPLICATION_CREDENTIALS: cannot read {path}: {error.strerror}") from error


def _headers(env: Mapping[str, str]) -> dict[str, dict[str, str]]:
    host, text = env.get("HTTPS_HOST"), env.get("HTTPS_HEADERS")
    if not host or not text:
        return {}
    if text.lstrip().startswith("{"):
        return {host.strip().lower(): _object(env, "HTTPS_HEADERS")}
    pairs = (line.partition(":") for line in text.splitlines() if line.strip())
    return {host.strip().lower(): {name.strip(): value.strip() for name, _, value in pairs}}


def _yes(value: str | None, default: bool) -> bool:
    return default if value is None or value == "" else str(value).lower() in ("1", "true", "yes")


def _url(host: str) -> str:
    return host.rstrip("/") if "://" in host else f"http://{host.rstrip('/')}"


def _below(directory: str | None, name: str) -> str | None:
    return f"{directory}/{name}" if directory else None


def _directory(path: str | None) -> Path | None:
    if not path:
        return None
    if not os.path.isabs(path):
        raise InvalidInput(f"{path!r} must be the absolute path of a directory")
    return Path(path)
