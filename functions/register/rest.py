"""The Model Registry's REST API, v1alpha3 and v1 over one store: which path is which operation.

v1 has no experiments, experiment runs and metric history. Source: Model Registry OpenAPI v1alpha3 and v1. What has no
contract - lineage, audit trail - is below /api/model_registry/zeroflow; the catalog is below /api/model_catalog.
"""

from collections.abc import Callable
from http import HTTPStatus

from flask import Blueprint, Response
from werkzeug.exceptions import HTTPException

from zeroflow.artifacts import Stores
from zeroflow.errors import ZeroflowError
from zeroflow.events import FunctionApp
from zeroflow.functions.register import audit_routes, downloads, graph_routes
from zeroflow.functions.register.anchors import Anchors
from zeroflow.functions.register.answers import (
    CATALOG,
    PREFIX,
    answer_error,
    answer_http,
    answer_unexpected,
    error_answer,
    refuse_nul,
)
from zeroflow.functions.register.catalog.routes import routes as catalog_routes
from zeroflow.functions.register.catalog.sources import CatalogFile
from zeroflow.functions.register.entities import (
    EXPERIMENT,
    EXPERIMENT_RUN,
    INFERENCE_SERVICE,
    MODEL_ARTIFACT,
    MODEL_VERSION,
    REGISTERED_MODEL,
    SERVE_MODEL,
    SERVING_ENVIRONMENT,
)
from zeroflow.functions.register.identity import Identify
from zeroflow.functions.register.operations import ALL_ARTIFACTS, Operations
from zeroflow.functions.register.policy import PolicyFile

Route = tuple[str, str, Callable[..., Response]]

VERSIONS = ("v1alpha3", "v1")


def mount(app: FunctionApp, policy: PolicyFile, identify: Identify, catalog: CatalogFile, stores: Stores) -> None:
    """Add the APIs to the function, and their error bodies to everything below their prefixes."""
    for version in VERSIONS:
        operations = Operations(app, policy, identify, v1=version == "v1")
        routes = _models(operations) + _serving(operations) + ([] if version == "v1" else _experiments(operations))
        app.flask.register_blueprint(_blueprint(f"{PREFIX}/{version}", routes))
    own = graph_routes.routes(app) + audit_routes.routes(app, policy, identify, Anchors.from_environment())
    own += downloads.routes(app, policy, identify, stores)
    app.flask.register_blueprint(_blueprint(f"{PREFIX}/zeroflow", own))
    app.flask.register_blueprint(_blueprint(f"{CATALOG}/v1alpha1", catalog_routes(catalog)))
    app.flask.get("/")(
        lambda: error_answer(HTTPStatus.NOT_FOUND, "nothing is here; the API is below /api/model_registry")
    )
    app.flask.register_error_handler(HTTPException, answer_http)


def _blueprint(prefix: str, routes: list[Route]) -> Blueprint:
    api = Blueprint(prefix.strip("/").replace("/", "_"), __name__, url_prefix=prefix)
    api.before_request(refuse_nul)
    api.register_error_handler(ZeroflowError, answer_error)
    api.register_error_handler(HTTPException, answer_http)
    api.register_error_handler(Exception, answer_unexpected)
    for rule, method, view in routes:
        api.add_url_rule(rule, f"{method} {rule}".replace(".", "_"), view, methods=[method])
    return api


def _models(api: Operations) -> list[Route]:
    return [
        ("/registered_models", "POST", api.creates(REGISTERED_MODEL)),
        ("/registered_models", "GET", api.lists(REGISTERED_MODEL)),
        ("/registered_models/<entity_id>", "GET", api.gets(REGISTERED_MODEL)),
        ("/registered_models/<entity_id>", "PATCH", api.changes(REGISTERED_MODEL)),
        ("/registered_models/<parent_id>/versions", "GET", api.lists_below(REGISTERED_MODEL, MODEL_VERSION)),
        ("/registered_models/<parent_id>/versions", "POST", api.creates_below(REGISTERED_MODEL, MODEL_VERSION)),
        ("/registered_model", "GET", api.finds(REGISTERED_MODEL)),
        ("/model_versions", "POST", api.creates(MODEL_VERSION)),
        ("/model_versions", "GET", api.lists(MODEL_VERSION)),
        ("/model_versions/<entity_id>", "GET", api.gets(MODEL_VERSION)),
        ("/model_versions/<entity_id>", "PATCH", api.changes(MODEL_VERSION)),
        ("/model_versions/<parent_id>/artifacts", "GET", api.lists_artifacts_of(MODEL_VERSION)),
        ("/model_versions/<parent_id>/artifacts", "POST", api.upserts_artifact_of(MODEL_VERSION)),
        ("/model_version", "GET", api.finds(MODEL_VERSION)),
        ("/model_artifacts", "POST", api.creates(MODEL_ARTIFACT)),
        ("/model_artifacts", "GET", api.lists(MODEL_ARTIFACT)),
        ("/model_artifacts/<entity_id>", "GET", api.gets(MODEL_ARTIFACT)),
        ("/model_artifacts/<entity_id>", "PATCH", api.changes(MODEL_ARTIFACT)),
        ("/model_artifact", "GET", api.finds(MODEL_ARTIFACT)),
        ("/artifacts", "POST", api.create_artifact),
        ("/artifacts", "GET", api.list_artifacts),
        ("/artifacts/<artifact_id>", "GET", api.get_artifact),
        ("/artifacts/<artifact_id>", "PATCH", api.change_artifact),
        ("/artifact", "GET", api.finds(*ALL_ARTIFACTS)),
    ]


