"""`zeroflow models submit, approve, reject, archive`: ask for a change of a version's approval.

Who asks is the owner of the token in ZEROFLOW_TOKEN; the registry's policy says who may.
"""

from typing import Annotated

import typer

from zeroflow.cli import registered
from zeroflow.cli.host import Host, host_url
from zeroflow.cli.output import fail
from zeroflow.errors import ZeroflowError

Model = Annotated[str, typer.Argument(help="The registered model.")]
Version = Annotated[str, typer.Argument(help="One of its versions.")]
Reason = Annotated[str | None, typer.Option(help="Kept with the version.")]


def submit(model: Model, version: Version, reason: Reason = None) -> None:
    """Ask for the approval of a version: draft -> pending."""
    _ask(model, version, "pending", reason)


def approve(model: Model, version: Version, reason: Reason = None) -> None:
    """Approve a version that is pending; deployments that wait for it begin."""
    _ask(model, version, "approved", reason)


def reject(model: Model, version: Version, reason: Reason = None) -> None:
    """Reject a version that is pending."""
    _ask(model, version, "rejected", reason)


def archive(model: Model, version: Version, reason: Reason = None) -> None:
    """Take a version out of use; an approval ends with it."""
    _ask(model, version, "archived", reason)


def _ask(model: str, version: str, state: str, reason: str | None) -> None:
    try:
        host = Host(host_url())
        found = registered.find(host, model, version)
        known = found["customProperties"]
        if "approval.state" not in known:
            fail(f"{model} {version} needs no approval: no policy names this model")
        told = {"approval.state": state} | ({"approval.reason": reason} if reason else {})
        texts = {name: {"metadataType": "MetadataStringValue", "string_value": text} for name, text in told.items()}
        body = {"customProperties": known | texts}
        host.json("PATCH", f"{registered.API}/model_versions/{found['id']}", body)
    except ZeroflowError as error:
        fail(str(error))
    typer.echo(f"{model} {version} is {state}")
