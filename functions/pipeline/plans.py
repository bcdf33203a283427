"""Submitted definitions, kept by content, and their plans, built once per process and definition."""

import hashlib
import threading
from collections import OrderedDict
from contextlib import suppress
from typing import Any

import orjson
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from zeroflow.errors import InvalidInput, NotFound
from zeroflow.functions.pipeline.documents import MAX_BYTES
from zeroflow.functions.pipeline.ir import plan_of
from zeroflow.functions.pipeline.plan import Plan
from zeroflow.metadata.pipelines import PipelineSpec

CAPACITY = 64
"""Plans kept in memory; a definition of 10,000 tasks takes about 30 MB."""


class Plans:
    """Plans by the sha256 of their definition. Safe to use from several threads; holds nothing but copies."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._lock = threading.Lock()

    def submit(self, session: Session, document: dict[str, Any]) -> tuple[str, Plan]:
        """Check a definition and keep it; return its hash and plan. Raises InvalidInput naming the fault."""
        text = canonical(document)
        if len(text) > MAX_BYTES:
            raise InvalidInput(
                f"the pipeline definition takes {len(text) >> 20} MiB; at most {MAX_BYTES >> 20} are taken"
            )
        sha256 = hashlib.sha256(text).hexdigest()
        plan = self._known(sha256) or self._remember(sha256, plan_of(document))
        if session.get(PipelineSpec, sha256) is None:
            # another transaction may have just kept the same content
            with suppress(IntegrityError), session.begin_nested():
                session.add(PipelineSpec(sha256=sha256, document=text.decode()))
        return sha256, plan

    def of(self, session: Session, sha256: str) -> Plan:
        """Return the plan of a kept definition."""
        return self._known(sha256) or self._remember(sha256, plan_of(orjson.loads(document_of(session, sha256))))

    def _known(self, sha256: str) -> Plan | None:
        with self._lock:
            plan = self._plans.get(sha256)
            if plan is not None:
                self._plans.move_to_end(sha256)
            return plan

    def _remember(self, sha256: str, plan: Plan) -> Plan:
        with self._lock:
            self._plans[sha256] = plan
            if len(self._plans) > self._capacity:
                self._plans.popitem(last=False)
        return plan


def canonical(document: dict[str, Any]) -> bytes:
    """Write a definition as JSON that depends on its content alone."""
    try:
        return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise InvalidInput(f"the pipeline definition is not JSON: {error}") from error


def document_of(session: Session, sha256: str) -> str:
    """Return a kept definition as JSON text."""
    spec = session.get(PipelineSpec, sha256)
    if spec is None:
        raise NotFound(f"there is no pipeline definition {sha256}")
    return spec.document
