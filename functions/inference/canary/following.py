"""Between a reconciliation and its canary: what share the newest revision has, and when its evidence begins to count.

A person's word goes first: `canaryTrafficPercent: 0` pins, `100` promotes, whatever the evidence says.
"""

from collections.abc import Mapping
from typing import Any

from zeroflow.events.outbox import Outbox
from zeroflow.functions.inference import names
from zeroflow.functions.inference.canary import rollouts
from zeroflow.functions.inference.canary.policy import Policy, policy_of
from zeroflow.functions.inference.component import Component
from zeroflow.functions.inference.rollout import SHADOW, Rollout
from zeroflow.functions.inference.subscriptions import Subscriptions
from zeroflow.predictions.observation import OBSERVED
from zeroflow.predictions.recorded import RECORDED
from zeroflow.resources import conditions

Object = dict[str, Any]


class Canaries:
    """The canaries that decide by themselves."""

    def __init__(self, outbox: Outbox, subscriptions: Subscriptions) -> None:
        self._outbox, self._subscriptions = outbox, subscriptions

    def percent(
        self, isvc: Object, component: Component, wanted: Object, found: Object | None, done: Rollout
    ) -> tuple[int | None, bool]:
        """Return the newest revision's share, None for all, and whether it gets copies only.

        Notes on the wanted service which template it runs.
        """
        policy = _policy(isvc, component)
        template = rollouts.template_hash(wanted["spec"]["template"], policy)
        wanted["metadata"]["annotations"][names.TEMPLATE] = template
        given = component.canary_percent
        if policy is None or given in (0, 100) or done.latest is None:
            return given, False
        uid = isvc["metadata"]["uid"]
        if _is_whole(found, template, done):
            with self._outbox.database.transaction() as session:
                rollouts.note_whole(session, isvc, template, done.latest)
            return None, False
        with self._outbox.database.reading() as session:
            percent = rollouts.share(session, uid, template, policy)
            return percent, rollouts.is_shadowed(session, uid, template, policy)

    def listen(self, namespace: str, name: str, isvc: Object | None) -> None:
        """Get the evidence of an InferenceService's canary, as long as one is being decided."""
        with self._outbox.database.reading() as session:
            states = rollouts.states(session, namespace, name)
        if not states:
            return  # it never had a canary
        decides = isvc is not None and policy_of(_annotations(isvc)) is not None
        wanted = decides and rollouts.RUNNING in states
        self._subscriptions.keep("rollout", namespace, name, _evidence(namespace, name) if wanted else None)

    def follow(self, isvc: Object, component: Component, service: Object, done: Rollout) -> None:
        """Begin to count for the newest revision once it is a canary that is ready."""
        policy = _policy(isvc, component)
        status = service.get("status") or {}
        newest = status.get("latestReadyRevisionName")
        template = _annotations(service).get(names.TEMPLATE)
        is_settled = conditions.is_current(service) and newest == status.get("latestCreatedRevisionName")
        if policy is None or template is None or done.latest in (None, newest) or not is_settled or newest is None:
            return
        reached = {
            target.get("revisionName")
            for target in status.get("traffic") or ()
            if target.get("percent") or target.get("tag") == SHADOW
        }
        if not {newest, done.latest} <= reached:
            return
        assert done.latest is not None
        with self._outbox.transaction() as tx:
            rollouts.begin(tx, isvc, template, newest, done.latest)


def _evidence(namespace: str, name: str) -> list[Object]:
    return [
        {"any": [{"exact": {"type": OBSERVED}}, {"exact": {"type": RECORDED}}]},
        {"exact": {"subject": f"{namespace}/{name}"}},
    ]


def _policy(isvc: Object, component: Component) -> Policy | None:
    policy = policy_of(_annotations(isvc))
    return policy.of_transformer() if policy is not None and component.kind == "transformer" else policy


def _is_whole(found: Object | None, template: str, done: Rollout) -> bool:
    """Say whether the template already has all traffic: it was there before there was a policy, or came first."""
    if found is None or _annotations(found).get(names.TEMPLATE) != template:
        return False
    status = found.get("status") or {}
    return bool(conditions.is_current(found) and status.get("latestCreatedRevisionName") == done.latest)


def _annotations(obj: Object) -> Mapping[str, str]:
    return obj["metadata"].get("annotations") or {}
