"""The catalog's REST API, below /api/model_catalog/v1alpha1. Source: Kubeflow Hub catalog API v1alpha1 (OpenAPI).

Not built, and refused by name: recommendations, targetRPS, sources of other types than yaml, the MCP catalog.
"""

from collections.abc import Callable
from typing import Any

from flask import Response, request

from zeroflow.errors import InvalidInput, NotFound
from zeroflow.functions.register.answers import as_json
from zeroflow.functions.register.catalog import search
from zeroflow.functions.register.catalog.options import filter_options
from zeroflow.functions.register.catalog.sources import (
    CatalogFile,
    Document,
    Model,
    Source,
    declared,
    file_of,
    models_of,
    offered,
    parse_yaml,
)

_ARTIFACT_TYPES = ("model-artifact", "metrics-artifact")
_STATUSES = ("all", "included", "excluded")
_SEARCHED = ("name", "description", "provider", "libraryName", "license", "maturity", "language", "tasks")


def routes(file: CatalogFile) -> list[tuple[str, str, Callable[..., Response]]]:
    """Return (path, method, view) of each operation."""
    views = _Views(file)
    model = "/sources/<source_id>/models/<path:model_name>"
    return [
        ("/models", "GET", views.models),
        ("/models/filter_options", "GET", views.filter_options),
        ("/sources", "GET", views.sources),
        ("/sources/preview", "POST", views.preview),
        ("/labels", "GET", views.labels),
        (f"{model}/artifacts", "GET", views.artifacts),
        (f"{model}/artifacts/performance", "GET", views.performance),
        (model, "GET", views.model),
    ]


class _Views:
    def __init__(self, file: CatalogFile) -> None:
        self._file = file

    def models(self) -> Response:
        """List the models of all enabled sources, or of those that are asked for."""
        _refuse_recommendations()
        asked, labels = _listed("source"), _listed("sourceLabel")
        fits, words = search.matches(request.args.get("filterQuery", "")), request.args.get("q", "").lower().split()
        found = [
            model
            for source in self._file.now().sources
            if (not asked or source.id in asked) and _labelled(source, labels)
            for model in source.models
            if fits(search.values_of_model(model)) and _mentions(model, words)
        ]
        order, direction = _order("NAME")
        by = search.OVERALL if order == "ACCURACY" else order
        return _page(
            search.ordered(found, search.values_of_model, by, direction), lambda model: model.document, order, direction
        )

    def filter_options(self) -> Response:
        """Say which values the models' properties have."""
        catalog = self._file.now()
        models = [model for source in catalog.sources for model in source.models]
        told: Document = {"filters": filter_options(models)}
        return as_json(told | ({"namedQueries": catalog.named_queries} if catalog.named_queries else {}))

    def sources(self) -> Response:
        """List the sources."""
        name, kind = request.args.get("name", "").lower(), request.args.get("assetType")
        if kind not in (None, "", "models", "mcp_servers"):
            raise InvalidInput(f"assetType must be models or mcp_servers, got {kind[:40]!r}")
        found = [one.document for one in self._file.now().sources if name in one.document["name"].lower()]
        order, direction = _order("ID", search.ORDERS)
        key = "name" if order == "NAME" else "id"
        found.sort(key=lambda one: str(one[key]), reverse=direction == "DESC")
        return _page([] if kind == "mcp_servers" else found, lambda one: one, order, direction)

    def labels(self) -> Response:
        """List the labels; those with the key that orders them come first."""
        order, direction = request.args.get("orderBy", ""), _direction()
        labels = list(self._file.now().labels)
        if order:
            having = [one for one in labels if one.get(order) is not None]
            having.sort(key=lambda one: str(one[order]), reverse=direction == "DESC")
            labels = having + [one for one in labels if one.get(order) is None]
        kind = request.args.get("assetType")
        if kind not in (None, "", "models", "mcp_servers"):
            raise InvalidInput(f"assetType must be models or mcp_servers, got {kind[:40]!r}")
        return _page([] if kind == "mcp_servers" else labels, lambda one: one, order, direction)

    def model(self, source_id: str, model_name: str) -> Response:
        """Get one model."""
        return as_json(self._model(source_id, model_name).document)

    def artifacts(self, source_id: str, model_name: str) -> Response:
        """List a model's artifacts."""
        types = _listed("artifactType") or _listed("artifact_type")
        for one in types:
            if one not in _ARTIFACT_TYPES:
                raise InvalidInput(f"artifactType must be {' or '.join(_ARTIFACT_TYPES)}, got {one[:40]!r}")
        return self._artifacts(source_id, model_name, lambda one: not types or one["artifactType"] in types)

    def performance(self, source_id: str, model_name: str) -> Response:
        """List a model's performance metrics."""
        _refuse_recommendations()
        return self._artifacts(source_id, model_name, lambda one: one.get("metricsType") == "performance-metrics")

    def preview(self) -> Response:
        """Say which models a source that is not configured yet would offer; nothing is kept."""
        status = request.args.get("filterStatus") or "all"
        if status not in _STATUSES:
            raise InvalidInput(f"filterStatus must be one of {', '.join(_STATUSES)}, got {status[:40]!r}")
        config = _part("config")
        if config is None:
            raise InvalidInput("the form needs a part 'config': the source's YAML")
        asked, data = {"id": "preview", **parse_yaml(config), "enabled": True}, _part("catalogData")
        if data is None:
            data = self._data_of(asked)
        else:
            asked["properties"] = {}
        shown = declared(asked)
        faults: list[str] = []
        names = [model.document["name"] for model in models_of(data, "preview", faults)]
        if faults:
            raise InvalidInput(f"catalogData: {faults[0]}")
        results = [{"name": name, "included": offered(name, shown)} for name in names]
        included = sum(bool(one["included"]) for one in results)
        wanted = [one for one in results if status == "all" or one["included"] is (status == "included")]
        items, told = search.page(wanted, request.args, "preview")
        summary = {
            "totalModels": len(results),
            "includedModels": included,
            "excludedModels": len(results) - included,
        }
        return as_json({"items": items, "summary": summary, **told})

    def _data_of(self, asked: Document) -> str:
        """Read the file that a source to be previewed names, beside the configured sources."""
        if self._file.path is None:
            raise InvalidInput("this registry has no catalog folder; upload the models as part 'catalogData'")
        path = file_of(asked, self._file.path.parent)
        try:
            return path.read_text()
        except (OSError, ValueError) as error:
            raise InvalidInput(f"yamlCatalogPath: {path.name} cannot be read: {type(error).__name__}") from error

    def _artifacts(self, source_id: str, model_name: str, wanted: Callable[[Document], bool]) -> Response:
        model = self._model(source_id, model_name)
        fits = search.matches(request.args.get("filterQuery", ""))
        found = [one for one in model.artifacts if wanted(one) and fits(search.values_of(one))]
        order, direction = _order("ID")
        by = order if order in search.ORDERS or "." in order else "ID"
        return _page(search.ordered(found, search.values_of, by, direction), lambda one: one, order, direction)

    def _model(self, source_id: str, name: str) -> Model:
        source = next((one for one in self._file.now().sources if one.id == source_id), None)
        if source is None:
            raise NotFound(f"the catalog has no source {source_id[:200]!r}")
        model = next((one for one in source.models if one.document["name"] == name), None)
        if model is None:
            raise NotFound(f"source {source_id!r} has no model {name[:200]!r}")
        return model


