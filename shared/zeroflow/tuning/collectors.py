"""Where a trial's metrics are found: a collector as values, and what is wrong with one.

Source: Katib v1beta1 metrics collector spec, its defaults and validation. `None` is Katib's former name for a trial
that reports by itself and is taken like Push.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from zeroflow.tuning.spec import Object

Fault = tuple[str, str]
KINDS = ("StdOut", "File", "TensorFlowEvent", "PrometheusMetric", "Custom", "Push", "None")
REPORTING = ("Push", "None", "Custom")
"""Kinds whose metrics come through the DB manager instead of the trial's log."""
METRICS_DIRECTORY = "zeroflow.dev/metrics-directory"
"""Annotation of a TrainJob, which has no field for volumes: an empty directory of each node, by its path."""
WHERE = "spec.metricsCollectorSpec"
FILE_PATH, EVENT_PATH = "/var/log/katib/metrics.log", "/var/log/katib/tfevent/"
HTTP_PORT, HTTP_PATH = 8080, "/metrics"


@dataclass(frozen=True)
class Collector:
    """A valid collector."""

    kind: str
    filters: tuple[str, ...] = ()
    path: str = ""
    """The file or directory that is read; empty where there is none."""
    format: str = "TEXT"
    port: int = HTTP_PORT
    http_path: str = HTTP_PATH
    command: tuple[str, ...] = ()
    """Of a custom collector."""


def defaulted_collector(spec: Any) -> Any:
    """Return a metricsCollectorSpec in which defaults are written out; what is malformed stays as it is."""
    spec = spec or {}
    if not isinstance(spec, dict) or not isinstance(spec.get("source") or {}, dict):
        return spec
    collector = spec.get("collector") or {}
    if not isinstance(collector, dict):
        return spec
    collector = {**collector, "kind": collector.get("kind") or "StdOut"}
    spec = {**spec, "collector": collector}
    source = spec.get("source") or {}
    if collector["kind"] == "File":
        where = {"kind": "File", "path": FILE_PATH, "format": "TEXT", **(source.get("fileSystemPath") or {})}
        spec["source"] = {**source, "fileSystemPath": where}
    elif collector["kind"] == "TensorFlowEvent":
        where = {"kind": "Directory", "path": EVENT_PATH, **(source.get("fileSystemPath") or {})}
        spec["source"] = {**source, "fileSystemPath": where}
    elif collector["kind"] == "PrometheusMetric":
        get = {"port": HTTP_PORT, "path": HTTP_PATH, **(source.get("httpGet") or {})}
        spec["source"] = {**source, "httpGet": get}
    return spec


def parse_collector(spec: Object) -> Collector:
    """Read a collector that is complete and valid."""
    collector, source = spec["collector"], spec.get("source") or {}
    path, get = source.get("fileSystemPath") or {}, source.get("httpGet") or {}
    custom = collector.get("customCollector") or {}
    return Collector(
        kind=collector["kind"],
        filters=tuple(str(each) for each in (source.get("filter") or {}).get("metricsFormat") or ()),
        path=str(path.get("path") or ""),
        format=str(path.get("format") or "TEXT"),
        port=int(get.get("port") or HTTP_PORT),
        http_path=str(get.get("path") or HTTP_PATH),
        command=tuple(str(word) for word in (*(custom.get("command") or ()), *(custom.get("args") or ()))),
    )


def collector_faults(spec: Any) -> Iterator[Fault]:
    """Yield (field, fault) of a collector with its defaults."""
    if not isinstance(spec, dict) or not isinstance(spec.get("collector"), dict):
        yield f"{WHERE}.collector", "Required value: which collector"
        return
    collector, source = spec["collector"], spec.get("source") or {}
    if not isinstance(source, dict):
        yield f"{WHERE}.source", "Invalid value: must be an object"
        return
    kind = collector.get("kind")
    if kind not in KINDS:
        yield f"{WHERE}.collector.kind", f'Invalid value: "{kind}": invalid metrics collector kind; {_one_of(KINDS)}'
        return
    yield from _filter(source)
    path = source.get("fileSystemPath")
    if kind == "File":
        yield from _file(path, source)
    elif kind == "TensorFlowEvent":
        yield from _events(path)
    elif kind == "PrometheusMetric":
        yield from _http(source.get("httpGet"))
    elif kind == "Custom":
        yield from _custom(collector.get("customCollector"), path)


def _file(path: Any, source: Object) -> Iterator[Fault]:
    where = f"{WHERE}.source.fileSystemPath"
    if not isinstance(path, dict) or path.get("kind") != "File" or not str(path.get("path", "")).startswith("/"):
        yield f"{where}.path", "Required value: file path where metrics file exists is required (kind File, absolute)"
        return
    if path.get("format") not in ("TEXT", "JSON"):
        yield f"{where}.format", f'Required value: "{path.get("format")}": the format of the file is TEXT or JSON'
    if path.get("format") == "JSON" and source.get("filter"):
        yield f"{WHERE}.source.filter", "Invalid value: filter must be nil when format of metrics file is json"


def _events(path: Any) -> Iterator[Fault]:
    where = f"{WHERE}.source.fileSystemPath"
    if not isinstance(path, dict) or path.get("kind") != "Directory" or not str(path.get("path", "")).startswith("/"):
        yield where, "Required value: the directory (kind Directory, absolute path) where event files exist"
        return
    if path.get("format"):
        yield f"{where}.format", f'Invalid value: "{path["format"]}": must be empty'


def _http(get: Any) -> Iterator[Fault]:
    where = f"{WHERE}.source.httpGet"
    if not isinstance(get, dict):
        yield where, "Required value: port and path"
        return
    port = str(get.get("port"))
    if not port.isdecimal() or not 0 < int(port) < 65536:
        yield f"{where}.port", f'Invalid value: "{port}": must be a positive integer value'
    if not str(get.get("path", "")).startswith("/"):
        yield f"{where}.path", f'Invalid value: "{get.get("path")}": must begin with /'


def _custom(container: Any, path: Any) -> Iterator[Fault]:
    where = f"{WHERE}.collector.customCollector"
    if not isinstance(container, dict):
        yield where, "Required value: the container of a Custom collector"
    if path is not None:
        wanted = path if isinstance(path, dict) else {}
        if not str(wanted.get("path", "")).startswith("/") or wanted.get("kind") not in ("File", "Directory"):
            yield f"{WHERE}.source.fileSystemPath", "Invalid value: kind File or Directory, and an absolute path"


def _filter(source: Object) -> Iterator[Fault]:
    where = f"{WHERE}.source.filter.metricsFormat"
    given = source.get("filter")
    formats = (given.get("metricsFormat") if isinstance(given, dict) else None) or []
    if (given is not None and not isinstance(given, dict)) or not isinstance(formats, list):
        yield where, "Invalid value: must be a list of regular expressions"
        return
    for index, pattern in enumerate(formats):
        try:
            groups = re.compile(str(pattern)).groups
        except re.error as error:
            yield f"{where}[{index}]", f'Invalid value: "{pattern}": invalid filter: {error}'
            continue
        if groups < 2:
            yield (
                f"{where}[{index}]",
                f'Invalid value: "{pattern}": two top subexpressions are required, the metric\'s name and its value',
            )


def _one_of(words: tuple[str, ...]) -> str:
    return f"one of {', '.join(words)}"
