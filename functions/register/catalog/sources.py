"""The catalog's sources, read from YAML into memory and again when a file changes.

ZEROFLOW_CATALOG names the file of sources, else `catalog/sources.yaml` in the home; without one the catalog is empty.
Its form is that of the Kubeflow Hub catalog:

    catalogs:
      - id: ours
        name: Our models
        type: yaml                         # the only type that is read here
        enabled: true
        labels: [internal]
        includedModels: ["team-a/*"]       # `*` is the only wildcard, any case, the whole name
        excludedModels: ["*-draft"]
        properties: {yamlCatalogPath: ours.yaml}   # beside this file or below it
    labels:
      - {name: internal, displayName: Made here}
    namedQueries:
      small: {parameters: {operator: "<", value: 1000000}}

A source file has `models:`, each with the fields of CatalogModel and `artifacts:`. A source that cannot be read says
why in its `status` and `error`; a model that cannot be read costs the source only that model. A file of sources that
cannot be understood makes the catalog Unavailable. Source: Kubeflow Hub catalog API v1alpha1.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zeroflow.errors import InvalidInput, Unavailable
from zeroflow.functions.register import properties
from zeroflow.functions.register.bodies import json_type
from zeroflow.functions.register.catalog import wildcards

FILE = Path("catalog") / "sources.yaml"
Document = dict[str, Any]

_TEXTS = ("description", "readme", "maturity", "provider", "logo", "license", "licenseLink", "libraryName")
_LISTS = ("language", "tasks")
_TIMES = ("createTimeSinceEpoch", "lastUpdateTimeSinceEpoch")
_SOURCE_KEYS = ("id", "name", "type", "enabled", "labels", "includedModels", "excludedModels", "properties")
_METRICS = ("performance-metrics", "accuracy-metrics")


@dataclass(frozen=True)
class Model:
    """A model of one source, with its artifacts."""

    document: Document
    artifacts: tuple[Document, ...]


@dataclass(frozen=True)
class Source:
    """One source as the API shows it, and the models that it offers."""

    document: Document
    models: tuple[Model, ...] = ()

    @property
    def id(self) -> str:
        """The source's id."""
        return str(self.document["id"])


@dataclass(frozen=True)
class Catalog:
    """All sources."""

    sources: tuple[Source, ...] = ()
    labels: tuple[Document, ...] = ()
    named_queries: Document = field(default_factory=dict)


class CatalogFile:
    """The catalog as the files have it now."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._seen: dict[Path, tuple[int, int] | None] = {}
        self._catalog = Catalog()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "CatalogFile":
        """Find the file of sources; a named one must be there, the home's may be missing."""
        env = os.environ if environment is None else environment
        if named := env.get("ZEROFLOW_CATALOG"):
            if not Path(named).is_file():
                raise Unavailable(f"ZEROFLOW_CATALOG names {named}, which is no file")
            return cls(Path(named))
        home = env.get("ZEROFLOW_HOME")
        return cls(Path(home) / FILE if home else None)

    def now(self) -> Catalog:
        """Return the catalog; raise Unavailable when the file of sources is not one."""
        if self.path is None:
            return Catalog()
        if not self._seen or any(_stamp(path) != stamp for path, stamp in self._seen.items()):
            seen = {self.path: _stamp(self.path)}
            self._catalog = read(self.path, seen)
            self._seen = seen
        return self._catalog


