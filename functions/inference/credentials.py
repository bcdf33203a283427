"""What a service account, or the Secret `storage-config`, says about reaching a model's bytes.

The container gets references to the Secrets, never their values; the function resolves the values for its own look at
the location, in memory. Without a service account's Secret, the Secret `zeroflow-storage` of the namespace is used
where it exists, and what the platform itself has where it does not.

Source: KServe pkg/credentials (s3, gcs, hf, https, service_account_credentials; STORAGE_CONFIG of storage.key).
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zeroflow.functions.inference.refusal import Refused

Object = dict[str, Any]
Find = Callable[[str, str, str, str], Object | None]
"""(apiVersion, kind, namespace, name) -> object."""

STORAGE_SECRET = "zeroflow-storage"  # noqa: S105 - the name of a Secret
STORAGE_CONFIG = "storage-config"
GCS_FILE = "gcloud-application-credentials.json"
GCS_MOUNT = "/var/secrets"
SCHEMES = ("s3", "gs")
"""The types of storage-config whose credentials are understood; others are refused by name."""

_S3_ANNOTATIONS = {
    "s3-region": "AWS_DEFAULT_REGION",
    "s3-verifyssl": "S3_VERIFY_SSL",
    "s3-useanoncredential": "awsAnonymousCredential",
    "s3-usevirtualbucket": "S3_USER_VIRTUAL_BUCKET",
    "s3-useaccelerate": "S3_USE_ACCELERATE",
}
HUB = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE")
_PREFIX = "serving.kserve.io/"


@dataclass
class Credentials:
    """How a container reaches a location, and the same as plain values for the function's own look."""

    env: list[Object] = field(default_factory=list)
    env_from: list[Object] = field(default_factory=list)
    volumes: list[Object] = field(default_factory=list)
    mounts: list[Object] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict, repr=False)

    def plain(self, name: str, value: str) -> None:
        """Add a variable that is no secret."""
        self.env.append({"name": name, "value": value})
        self.values[name] = value

    def secret(self, name: str, secret: str, key: str, value: str) -> None:
        """Add a variable whose value stays in its Secret."""
        self.env.append({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
        self.values[name] = value


def of_service_account(find: Find, namespace: str, name: str | None) -> Credentials:
    """Return what the Secrets of a service account give; nothing when it does not exist or names none."""
    found = Credentials()
    account = find("v1", "ServiceAccount", namespace, name or "default")
    for reference in (account or {}).get("secrets") or ():
        secret = find("v1", "Secret", namespace, str(reference.get("name", "")))
        if secret is not None:
            _add(found, secret)
    if not found.env:
        shared = find("v1", "Secret", namespace, STORAGE_SECRET)
        found.env_from.append({"secretRef": {"name": STORAGE_SECRET, "optional": True}})
        found.values |= {key: value for key, value in _data(shared or {}).items() if key.startswith("AWS_")}
    return found


def of_hub(find: Find, namespace: str, env: Sequence[Object]) -> dict[str, str]:
    """Return what a container's own variables say of the hub, for the function's own look."""
    found = {}
    for variable in env:
        reference = (variable.get("valueFrom") or {}).get("secretKeyRef") or {}
        if variable["name"] not in HUB:
            continue
        if reference:
            data = _data(find("v1", "Secret", namespace, str(reference.get("name", ""))) or {})
            found[variable["name"]] = data.get(str(reference.get("key", "")), "")
        else:
            found[variable["name"]] = str(variable.get("value") or "")
    return found


def of_storage_key(find: Find, namespace: str, place: str, storage: Mapping[str, Any]) -> tuple[Credentials, str]:
    """Return what `storage.key` of the Secret storage-config gives, and the location: <type>://<bucket>/<path>."""
    parameters = storage.get("parameters") or {}
    secret = find("v1", "Secret", namespace, STORAGE_CONFIG)
    entries = _data(secret or {})
    key = storage.get("key") or next(
        (each for each in (f"default_{parameters.get('type', '')}", "default") if each in entries), None
    )
    found, config = Credentials(), dict[str, Any]()
    if key is not None:
        if key not in entries:
            known = ", ".join(sorted(entries)) or "nothing"
            raise Refused(
                "StorageKeyNotFound",
                f"{place}.key: specified storage key {key} not found in storage secret {STORAGE_CONFIG} of namespace "
                f"{namespace}; it has {known}",
            )
        config = _json(f"Secret {STORAGE_CONFIG}, key {key}", entries[key])
        found.secret("STORAGE_CONFIG", STORAGE_CONFIG, key, entries[key])
    if parameters:
        found.plain("STORAGE_OVERRIDE_CONFIG", json.dumps(parameters, sort_keys=True))
    config |= parameters
    kind, bucket, path = config.get("type"), config.get("bucket"), str(storage.get("path") or "").strip("/")
    if kind not in SCHEMES:
        raise Refused(
            "StorageTypeNotSupported",
            f"{place}: storage.spec.type, must be one of: [{', '.join(SCHEMES)}]. storage.spec.type [{kind}] is not "
            "supported",
        )
    if not bucket:
        raise Refused.field(f"{place}.parameters.bucket", "is missing, and the storage secret names no bucket")
    return found, f"{kind}://{bucket}/{path}"


def _add(found: Credentials, secret: Object) -> None:
    name, data = str(secret["metadata"]["name"]), _data(secret)
    annotations = {
        key.removeprefix(_PREFIX): value for key, value in (secret["metadata"].get("annotations") or {}).items()
    }
    if "AWS_ACCESS_KEY_ID" in data or "s3-endpoint" in annotations:
        for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            if key in data:
                found.secret(key, name, key, data[key])
        if endpoint := annotations.get("s3-endpoint"):
            scheme = "http" if annotations.get("s3-usehttps", "1") in ("0", "false") else "https"
            found.plain("AWS_ENDPOINT_URL_S3", endpoint if "://" in endpoint else f"{scheme}://{endpoint}")
        for annotation, variable in _S3_ANNOTATIONS.items():
            if value := annotations.get(annotation):
                found.plain(variable, value)
    elif GCS_FILE in data:
        found.volumes.append({"name": "gcp-credentials", "secret": {"secretName": name}})
        found.mounts.append({"name": "gcp-credentials", "mountPath": GCS_MOUNT, "readOnly": True})
        found.env.append({"name": "GOOGLE_APPLICATION_CREDENTIALS", "value": f"{GCS_MOUNT}/{GCS_FILE}"})
        found.values["GOOGLE_APPLICATION_CREDENTIALS_JSON"] = data[GCS_FILE]
    elif "HF_TOKEN" in data:
        found.secret("HF_TOKEN", name, "HF_TOKEN", data["HF_TOKEN"])
    elif "https-host" in data and "headers" in data:
        found.secret("HTTPS_HOST", name, "https-host", data["https-host"])
        found.secret("HTTPS_HEADERS", name, "headers", data["headers"])


def _data(secret: Mapping[str, Any]) -> dict[str, str]:
    decoded = {}
    for key, value in (secret.get("data") or {}).items():
        try:
            decoded[key] = base64.b64decode(value).decode()
        except ValueError:
            continue  # bytes that are no text are no credential of ours
    return decoded | {key: str(value) for key, value in (secret.get("stringData") or {}).items()}


def _json(what: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Refused("InvalidStorageConfig", f"{what} is no JSON object: {type(error).__name__}") from error
    if not isinstance(value, dict):
        raise Refused("InvalidStorageConfig", f"{what} is no JSON object")
    return value
