"""`zeroflow models sign` and `verify`, and `pull`, which brings a registered version's files here."""

import json
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from zeroflow.cli import registered
from zeroflow.cli.host import Host, host_url
from zeroflow.cli.output import fail
from zeroflow.errors import InvalidInput, NotFound, ZeroflowError

Model = Annotated[str, typer.Argument(metavar="PATH|MODEL", help="Files, or with VERSION a registered model.")]
Version = Annotated[str | None, typer.Argument(help="One of the registered model's versions.")]
SIGNATURE = "model.sig"


def pull(
    model: Annotated[str, typer.Argument(help="The registered model.")],
    version: Annotated[str, typer.Argument(help="One of its versions.")],
    target: Annotated[Path, typer.Argument(help="Where its files go; it must not be there.")],
) -> None:
    """Bring a version's files here, checked against their registered hash; the audit trail notes it."""
    try:
        host = Host(host_url())
        sha256 = registered.pull(host, registered.find(host, model, version)["id"], target)
    except ZeroflowError as error:
        fail(str(error))
    typer.echo(f"{target}  sha256 {sha256}")


def sign(
    model: Model,
    version: Version = None,
    *,
    key: Annotated[Path, typer.Option(help="PEM private key: P-256, P-384 or P-521.")],
    signature: Annotated[Path | None, typer.Option(help="Where the signature goes; model.sig in the model.")] = None,
    password: Annotated[str | None, typer.Option(envvar="ZEROFLOW_KEY_PASSWORD", help="Of the private key.")] = None,
) -> None:
    """Sign every file of a model, in the OpenSSF Model Signing format; `model_signing verify key` checks it too."""
    try:
        from zeroflow.models import signing

        with _files(model, version) as (path, host, version_id):
            bundle = json.dumps(signing.sign(path, key, password))
            if host is None:
                target = signature or (path / SIGNATURE if path.is_dir() else path.with_name(f"{path.name}.sig"))
                target.write_text(bundle)
                told = str(target)
            else:
                told = _store(host, version_id, bundle)
    except ImportError as error:
        fail(f"signing needs the package {error.name}: pip install 'zeroflow[signing]'")
    except (ZeroflowError, OSError) as error:
        fail(str(error))
    typer.echo(f"signed: {told}")


def verify(
    model: Model,
    version: Version = None,
    *,
    key: Annotated[Path, typer.Option(help="PEM public key of who signed.")],
    signature: Annotated[Path | None, typer.Option(help="The signature; model.sig in the model by default.")] = None,
) -> None:
    """Check that a key signed exactly these files; end with 1 and name the file when it did not."""
    try:
        from zeroflow.models import signing

        with _files(model, version) as (path, host, version_id):
            if host is not None and signature is None:
                bundle = _stored(host, version_id)
            else:
                bundle = (signature or (path / SIGNATURE if path.is_dir() else Path(f"{path}.sig"))).read_text()
            try:
                document: Any = json.loads(bundle)
            except ValueError as error:
                raise InvalidInput(f"the signature is not JSON: {error}") from error
            names = signing.verify(path, document, key)
    except ImportError as error:
        fail(f"verifying needs the package {error.name}: pip install 'zeroflow[signing]'")
    except (ZeroflowError, OSError) as error:
        fail(str(error))
    typer.echo(f"verified: {len(names)} file{'s' if len(names) > 1 else ''} as signed by {key}")


@contextmanager
def _files(model: str, version: str | None) -> Iterator[tuple[Path, Host | None, str]]:
    """Yield a model's files; for a registered version also its host and id."""
    if version is None:
        if not Path(model).exists():
            raise NotFound(f"{model} is not there; a registered model needs its version: {model} VERSION")
        yield Path(model), None, ""
        return
    host = Host(host_url())
    version_id = registered.find(host, model, version)["id"]
    with tempfile.TemporaryDirectory(prefix="zeroflow-model-") as folder:
        registered.pull(host, version_id, Path(folder) / "model")
        yield Path(folder) / "model", host, version_id


def _store(host: Host, version_id: str, bundle: str) -> str:
    """Keep a signature with its version: its bytes in the store, and a document artifact that leads there."""
    uri = registered.put_object(host, bundle.encode(), "models", f"signatures/{version_id}/{uuid.uuid4().hex}.sig")
    path = f"{registered.API}/model_versions/{version_id}/artifacts"
    known = [one for one in _documents(host, version_id) if one["name"] == SIGNATURE]
    body: dict[str, Any] = {"artifactType": "doc-artifact", "uri": uri, "state": "LIVE"}
    host.json("POST", path, {**body, "id": known[0]["id"]} if known else {**body, "name": SIGNATURE})
    return uri


def _stored(host: Host, version_id: str) -> str:
    known = [one for one in _documents(host, version_id) if one["name"] == SIGNATURE]
    if not known:
        raise NotFound("this version has no signature: `zeroflow models sign MODEL VERSION --key ...` makes one")
    return registered.get_object(host, known[0]["uri"]).decode()


def _documents(host: Host, version_id: str) -> list[dict[str, Any]]:
    query = {"artifactType": "doc-artifact"}
    listed: list[dict[str, Any]] = host.json(
        "GET", f"{registered.API}/model_versions/{version_id}/artifacts", query=query
    )["items"]
    return listed