def read(path: Path, seen: dict[Path, tuple[int, int] | None]) -> Catalog:
    """Read a file of sources and what it names; each file that was looked at is noted in `seen`."""
    if not path.exists():
        return Catalog()
    try:
        document = parse_yaml(path.read_text())
        _only(document, "the file of sources", ("catalogs", "labels", "namedQueries"))
        catalogs, labels = document.get("catalogs") or [], document.get("labels") or []
        if not isinstance(catalogs, list) or not isinstance(labels, list):
            raise InvalidInput("catalogs and labels must be lists")
        sources: list[Source] = []
        for one in catalogs:
            shown = declared(one)
            file = file_of(one, path.parent) if shown["enabled"] else None
            if shown["id"] in [source.id for source in sources]:
                raise InvalidInput(f"two sources have the id {shown['id']!r}")
            if file is not None:
                seen[file] = _stamp(file)
            sources.append(_load(shown, file))
        queries = document.get("namedQueries") or {}
        if not isinstance(queries, dict):
            raise InvalidInput("namedQueries must map names to {property: {operator, value}}")
        return Catalog(tuple(sources), tuple(_label(one) for one in labels), queries)
    except (OSError, InvalidInput) as error:
        raise Unavailable(f"the catalog's sources in {path} cannot be used: {error}") from error


def declared(one: Any) -> Document:
    """Check one source's declaration; return it as the API shows it."""
    _only(one, "a source", _SOURCE_KEYS)
    if not isinstance(one.get("id", one.get("name")), str) or not isinstance(one.get("name", ""), str):
        raise InvalidInput("a source needs an id, and perhaps a name: texts (quote what YAML reads as something else)")
    if one.get("type") != "yaml":
        raise InvalidInput(f"source type {one.get('type')!r} is not read here; the type must be yaml")
    settings = one.get("properties") or {}
    _only(settings, "a source's properties", ("yamlCatalogPath",))
    shown: Document = {
        "id": one.get("id", one.get("name")),
        "name": one.get("name", one.get("id")),
        "enabled": one.get("enabled", True) is not False,
        "labels": _texts(one, "labels"),
        "assetType": "models",
    }
    for name in ("includedModels", "excludedModels"):
        patterns = _texts(one, name)
        if any(not pattern.strip() for pattern in patterns):
            raise InvalidInput(f"{name} has an empty pattern")
        if patterns:
            shown[name] = patterns
    both = set(shown.get("includedModels", ())) & set(shown.get("excludedModels", ()))
    if both:
        raise InvalidInput(f"pattern {min(both)!r} is both in includedModels and in excludedModels")
    return shown


def models_of(text: str, source_id: str, faults: list[str]) -> Iterator[Model]:
    """Yield the models of a source's YAML; what is wrong with one that is left out is added to `faults`."""
    document = parse_yaml(text)
    listed = document.get("models")
    if not isinstance(listed, list):
        raise InvalidInput("models must be a list")
    names = set()
    for position, one in enumerate(listed):
        try:
            model = _model(one, source_id)
            if model.document["name"] in names:
                raise InvalidInput(f"there are two models {model.document['name']!r}")
        except InvalidInput as error:
            faults.append(f"models[{position}]: {error}")
            continue
        names.add(model.document["name"])
        yield model


def offered(name: str, shown: Mapping[str, Any]) -> bool:
    """Say whether a source's patterns let a model through; what is excluded stays out."""
    included, excluded = shown.get("includedModels"), shown.get("excludedModels", ())
    if any(_fits(name, pattern) for pattern in excluded):
        return False
    return not included or any(_fits(name, pattern) for pattern in included)


def _load(shown: Document, file: Path | None) -> Source:
    if file is None:
        return Source({**shown, "status": "disabled"})
    faults: list[str] = []
    try:
        found = tuple(
            model
            for model in models_of(file.read_text(), shown["id"], faults)
            if offered(model.document["name"], shown)
        )
    except (OSError, ValueError, InvalidInput) as error:
        return Source({**shown, "status": "error", "error": f"{file.name}: {error}"})
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        return Source({**shown, "status": "partially-available", "error": f"{file.name}: {faults[0]}{more}"}, found)
    return Source({**shown, "status": "available"}, found)