def _page(found: list[Any], shown: Callable[[Any], Document], order: str, direction: str) -> Response:
    items, told = search.page(found, request.args, f"{order}:{direction}")
    return as_json({"items": [shown(one) for one in items], **told})


def _order(default: str, choices: tuple[str, ...] | None = None) -> tuple[str, str]:
    order = request.args.get("orderBy") or default
    if choices is not None and order not in choices:
        raise InvalidInput(f"orderBy must be one of {', '.join(choices)}, got {order[:40]!r}")
    return order, _direction()


def _direction() -> str:
    direction = request.args.get("sortOrder") or "ASC"
    if direction not in ("ASC", "DESC"):
        raise InvalidInput(f"sortOrder must be ASC or DESC, got {direction[:40]!r}")
    return direction


def _listed(name: str) -> list[str]:
    return [one for value in request.args.getlist(name) for one in value.split(",") if one]


def _labelled(source: Source, labels: list[str]) -> bool:
    own = source.document["labels"]
    return not labels or any(one in own or (one == "null" and not own) for one in labels)


def _mentions(model: Model, words: list[str]) -> bool:
    told = " ".join(str(model.document[name]) for name in _SEARCHED if name in model.document).lower()
    return all(word in told for word in words)


def _refuse_recommendations() -> None:
    if request.args.get("recommendations", "false").lower() != "false":
        raise InvalidInput("recommendations=true is not supported by this catalog; leave it out")
    if request.args.get("targetRPS"):
        raise InvalidInput("targetRPS is not supported by this catalog; leave it out")


def _part(name: str) -> str | None:
    file = request.files.get(name)
    try:
        return file.read().decode() if file is not None else request.form.get(name)
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{name} is not UTF-8: byte {error.start}") from error
