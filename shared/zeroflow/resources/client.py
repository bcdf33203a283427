"""A thin client for Kubernetes resources of any kind, over the official `kubernetes` package.

The package finds the cluster (KUBECONFIG, or the service account inside a pod), its certificates and its tokens;
objects stay plain dictionaries, as they are on the wire. Guarantees: every failure is a `ZeroflowError` that names
the object; a write of an object that carries `metadata.resourceVersion` raises Conflict when somebody else wrote it
since. Safe to share between threads. The package is heavy, so it is imported when the first request is made.

Source: Kubernetes API concepts (resource URIs, server-side apply, optimistic concurrency), API discovery.
"""

import os
import threading
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias
from urllib.parse import quote, urlencode

import orjson
import urllib3

from zeroflow.errors import Conflict, Forbidden, InvalidInput, NotFound, Unavailable, ZeroflowError

Object: TypeAlias = dict[str, Any]

LOG_CHUNK_BYTES = 64 * 1024
TIMEOUT = urllib3.Timeout(connect=5.0, read=30.0)
APPLY, MERGE, JSON = "application/apply-patch+yaml", "application/merge-patch+json", "application/json"

_ERRORS: Mapping[int, type[ZeroflowError]] = {
    400: InvalidInput,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Conflict,
    413: InvalidInput,
    415: InvalidInput,
    422: InvalidInput,
}