def _model(one: Any, source_id: str) -> Model:
    if not isinstance(one, dict) or not isinstance(one.get("name"), str) or not one["name"]:
        raise InvalidInput("a model needs a name: a text")
    document = _resource(one, f"{source_id}/{one['name']}")
    document["source_id"] = source_id
    for name in (*_TEXTS, *_LISTS):
        if one.get(name) is not None:
            document[name] = _texts(one, name) if name in _LISTS else str(one[name])
    artifacts = one.get("artifacts") or []
    if not isinstance(artifacts, list):
        raise InvalidInput("artifacts must be a list")
    return Model(document, tuple(_artifact(part, document["id"], place) for place, part in enumerate(artifacts)))


def _artifact(one: Any, model: str, position: int) -> Document:
    if not isinstance(one, dict):
        raise InvalidInput(f"artifacts[{position}] must be a mapping, got {json_type(one)}")
    document = _resource(one, f"{model}/{position}")
    document["artifactType"] = one.get("artifactType", "model-artifact")
    match document["artifactType"]:
        case "model-artifact":
            if not isinstance(one.get("uri"), str):
                raise InvalidInput(f"artifacts[{position}] needs a uri")
            document["uri"] = one["uri"]
        case "metrics-artifact":
            if one.get("metricsType") not in _METRICS:
                raise InvalidInput(f"artifacts[{position}].metricsType must be {' or '.join(_METRICS)}")
            document["metricsType"] = one["metricsType"]
        case other:
            raise InvalidInput(f"artifacts[{position}].artifactType is {other!r}")
    return document


def _resource(one: Mapping[str, Any], identity: str) -> Document:
    """Return what models and artifacts share; an id is derived from place and name, and so stays the same."""
    document: Document = {"id": str(int(hashlib.sha256(identity.encode()).hexdigest()[:7], 16) + 1)}
    for name in ("name", "description", "externalId", *_TIMES):
        if one.get(name) is not None:
            document[name] = str(one[name])
    for name in _TIMES:
        if not document.get(name, "0").isdigit():
            raise InvalidInput(f"{name} must be milliseconds since 1970, got {document[name][:40]!r}")
    if one.get("customProperties") is not None:
        document["customProperties"] = properties.parse(one["customProperties"])
    return document


def _label(one: Any) -> Document:
    if not isinstance(one, dict) or "name" not in one:
        raise InvalidInput("a label must be a mapping with a name")
    return {str(key): value if value is None else str(value) for key, value in one.items()}


def file_of(one: Mapping[str, Any], folder: Path) -> Path:
    """Return the file of a source; it must lie where the file of sources lies, whatever links say."""
    settings = one.get("properties") or {}
    named = settings.get("yamlCatalogPath") if isinstance(settings, dict) else None
    if not isinstance(named, str) or not named:
        raise InvalidInput("a source needs properties.yamlCatalogPath: the file with its models")
    path = (folder / named).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise InvalidInput(f"yamlCatalogPath {named[:200]!r} leads out of the folder of the file of sources")
    return path


def _fits(name: str, pattern: str) -> bool:
    return wildcards.fits(name.lower(), wildcards.of_glob(pattern.lower()))


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


def parse_yaml(text: str) -> Document:
    """Parse a YAML mapping; raise InvalidInput for anything else."""
    import yaml

    from zeroflow.safe_yaml import LOADER

    try:
        document = yaml.load(text, LOADER)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidInput(f"it is not YAML: {' '.join(str(error).split())[:300]}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InvalidInput(f"it must be a mapping, got {json_type(document)}")
    return document


def _texts(one: Mapping[str, Any], name: str) -> list[str]:
    values = one.get(name) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise InvalidInput(f"{name} must be a list of texts")
    return values


def _only(value: Any, what: str, known: tuple[str, ...]) -> None:
    if not isinstance(value, dict):
        raise InvalidInput(f"{what} must be a mapping of {', '.join(known)}")
    unknown = [key for key in value if key not in known]
    if unknown:
        raise InvalidInput(f"{what} has {str(unknown[0])[:80]!r}; it knows {', '.join(known)}")
