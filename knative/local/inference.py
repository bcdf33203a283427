"""InferenceServices, InferenceGraphs and TrainedModels as they are admitted: what KServe's webhooks refuse."""

from __future__ import annotations

from collections.abc import Callable

from zeroflow.inference import graphs, services, trained
from zeroflow.knative.local.api.errors import BadRequest
from zeroflow.knative.local.api.objects import Object
from zeroflow.knative.local.api.store import Store

SERVICE_KIND = "InferenceService.serving.kserve.io"
GRAPH_KIND = "InferenceGraph.serving.kserve.io"
TRAINED_KIND = "TrainedModel.serving.kserve.io"


def register(store: Store) -> None:
    """Have `store` ask here about every write of one of them."""
    store.admit(SERVICE_KIND, admit_service)
    store.admit(GRAPH_KIND, admit_graph)
    store.admit(TRAINED_KIND, admit_trained)


def admit_service(new: Object, old: Object | None) -> Object:
    """Return the InferenceService; raise BadRequest with the first thing that KServe refuses."""
    _check(new, next(services.faults(new), None), services.denied)
    return new


def admit_graph(new: Object, old: Object | None) -> Object:
    """Return the InferenceGraph; raise BadRequest with the first thing that KServe refuses."""
    _check(new, next(graphs.faults(new), None), graphs.denied)
    return new


def admit_trained(new: Object, old: Object | None) -> Object:
    """Return the TrainedModel; raise BadRequest with the first thing that KServe refuses."""
    _check(new, next(trained.faults(new, old), None), trained.denied)
    return new


def _check(new: Object, fault: str | None, denied: Callable[[str], str]) -> None:
    if fault is not None and not new["metadata"].get("deletionTimestamp"):
        raise BadRequest(denied(fault))
