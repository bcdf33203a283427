"""The models of a predictor that serves several, as one file says them: written by a function, read by predictors.

The file is `models.json` of the ConfigMap `modelconfig-<InferenceService>-0`, mounted at /mnt/configs: KServe's list
of `{"modelName", "modelSpec": {"storageUri", "framework", "memory"}}`. Beside these each entry has `zeroflow`: where
the bytes lie (what `model-registry://` means), which hash they must have, who vouches for them, and a version that
changes with any of it. Source: KServe pkg/modelconfig, pkg/constants (ModelConfigFileName, ModelConfigDir).
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from zeroflow.errors import InvalidInput

FILE, DIRECTORY = "models.json", "/mnt/configs"
_NAME = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class ConfiguredModel:
    """One model that a predictor is to serve."""

    name: str
    storage_uri: str
    """As it was declared."""
    framework: str
    memory: str
    uri: str
    """Where its bytes lie."""
    declared: str
    """Which state of which object this is: uid and generation."""
    sha256: str | None = None
    vouched_by: str | None = None

    @property
    def version(self) -> str:
        """What tells this from another state of the model: what predictors say they have loaded."""
        said = [self.declared, self.uri, self.framework, self.sha256, self.vouched_by]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]

    def entry(self) -> dict[str, Any]:
        """Return the entry of the file."""
        own = {"uri": self.uri, "declared": self.declared, "sha256": self.sha256, "vouchedBy": self.vouched_by}
        return {
            "modelName": self.name,
            "modelSpec": {"storageUri": self.storage_uri, "framework": self.framework, "memory": self.memory},
            "zeroflow": {name: value for name, value in own.items() if value is not None},
        }

    @classmethod
    def of_entry(cls, entry: Any) -> "ConfiguredModel":
        """Read an entry; raise InvalidInput naming what is wrong. One that KServe wrote has no hash, and no word."""
        spec = entry.get("modelSpec") if isinstance(entry, Mapping) else None
        if not isinstance(spec, Mapping) or not isinstance(entry.get("modelName"), str):
            raise InvalidInput(f"an entry must have modelName and modelSpec, got {str(entry)[:80]}")
        if not _NAME.fullmatch(entry["modelName"]):
            raise InvalidInput(f"modelName must match {_NAME.pattern}, got {entry['modelName'][:80]!r}")
        own = entry.get("zeroflow") or {}
        uri = str(spec.get("storageUri") or "")
        return cls(
            name=entry["modelName"],
            storage_uri=uri,
            framework=str(spec.get("framework") or ""),
            memory=str(spec.get("memory") or ""),
            uri=str(own.get("uri") or uri),
            declared=str(own.get("declared") or ""),
            sha256=own.get("sha256"),
            vouched_by=own.get("vouchedBy"),
        )


def written(models: Iterable[ConfiguredModel]) -> str:
    """Return the file's text: the same models, the same text."""
    entries = [model.entry() for model in sorted(models, key=lambda model: model.name)]
    return json.dumps(entries, separators=(",", ":"), sort_keys=True)


def read(text: str | bytes) -> dict[str, ConfiguredModel]:
    """Return the models of the file by name; raise InvalidInput when it is no such file."""
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{FILE} is no JSON: {error}") from error
    if not isinstance(entries, list):
        raise InvalidInput(f"{FILE} must be a list of models")
    return {model.name: model for model in map(ConfiguredModel.of_entry, entries)}


def name_of(inferenceservice: str) -> str:
    """Return the name of the ConfigMap of an InferenceService; KServe has shards, of which there is one."""
    return f"modelconfig-{inferenceservice}-0"
