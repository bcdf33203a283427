"""Where a model's bytes lie, resolved from what is declared, and how the predictor may reach them.

`model-registry://NAME/VERSION` (VERSION may be left out for the newest) becomes the location that the registry holds;
`storage.key` and `storage.path` become `s3://...`; everything else is checked by form alone. What is refused here has
fetched nothing.
"""

from dataclasses import dataclass

from zeroflow.artifacts import parse
from zeroflow.errors import InvalidInput
from zeroflow.functions.inference import credentials
from zeroflow.functions.inference.credentials import Credentials, Find
from zeroflow.functions.inference.modelspec import Model
from zeroflow.functions.inference.refusal import Refused
from zeroflow.functions.inference.versions import unapproved, version_named
from zeroflow.metadata import Database
from zeroflow.metadata.registry import SCHEME, named

CLAIM_VOLUME, CLAIM_MOUNT = "kserve-pvc-source", "/mnt/pvc"
WITH_CREDENTIALS = ("s3://", "gs://", "https://", "http://", "hf://")


@dataclass(frozen=True)
class Location:
    """A model's location and the credentials for it."""

    uri: str
    access: Credentials


def locate(model: Model, namespace: str, account: str | None, find: Find, database: Database) -> Location:
    """Return where the model lies; raise Refused for a location that cannot be read or may not be."""
    if model.storage is not None:
        access, uri = credentials.of_storage_key(find, namespace, f"{model.place}.storage", model.storage)
        return Location(_checked(f"{model.place}.storageUri", model.storage_uri or uri), access)
    found = at(f"{model.place}.storageUri", model.storage_uri or "", namespace, account, find, database)
    if found.uri.startswith("hf://"):  # its token is often the container's own
        found.access.values.update(credentials.of_hub(find, namespace, model.container.get("env") or ()))
    return found


def at(place: str, uri: str, namespace: str, account: str | None, find: Find, database: Database) -> Location:
    """Return a location that is declared at `place`; raise Refused for one that cannot be read or may not be."""
    if uri.startswith(SCHEME):
        uri = _registered(place, uri, database)
    _checked(place, uri)
    if uri.startswith("pvc://"):
        return Location(uri, _claimed(uri))
    needs = uri.startswith(WITH_CREDENTIALS)
    return Location(uri, credentials.of_service_account(find, namespace, account) if needs else Credentials())


def of_many(namespace: str, account: str | None, find: Find) -> Location:
    """Return no location, with what a predictor whose models are named later needs to reach any: its account's."""
    return Location("", credentials.of_service_account(find, namespace, account))


def _checked(place: str, uri: str) -> str:
    try:
        parse(uri)
    except InvalidInput as error:
        raise Refused("InvalidStorageUri", f"{place}: {error}") from error
    if uri.partition("?")[0].endswith(".git") and uri.startswith(("https://", "http://")):
        raise Refused("InvalidStorageUri", f"{place}: {uri!r} is a git repository, which is not cloned here")
    return uri


def _registered(place: str, uri: str, database: Database) -> str:
    meant = named(uri)
    if meant is None:
        raise Refused("InvalidStorageUri", f"{place}: {uri!r} is not {SCHEME}<model>[/<version>]")
    name, version = meant
    with database.reading() as session:
        found = version_named(session, name, version)
        waiting = unapproved(session, name, version) if found is None else None
    if waiting is not None:
        raise Refused(
            "NotApproved",
            f"{place}: version {waiting.version!r} of registered model {name!r} needs an approval "
            f"before it is served: zeroflow models approve {name} {waiting.version}",
        )
    if found is None:
        what = f"version {version!r} of registered model {name!r}" if version else f"registered model {name!r}"
        raise Refused(
            "ModelNotFound",
            f"{place}: there is no deployable {what} with a location",
            "ModelLoadFailed",
        )
    return found.uri


def _claimed(uri: str) -> Credentials:
    """Return the volume that a pvc:// location needs, mounted where the predictor is told."""
    claim = parse(uri).bucket
    return Credentials(
        env=[{"name": "ZEROFLOW_CLAIM", "value": CLAIM_MOUNT}],
        volumes=[{"name": CLAIM_VOLUME, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}],
        mounts=[{"name": CLAIM_VOLUME, "mountPath": CLAIM_MOUNT, "readOnly": True}],
    )