class Resources:
    """Reads and writes resources in the name of one function."""

    def __init__(self, api: Any, manager: str) -> None:
        """Take an `ApiClient`, and the field manager under which this function applies."""
        self.manager = manager
        self._api = api
        self._plurals: dict[tuple[str, str], tuple[str, bool]] = {}

    def get(self, api_version: str, kind: str, namespace: str | None, name: str) -> Object:
        """Return the object; raise NotFound."""
        return self._request("GET", self._path(api_version, kind, namespace, name))

    def find(self, api_version: str, kind: str, namespace: str | None, name: str) -> Object | None:
        """Return the object, or None when there is none of this name."""
        try:
            return self.get(api_version, kind, namespace, name)
        except NotFound:
            return None

    def list(
        self, api_version: str, kind: str, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> list[Object]:
        """Return the objects of a kind, in one namespace or in all, that carry these labels."""
        query = {"labelSelector": ",".join(f"{key}={value}" for key, value in labels.items())} if labels else {}
        answer = self._request("GET", self._path(api_version, kind, namespace), query=query)
        found: list[Object] = answer.get("items") or []
        for item in found:  # a list's items carry neither
            item.setdefault("apiVersion", api_version)
            item.setdefault("kind", kind)
        return found

    def create(self, obj: Object) -> Object:
        """Create the object; raise Conflict when the name is taken."""
        return self._request("POST", self._path_of(obj, collection=True), obj, query={"fieldManager": self.manager})

    def apply(self, obj: Object) -> Object:
        """Make the fields in `obj` so (server-side apply, forced); what was applied before and is left out now goes."""
        query = {"fieldManager": self.manager, "force": "true"}
        return self._request("PATCH", self._path_of(obj), obj, APPLY, query)

    def merge(self, api_version: str, kind: str, namespace: str | None, name: str, patch: Object) -> Object:
        """Apply a JSON merge patch (RFC 7396) to fields that others own as well."""
        query = {"fieldManager": self.manager}
        return self._request("PATCH", self._path(api_version, kind, namespace, name), patch, MERGE, query)

    def write_status(self, obj: Object) -> Object:
        """Replace the status; with the resourceVersion that was read, so that no newer object gets an older status."""
        return self._request("PUT", self._path_of(obj) + "/status", obj, query={"fieldManager": self.manager})

    def delete(self, api_version: str, kind: str, namespace: str | None, name: str) -> None:
        """Delete the object and what it owns; nothing happens when there is none."""
        try:
            self._request("DELETE", self._path(api_version, kind, namespace, name), {"propagationPolicy": "Background"})
        except NotFound:
            return

    def log(self, namespace: str, pod: str, container: str) -> Iterator[str]:
        """Yield the lines that a container has printed; however long the log is, little of it is held at a time."""
        path = f"{self._path('v1', 'Pod', namespace, pod)}/log"
        answer = self._send("GET", f"{path}?{urlencode({'container': container})}", preload_content=False)
        try:
            if answer.status != 200:
                _read("GET", path, answer.status, answer.data)
            rest = b""
            for chunk in answer.stream(LOG_CHUNK_BYTES):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (line.decode("utf-8", "replace") for line in lines)
                rest = rest[:LOG_CHUNK_BYTES]  # a line without end is cut
            if rest:
                yield rest.decode("utf-8", "replace")
        finally:
            answer.release_conn()

    def _path_of(self, obj: Object, collection: bool = False) -> str:
        metadata = obj["metadata"]
        name = None if collection else metadata["name"]
        return self._path(obj["apiVersion"], obj["kind"], metadata.get("namespace"), name)

    def _path(self, api_version: str, kind: str, namespace: str | None, name: str | None = None) -> str:
        plural, namespaced = self._plural(api_version, kind)
        parts = [_root(api_version)]
        if namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        elif namespaced and name:
            raise InvalidInput(f"{kind} {name!r} needs a namespace")
        parts.append(plural)
        if name:
            parts.append(quote(name, safe=""))
        return "/".join(parts)

    def _plural(self, api_version: str, kind: str) -> tuple[str, bool]:
        """Ask the server once for every group and version how its kinds are called in a path."""
        if (api_version, kind) not in self._plurals:
            answer = self._request("GET", _root(api_version))
            for resource in answer.get("resources", []):
                if "/" not in resource["name"]:
                    self._plurals[api_version, resource["kind"]] = (resource["name"], bool(resource["namespaced"]))
        try:
            return self._plurals[api_version, kind]
        except KeyError:
            raise NotFound(f"the cluster serves no kind {kind} in {api_version}") from None

    def _request(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        content_type: str = JSON,
        query: Mapping[str, str] | None = None,
    ) -> Object:
        target = path + (f"?{urlencode(query)}" if query else "")
        answer = self._send(method, target, content_type, body=None if body is None else orjson.dumps(body))
        return _read(method, path, answer.status, answer.data)

    def _send(self, method: str, target: str, content_type: str = JSON, **options: Any) -> Any:
        headers = {"Accept": JSON, "Content-Type": content_type, "User-Agent": self.manager}
        self._api.update_params_for_auth(headers, [], ["BearerToken"])
        url = self._api.configuration.host + target
        try:
            return self._api.rest_client.pool_manager.request(method, url, headers=headers, timeout=TIMEOUT, **options)
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(
                f"the Kubernetes API at {self._api.configuration.host} does not answer: {error}"
            ) from error


def _root(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _read(method: str, path: str, status: int, data: bytes) -> Object:
    try:
        answer = orjson.loads(data) if data else {}
    except orjson.JSONDecodeError:
        answer = {"message": data[:200].decode("utf-8", "replace")}
    if status // 100 == 2 and isinstance(answer, dict):
        return answer
    message = answer.get("message") if isinstance(answer, dict) else None
    error = _ERRORS.get(status, Unavailable)
    raise error(f"{method} {path}: {message or f'the Kubernetes API answered {status}'}")


class LazyResources:
    """Makes the client when it is first needed, and once: a function that sleeps pays nothing for it."""

    def __init__(self, manager: str) -> None:
        self._manager = manager
        self._client: Resources | None = None
        self._lock = threading.Lock()

    def __call__(self) -> Resources:
        """Return the client."""
        with self._lock:
            if self._client is None:
                self._client = connect(self._manager)
            return self._client


def connect(manager: str, environment: Mapping[str, str] | None = None) -> Resources:
    """Connect to the cluster that KUBECONFIG names, or else to this pod's own; raise Unavailable without either."""
    from kubernetes.client import ApiClient, Configuration
    from kubernetes.config import ConfigException, load_incluster_config, load_kube_config

    env = os.environ if environment is None else environment
    configuration = Configuration()
    try:
        if kubeconfig := env.get("KUBECONFIG"):
            load_kube_config(config_file=kubeconfig, client_configuration=configuration)
        elif env.get("KUBERNETES_SERVICE_HOST"):
            load_incluster_config(client_configuration=configuration)
        else:
            raise Unavailable("no Kubernetes API: neither KUBECONFIG nor KUBERNETES_SERVICE_HOST is set")
    except (ConfigException, OSError) as error:
        raise Unavailable(f"cannot read the Kubernetes configuration: {error}") from error
    return Resources(ApiClient(configuration), manager)
