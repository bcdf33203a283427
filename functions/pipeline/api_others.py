"""Routes of the contract that no list or run is behind: authorization, the filter's schema, reports, visualizations.

Reports come from controllers of Argo workflows, and visualizations run code on a server; this platform has neither, and
says so instead of taking them.
"""

from flask import Blueprint, Response, request

from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline import catalog
from zeroflow.functions.pipeline.access import VIEWERS
from zeroflow.functions.pipeline.api import Context, answer
from zeroflow.functions.pipeline.errors import NotHere

RESOURCES = ("", "UNASSIGNED_RESOURCES", "VIEWERS")
VERBS = ("", "UNASSIGNED_VERB", "CREATE", "GET", "DELETE")


def register(routes: Blueprint, context: Context) -> None:
    """Add the routes."""

    @routes.get("/healthz")
    def get_healthz() -> Response:
        return answer({"multi_user": context.access.caller() is not None, "pipeline_store": "database"})

    @routes.get("/auth")
    def authorize() -> Response:
        namespace = catalog.namespace_of(request.args.get("namespace"))
        for name, known in (("resources", RESOURCES), ("verb", VERBS)):
            if request.args.get(name, "") not in known:
                raise InvalidInput(f"{name} must be one of {', '.join(known[1:])}, found {request.args[name]!r}")
        caller, verb = context.access.caller(), request.args.get("verb", "").lower()
        if caller is not None:
            context.access.require(caller, VIEWERS, "viewers", verb, namespace)
        return answer({})

    @routes.get("/filters")
    def get_filter() -> Response:
        return answer({})

    @routes.post("/workflows")
    @routes.post("/scheduledworkflows")
    def report_workflow() -> Response:
        raise NotHere("runs are not Argo workflows here: a run and its steps report by events")

    @routes.post("/visualizations/<namespace>")
    def create_visualization(namespace: str) -> Response:
        catalog.namespace_of(namespace)
        raise NotHere(
            "visualizations are not made here: write an HTML or Markdown artifact in a step, and get it at"
            " /apis/v2beta1/artifacts/<id>/content"
        )