def _serving(api: Operations) -> list[Route]:
    environment, service = "/serving_environments/<parent_id>", "/inference_services/<parent_id>"
    return [
        ("/serving_environments", "POST", api.creates(SERVING_ENVIRONMENT)),
        ("/serving_environments", "GET", api.lists(SERVING_ENVIRONMENT)),
        ("/serving_environments/<entity_id>", "GET", api.gets(SERVING_ENVIRONMENT)),
        ("/serving_environments/<entity_id>", "PATCH", api.changes(SERVING_ENVIRONMENT)),
        (f"{environment}/inference_services", "GET", api.lists_below(SERVING_ENVIRONMENT, INFERENCE_SERVICE)),
        (f"{environment}/inference_services", "POST", api.creates_below(SERVING_ENVIRONMENT, INFERENCE_SERVICE)),
        ("/serving_environment", "GET", api.finds(SERVING_ENVIRONMENT)),
        ("/inference_services", "POST", api.creates(INFERENCE_SERVICE)),
        ("/inference_services", "GET", api.lists(INFERENCE_SERVICE)),
        ("/inference_services/<entity_id>", "GET", api.gets(INFERENCE_SERVICE)),
        ("/inference_services/<entity_id>", "PATCH", api.changes(INFERENCE_SERVICE)),
        ("/inference_services/<service_id>/model", "GET", api.model_of_service),
        ("/inference_services/<service_id>/version", "GET", api.version_of_service),
        (f"{service}/serves", "GET", api.lists_below(INFERENCE_SERVICE, SERVE_MODEL)),
        (f"{service}/serves", "POST", api.creates_below(INFERENCE_SERVICE, SERVE_MODEL)),
        ("/inference_service", "GET", api.finds(INFERENCE_SERVICE)),
    ]


def _experiments(api: Operations) -> list[Route]:
    return [
        ("/experiments", "POST", api.creates(EXPERIMENT)),
        ("/experiments", "GET", api.lists(EXPERIMENT)),
        ("/experiments/<entity_id>", "GET", api.gets(EXPERIMENT)),
        ("/experiments/<entity_id>", "PATCH", api.changes(EXPERIMENT)),
        ("/experiments/<parent_id>/experiment_runs", "GET", api.lists_below(EXPERIMENT, EXPERIMENT_RUN)),
        ("/experiments/<parent_id>/experiment_runs", "POST", api.creates_below(EXPERIMENT, EXPERIMENT_RUN)),
        ("/experiment", "GET", api.finds(EXPERIMENT)),
        ("/experiment_runs", "POST", api.creates(EXPERIMENT_RUN)),
        ("/experiment_runs", "GET", api.lists(EXPERIMENT_RUN)),
        ("/experiment_runs/metric_history", "GET", api.list_metric_history),
        ("/experiment_runs/<entity_id>", "GET", api.gets(EXPERIMENT_RUN)),
        ("/experiment_runs/<entity_id>", "PATCH", api.changes(EXPERIMENT_RUN)),
        ("/experiment_runs/<parent_id>/artifacts", "GET", api.lists_artifacts_of(EXPERIMENT_RUN)),
        ("/experiment_runs/<parent_id>/artifacts", "POST", api.upserts_artifact_of(EXPERIMENT_RUN)),
        ("/experiment_runs/<run_id>/metric_history", "GET", api.list_metric_history),
        ("/experiment_run", "GET", api.finds(EXPERIMENT_RUN)),
    ]
