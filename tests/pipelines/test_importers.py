"""Importers: what is asked of the step, and which artifact the lineage shows."""

from typing import Any

from pipelines.harness import Platform, component, constant, gives, pipeline, task


def _importing(uri: dict[str, Any], **importer: Any) -> dict[str, Any]:
    spec = pipeline(
        {"importer": task("importer", uri=constant("store://data/a")), "use": task("use", data="importer//artifact")},
        {
            "importer": component("importer", takes={"uri": "STRING"}, writes={"artifact": "system.Dataset"}),
            "use": component("use", reads={"data": "system.Dataset"}),
        },
    )
    spec["deploymentSpec"]["executors"]["exec-importer"] = {"importer": {"artifactUri": uri, **importer}}
    for name in ("importer", "use"):
        spec["root"]["dag"]["tasks"][name]["cachingOptions"] = {"enableCache": True}
    return spec


def _found(sha256: str | None, uri: str = "store://data/a") -> Any:
    artifact = {"name": "artifact", "uri": uri, "type": "system.Dataset", "sha256": sha256, "metadata": {"k": 1}}
    return lambda _: gives(artifacts={"artifact": [artifact]})


def _imported(platform: Platform, spec: dict[str, Any]) -> str:
    run = platform.run(spec)
    assert run["state"] == "SUCCEEDED", run
    return str(platform.tasks(run["run_id"])["importer"]["outputs"]["artifacts"]["artifact"][0]["id"])


def test_uri_and_metadata_are_filled_in_for_the_step(platform: Platform) -> None:
    metadata = {"list": ["{{$.inputs.parameters['uri']}}"], "{{$.inputs.parameters['uri']}}": 1.0}
    platform.steps["importer"] = _found("1")
    assert platform.run(_importing({"runtimeParameter": "uri"}, metadata=metadata))["state"] == "SUCCEEDED"
    assert platform.requested[0]["data"]["executor"] == {
        "importer": {"uri": "store://data/a", "metadata": {"list": ["store://data/a"], "store://data/a": 1}}
    }


def test_the_same_content_is_the_same_artifact_unless_it_is_imported_anew(platform: Platform) -> None:
    uri = {"constant": "store://data/a"}
    platform.steps["importer"] = _found("1")
    first = _imported(platform, _importing(uri))
    assert _imported(platform, _importing(uri)) == first
    again = _imported(platform, _importing(uri, reimport=True))
    assert again != first
    platform.steps["importer"] = _found("2")
    assert _imported(platform, _importing(uri)) not in (first, again)


def test_an_importer_always_looks_and_its_content_decides_on_what_follows(platform: Platform) -> None:
    spec = _importing({"constant": "store://data/a"})
    platform.steps["importer"] = _found("1")
    for expected in (["importer", "use"], ["importer"]):
        ran = len(platform.requested)
        platform.run(spec)
        assert [event["data"]["task_name"] for event in platform.requested[ran:]] == expected
    platform.steps["importer"] = _found("2")
    ran = len(platform.requested)
    platform.run(spec)
    assert len(platform.requested) == ran + 2


def test_without_a_hash_the_place_decides(local: Platform) -> None:
    for uri in ("gs://a/1", "gs://a/2"):
        local.steps["importer"] = _found(None, uri)
        ran = len(local.requested)
        local.run(_importing({"constant": uri}))
        assert [event["data"]["task_name"] for event in local.requested[ran:]] == ["importer", "use"]
