"""The query parameters and headers that the verbs share, read once and checked.

Source: Kubernetes API reference, "Common parameters".
"""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from zeroflow.knative.local.api.errors import BadRequest
from zeroflow.knative.local.api.selectors import FieldSelector, LabelSelector, field_selector, label_selector

TRUE = ("true", "1", "True", "")


def flag(request: web.Request, name: str) -> bool:
    """Read a boolean parameter; absent is false."""
    return name in request.query and request.query[name] in TRUE


def number(request: web.Request, name: str) -> int | None:
    """Read a non-negative whole number; absent is None."""
    text = request.query.get(name)
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise BadRequest(f"parameter {name}: expected a whole number, found {text!r}")
    return int(text[:18])


def version(request: web.Request) -> int | None:
    """Read resourceVersion; absent is None."""
    return number(request, "resourceVersion")


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How to write: who does it, whether to keep it, what to do about unknown fields."""

    manager: str
    dry_run: bool
    validation: str  # Strict | Warn | Ignore
    force: bool

    @classmethod
    def of(cls, request: web.Request) -> WriteOptions:
        manager = request.query.get("fieldManager") or request.headers.get("User-Agent", "unknown").partition("/")[0]
        dry_run = request.query.getall("dryRun", [])
        if any(value != "All" for value in dry_run):
            raise BadRequest(f"parameter dryRun: expected All, found {dry_run}")
        validation = request.query.get("fieldValidation") or "Warn"
        if validation not in ("Strict", "Warn", "Ignore"):
            raise BadRequest(f"parameter fieldValidation: expected Strict, Warn or Ignore, found {validation!r}")
        return cls(manager[:128], bool(dry_run), validation, flag(request, "force"))


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a collection."""

    labels: LabelSelector | None
    fields: FieldSelector | None

    @classmethod
    def of(cls, request: web.Request) -> Selection:
        labels, fields = request.query.get("labelSelector"), request.query.get("fieldSelector")
        return cls(label_selector(labels) if labels else None, field_selector(fields) if fields else None)

    @property
    def narrows(self) -> bool:
        """Whether it leaves anything out."""
        return self.labels is not None or self.fields is not None

    def matches(self, obj: dict[str, object]) -> bool:
        if self.fields is not None and not self.fields(obj):
            return False
        if self.labels is None:
            return True
        metadata = obj.get("metadata")
        found = metadata.get("labels") if isinstance(metadata, dict) else None
        return self.labels(found or {})


def as_table(request: web.Request) -> bool:
    """Say whether the client would rather have a Table."""
    return any("as=Table" in part for part in request.headers.get("Accept", "").split(","))


def accepts_json(request: web.Request) -> bool:
    """Say whether the client takes JSON at all."""
    accept = request.headers.get("Accept", "")
    return not accept or any(kind in accept for kind in ("json", "*/*", "application/*", "text/*"))
