"""Copies of answered predictions to a canary that nobody is to be answered by yet, and whether it says the same.

Guarantees: a caller never waits for a copy, and no failure of one reaches it: requests that were answered 200 go into
a bounded queue, what does not fit is dropped and counted. The canary's answers go to nobody. A copy carries a mark
that only this InferenceService's predictors can make; marked requests are neither counted nor logged nor copied again.
Where there is no canary to be looked at, one request in `ASK_EVERY_S` seconds finds that out.

Two answers agree when their `predictions` (V1), or names, shapes and data of their `outputs` (V2), are equal; numbers
that are not whole within `RELATIVE` or `ABSOLUTE`. Where there is a reference - another InferenceService - it is asked
the same once the canary has answered, and the two are compared; without its answer there is no verdict.
"""

import hashlib
import hmac
import math
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from zeroflow.functions.predictor.models.served import Served
from zeroflow.functions.predictor.settings import Reference

MARK, MARK_VARIABLE = "zeroflow-shadow", "HTTP_ZEROFLOW_SHADOW"
MAX_QUEUED, MAX_BODY_BYTES = 100, 1 << 20
CONNECT_S, READ_S = 1.0, 10.0
ASK_EVERY_S = 3.0
RELATIVE, ABSOLUTE = 1e-4, 1e-6
AGREED, DIFFERED, DROPPED = "agreed", "differed", "dropped"
NO_VERDICT = (404, 429, 502, 503, 504)
"""There is no canary, or it has no room: that says nothing of its predictions."""

Compared = Callable[[Served, str, str], None]
"""Takes model, revision of the canary ("" where unknown) and what became of the copy."""


class Shadow:
    """Copies to one URL, from a thread of its own."""

    def __init__(
        self, url: str, token: str, own_revision: str, compared: Compared, reference: Reference | None = None
    ) -> None:
        self._url, self._own, self._compared = url.rstrip("/"), own_revision, compared
        self._reference = reference
        self._mark = hashlib.sha256(f"shadow {token}".encode()).hexdigest()
        self._queue: queue.Queue[tuple[Served, str, str, bytes, bytes]] = queue.Queue(MAX_QUEUED)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._asleep_until, self._canary = 0.0, ""

    def is_copy(self, environ: Mapping[str, Any]) -> bool:
        """Say whether a request is such a copy."""
        return hmac.compare_digest(str(environ.get(MARK_VARIABLE, "")).encode(), self._mark.encode())

    def copy(self, served: Served, environ: Mapping[str, Any], request: bytes, answer: bytes) -> None:
        """Take an answered prediction; never waits."""
        path = str(environ.get("PATH_INFO", ""))
        if not path.endswith((":predict", "/infer")) or "HTTP_INFERENCE_HEADER_CONTENT_LENGTH" in environ:
            return
        if time.monotonic() < self._asleep_until:
            return
        if not self._canary:  # this one finds out whether there is one
            self._asleep_until = time.monotonic() + ASK_EVERY_S
        if len(request) > MAX_BODY_BYTES:
            self._compared(served, self._canary, DROPPED)
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
                self._thread.start()
        try:
            self._queue.put_nowait((served, path, str(environ.get("CONTENT_TYPE") or ""), request, answer))
        except queue.Full:
            self._compared(served, self._canary, DROPPED)

    def _run(self) -> None:
        import urllib3

        pool = urllib3.PoolManager(retries=False, maxsize=1, timeout=urllib3.Timeout(connect=CONNECT_S, read=READ_S))
        while True:
            served, path, content_type, request, answer = self._queue.get()
            headers = {MARK: self._mark, "content-type": content_type or "application/json"}
            try:
                found = pool.request("POST", self._url + path, body=request, headers=headers, redirect=False)
            except urllib3.exceptions.HTTPError:
                self._compared(served, self._canary, DROPPED)
                continue
            revision = found.headers.get("zeroflow-revision", "")
            if found.status == 404 or revision in ("", self._own):
                if found.status in NO_VERDICT[1:]:
                    self._compared(served, "", DROPPED)
                self._canary, self._asleep_until = "", time.monotonic() + ASK_EVERY_S
                continue
            self._canary, self._asleep_until = revision, 0.0
            wanted = answer if self._reference is None else self._asked(pool, served, path, content_type, request)
            if found.status in NO_VERDICT or wanted is None:
                self._compared(served, revision, DROPPED)
            else:
                same = found.status == 200 and agree(wanted, found.data)
                self._compared(served, revision, AGREED if same else DIFFERED)

    def _asked(self, pool: Any, served: Served, path: str, content_type: str, request: bytes) -> bytes | None:
        """Return what the reference answers to a request; None when that is no prediction."""
        import urllib3

        assert self._reference is not None
        own, theirs = f"/models/{served.name}", f"/models/{self._reference.model}"
        url = self._reference.url.rstrip("/") + path.replace(own, theirs, 1)
        headers = {"content-type": content_type or "application/json"}
        try:
            found = pool.request("POST", url, body=request, headers=headers, redirect=False)
        except urllib3.exceptions.HTTPError:
            return None
        return bytes(found.data) if found.status == 200 else None


def agree(one: bytes, other: bytes) -> bool:
    """Say whether two answers predict the same."""
    try:
        return _same(_predicted(orjson.loads(one)), _predicted(orjson.loads(other)))
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return False


def _predicted(answer: Any) -> Any:
    if "predictions" in answer:
        return answer["predictions"]
    return [[each["name"], each["shape"], each["data"]] for each in answer["outputs"]]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    if isinstance(one, float) or isinstance(other, float):
        numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (one, other))
        return numbers and math.isclose(one, other, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)
