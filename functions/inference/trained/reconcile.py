"""Brings what a predictor of several models is told in line with the TrainedModels that name its InferenceService.

Level-triggered, all TrainedModels of one InferenceService at once: everything is read anew, the ConfigMap first and
written under its resourceVersion, so that of two reconciliations at once the one with the older picture starts over.
The order of the writes - finalizer, ConfigMap, status - lets a kill between any two of them lose nothing: the event
comes again. A predictor that sleeps is woken for what nobody has told of yet, so that a model is Ready, or not, by
what a predictor says of it; where the host itself is killed over that, its start is an event to begin anew.

Unlike KServe, a TrainedModel that comes before its InferenceService waits for it (KServe deletes it), and its model is
in the ConfigMap before the InferenceService is ready, so that the first predictor has it.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zeroflow.errors import NotFound, Unavailable
from zeroflow.functions.inference import inspection, location, names, runtimes
from zeroflow.functions.inference.containers import Platform
from zeroflow.functions.inference.modelspec import Model, parse_model
from zeroflow.functions.inference.refusal import Refused
from zeroflow.functions.inference.trained import memory, status
from zeroflow.functions.inference.trained.configuration import Configuration
from zeroflow.functions.inference.trained.declared import FINALIZER, PARENT_LABEL, is_leaving, parent, parents, parse
from zeroflow.functions.inference.trained.status import Found
from zeroflow.inference.modelconfig import ConfiguredModel
from zeroflow.inference.trained import API_VERSION, KIND
from zeroflow.metadata import Database
from zeroflow.models.trust import TRUST_ANNOTATION
from zeroflow.predictions.outcome import Outcome
from zeroflow.resources import conditions
from zeroflow.resources.client import Resources
from zeroflow.resources.owners import owned_by
from zeroflow.resources.starting_over import starting_over

logger = logging.getLogger(__name__)

Object = dict[str, Any]


@dataclass(frozen=True)
class TrainedModels:
    """What a reconciliation works with."""

    resources: Callable[[], Resources]
    database: Database
    platform: Platform
    wake: Callable[[Object], None] = lambda isvc: None
    """Has a predictor of an InferenceService started, if none runs."""
    expect_word: Callable[[str, str, bool], object] = lambda namespace, inferenceservice, expects: None
    """Has the start of the host told for as long as an InferenceService's predictors owe a word."""
    note_refusal: Callable[[Object, Refused], None] = lambda obj, refused: None
    """Records that a TrainedModel was refused; called once for each new reason."""
    await_upload: Callable[[Object, bool], bool] = lambda obj, lacks: False
    """Has a TrainedModel looked at again when its model is uploaded; returns whether that begins now."""

    def reconcile(self, namespace: str, inferenceservice: str) -> None:
        """Reconcile those of one InferenceService. Raises Conflict when others keep writing."""
        starting_over(lambda: self._once(namespace, inferenceservice))

    def follow(self, namespace: str, inferenceservice: str) -> None:
        """Do so after a change of the InferenceService: of most there are none, which costs one question."""
        if any(inferenceservice in parents(obj) for obj in self.resources().list(API_VERSION, KIND, namespace)):
            self.reconcile(namespace, inferenceservice)

    def told(self, outcome: Outcome) -> None:
        """Note what a predictor says of a model; of a state that is no longer wanted it says nothing."""
        starting_over(lambda: self._note(outcome))

    def _note(self, outcome: Outcome) -> None:
        obj = self.resources().find(API_VERSION, KIND, outcome.namespace, outcome.model)
        if obj is None or parent(obj) != outcome.inferenceservice:
            return
        known = Configuration.of(self.resources(), outcome.namespace, outcome.inferenceservice).models
        configured = known.get(outcome.model)
        if configured is not None and configured.version == outcome.version:
            self._write(obj, status.told(obj, outcome))

    def _once(self, namespace: str, name: str) -> None:
        now = Configuration.of(self.resources(), namespace, name)
        isvc = self.resources().find(names.API_VERSION, names.KIND, namespace, name)
        concerned = [obj for obj in self.resources().list(API_VERSION, KIND, namespace) if name in parents(obj)]
        leaving = [obj for obj in concerned if is_leaving(obj)]
        staying = [obj for obj in concerned if not is_leaving(obj) and parent(obj) == name]
        if isvc is None or is_leaving(isvc):  # what it owned goes with it
            if concerned:
                self.expect_word(namespace, name, False)
            for obj in staying if isvc is None else ():
                self._write(obj, status.without_parent(obj))
        elif (model := _model_of(isvc)) is None or not model.is_of_many:
            for obj in staying:
                self._write(obj, status.not_for_many(obj, isvc))
        elif concerned or now.models:
            self._serve(isvc, model, now, [self._claimed(obj, isvc) for obj in staying])
        for obj in leaving:
            self._release(obj)

    def _serve(self, isvc: Object, model: Model, now: Configuration, trained: list[Object]) -> None:
        held = {name for name, entry in now.models.items()}
        shares = memory.shares(trained, held, memory.limit_of(model))
        formats = self._formats(isvc["metadata"]["namespace"], model)
        found: dict[str, Found] = {}
        for obj in trained:
            name = obj["metadata"]["name"]
            found[name] = self._found(obj, isvc, now.models.get(name), shares[name], formats)
        untold = [obj for obj in trained if _is_untold(obj, found[obj["metadata"]["name"]].configured)]
        self.expect_word(isvc["metadata"]["namespace"], isvc["metadata"]["name"], bool(untold))
        now.write(self.resources(), isvc, [each.configured for each in found.values() if each.configured is not None])
        for obj in trained:
            each = found[obj["metadata"]["name"]]
            new = status.of(obj, isvc, model, each)
            if each.refused is not None and each.refused.failure is not None and new != obj.get("status"):
                self.note_refusal(obj, each.refused)
            self._write(obj, new)
        if untold and conditions.is_true(isvc, "Ready"):
            self.wake(isvc)
        passing = next((each.refused for each in found.values() if each.refused and each.refused.passing), None)
        if passing is not None:
            raise Unavailable(str(passing)) from passing  # the broker tells of it again, later

    def _found(
        self,
        obj: Object,
        isvc: Object,
        before: ConfiguredModel | None,
        share: memory.Share,
        formats: tuple[str, ...] | None,
    ) -> Found:
        """Look at one model; what was configured for the same object stays while what is declared is refused."""
        kept = before if before is not None and before.declared.startswith(f"{obj['metadata']['uid']}.") else None
        if not share.fits:
            return Found(None, share, None, formats)
        if formats is not None and obj["spec"]["model"].get("framework") not in formats:
            return Found(kept, share, None, formats)
        try:
            found = Found(self._configured(obj, isvc, kept), share, None, formats)
        except Refused as refused:
            logger.info("TrainedModel refused name=%s reason=%s", obj["metadata"]["name"], refused.condition_reason)
            found = Found(kept, share, refused, formats)
        lacks = found.refused is not None and found.refused.failure == "ModelLoadFailed"
        if self.await_upload(obj, lacks):
            return self._found(obj, isvc, before, share, formats)  # it may have been uploaded since
        return found

    def _configured(self, obj: Object, isvc: Object, before: ConfiguredModel | None) -> ConfiguredModel:
        """Return the entry of a model; raise Refused when it cannot be served."""
        declared, metadata = parse(obj), obj["metadata"]
        account = (isvc["spec"].get("predictor") or {}).get("serviceAccountName")
        place = location.locate(declared.model, metadata["namespace"], account, self.resources().find, self.database)
        if before is not None and (before.declared, before.uri) == (declared.state, place.uri):
            return before  # it stays with the bytes that it was declared for
        own_word = f"TrainedModel {metadata['namespace']}/{metadata['name']} ({TRUST_ANNOTATION})"
        word = inspection.inspect(
            declared.model, place, own_word if declared.trusts_pickle else None, self.platform, self.database
        )
        return ConfiguredModel(
            name=metadata["name"],
            storage_uri=declared.model.storage_uri or "",
            framework=declared.model.format,
            memory=declared.memory,
            uri=place.uri,
            declared=declared.state,
            sha256=word.sha256,
            vouched_by=word.by,
        )

    def _formats(self, namespace: str, model: Model) -> tuple[str, ...] | None:
        """Return the frameworks of the runtime that serves the predictor; None while there is none."""
        try:
            runtime = runtimes.choose(model, *runtimes.installed(self.resources(), namespace), self.platform.runs_image)
        except Refused:
            return None
        return tuple(str(entry.get("name")) for entry in runtime.spec.get("supportedModelFormats") or ())

    def _claimed(self, obj: Object, isvc: Object) -> Object:
        """Return the TrainedModel with what binds it to its InferenceService: it goes with it, and not unnoticed."""
        metadata = obj["metadata"]
        owners, finalizers = metadata.get("ownerReferences") or [], metadata.get("finalizers") or []
        others = [each for each in owners if each.get("kind") != names.KIND]
        wanted: Object = {
            "finalizers": finalizers if FINALIZER in finalizers else [*finalizers, FINALIZER],
            "labels": {PARENT_LABEL: isvc["metadata"]["name"]},
            "ownerReferences": [*others, *({**each, "controller": False} for each in owned_by(isvc))],
        }
        own = {**wanted, "labels": {PARENT_LABEL: (metadata.get("labels") or {}).get(PARENT_LABEL)}}
        if own == wanted and (finalizers, owners) == (wanted["finalizers"], wanted["ownerReferences"]):
            return obj
        patch = {"metadata": {**wanted, "resourceVersion": metadata["resourceVersion"]}}
        return self.resources().merge(API_VERSION, KIND, metadata["namespace"], metadata["name"], patch)

    def _release(self, obj: Object) -> None:
        """Let a TrainedModel go: no predictor is told to serve it any more."""
        metadata = obj["metadata"]
        if FINALIZER not in (metadata.get("finalizers") or ()):
            return
        self.await_upload(obj, False)
        kept = [each for each in metadata["finalizers"] if each != FINALIZER]
        patch = {"metadata": {"finalizers": kept, "resourceVersion": metadata["resourceVersion"]}}
        try:
            self.resources().merge(API_VERSION, KIND, metadata["namespace"], metadata["name"], patch)
        except NotFound:
            return

    def _write(self, obj: Object, new: Object) -> None:
        if new != obj.get("status"):
            self.resources().write_status({**obj, "status": new})


def _model_of(isvc: Object) -> Model | None:
    """Return the model of an InferenceService's predictor; None for containers, and for what cannot be read."""
    try:
        return parse_model(isvc["spec"].get("predictor") or {})
    except Refused:  # its own status says so
        return None


def _is_untold(obj: Object, configured: ConfiguredModel | None) -> bool:
    return configured is not None and not status.is_told(obj, configured)
