"""A user's script for the official model-registry client, run in an environment that has only the client.

Prints one JSON document: what the client returned.
"""

import json
import sys
import warnings

warnings.simplefilter("ignore")

from model_registry import ModelRegistry  # noqa: E402
from model_registry.exceptions import StoreError  # noqa: E402
from model_registry.types import ModelVersion, RegisteredModel  # noqa: E402
from mr_openapi import MetricCreate  # noqa: E402  (present in every release: a smoke test of the generated package)

assert MetricCreate


def main(url: str, name: str, foreign: str) -> dict[str, object]:
    host, _, port = url.rpartition(":")
    registry = ModelRegistry(host, int(port), author="Ada", is_secure=False)
    model = registry.register_model(
        name,
        "s3://bucket/model.onnx?endpoint=http%3A%2F%2Fs3",
        version="1.0",
        version_description="the first",
        model_format_name="onnx",
        model_format_version="1",
        storage_key="key",
        storage_path="path",
        model_source_kind="kfp",
        model_source_class="pipelinerun",
        model_source_group="ns",
        model_source_id="run-1",
        model_source_name="a run",
        metadata={"accuracy": 0.93, "epochs": 500, "stage": "tüst", "ok": True, "label": ""},
    )
    again = registry.register_model(
        name, "s3://bucket/model2.onnx", version="2.0", model_format_name="onnx", model_format_version="1"
    )
    version = registry.get_model_version(name, "1.0")
    artifact = registry.get_model_artifact(name, "1.0")
    model_found = registry.get_registered_model(name)
    try:
        registry.register_model(name, "s3://x", version="1.0", model_format_name="x", model_format_version="1")
        duplicate = "accepted"
    except StoreError as error:
        duplicate = str(error)
    model_found.description = "described"
    model_found.custom_properties = {"team": "blue"}
    updated = registry.update(model_found)
    artifact.uri = "s3://bucket/elsewhere"
    artifact_updated = registry.update(artifact)
    version.description = ""
    version_updated = registry.update(version)
    for number in range(3, 8):
        registry.register_model(name, "s3://x", version=str(number), model_format_name="x", model_format_version="1")
    pages = {
        "ascending": [v.name for v in registry.get_model_versions(name).page_size(2)],
        "descending": [v.name for v in registry.get_model_versions(name).order_by_creation_time().descending()],
        "updated": [v.name for v in registry.get_model_versions(name).order_by_update_time().page_size(3)],
        "exact": [v.name for v in registry.get_model_versions(name).page_size(7)],
    }
    names = [m.name for m in registry.get_registered_models().page_size(2)]
    artifacts = registry.async_runner(registry._api.get_model_version_artifacts(version.id))
    of_others = registry.async_runner(registry._api.get_model_version_artifacts(foreign))
    missing_model = registry.get_registered_model("no such model")
    assert isinstance(model, RegisteredModel)
    assert isinstance(version, ModelVersion)
    return {
        "same_model": model.id == again.id,
        "version": {"author": version.author, "properties": version.custom_properties, "state": version.state.value},
        "artifact": artifact.model_dump(mode="json"),
        "duplicate": duplicate,
        "updated": updated.model_dump(mode="json"),
        "artifact_uri": artifact_updated.uri,
        "version_description": version_updated.description,
        "pages": pages,
        "listed": name in names and len(names) == len(set(names)),
        "artifacts": [type(one).__name__ for one in artifacts],
        "of_others": [one.model_dump(mode="json") for one in of_others],
        "missing_model": missing_model,
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
