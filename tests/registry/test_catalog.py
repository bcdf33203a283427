"""The catalog API over sources in YAML, answers checked against the official OpenAPI document where it is there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml
from flask.testing import FlaskClient

from zeroflow.functions.register.catalog import wildcards
from zeroflow.functions.register.handler import create_app
from zeroflow.settings import Settings

API = "/api/model_catalog/v1alpha1"
SOURCES = """
catalogs:
  - {id: hub, name: The hub, type: yaml, labels: [public], excludedModels: ["*-DRAFT"],
     properties: {yamlCatalogPath: hub.yaml}}
  - {id: ours, name: Ours, type: yaml, properties: {yamlCatalogPath: ours.yaml}}
  - {id: asleep, name: "Off", type: yaml, enabled: false, properties: {yamlCatalogPath: none.yaml}}
  - {id: gone, name: Gone, type: yaml, properties: {yamlCatalogPath: gone.yaml}}
labels:
  - {name: public, displayName: From outside}
  - {name: null, displayName: Everything else}
namedQueries:
  small: {size: {operator: "<", value: 10}}
"""
HUB = """
source: The hub
models:
  - name: ibm/granite-8b
    provider: IBM
    description: A model of words
    tasks: [text-generation, chat]
    license: apache-2.0
    logo: "data:image/svg+xml;base64,AA=="
    createTimeSinceEpoch: "1739210683000"
    customProperties:
      size: {metadataType: MetadataDoubleValue, double_value: 8.0}
      kind: {metadataType: MetadataStringValue, string_value: dense}
    artifacts:
      - {uri: "oci://registry/granite:8b", name: weights}
      - artifactType: metrics-artifact
        metricsType: accuracy-metrics
        customProperties:
          overall_average: {metadataType: MetadataDoubleValue, double_value: 0.61}
      - artifactType: metrics-artifact
        metricsType: performance-metrics
        name: fast
        customProperties:
          ttft_p90: {metadataType: MetadataDoubleValue, double_value: 45.0}
  - name: ibm/granite-2b
    provider: IBM
    tasks: [text-generation]
    customProperties:
      size: {metadataType: MetadataDoubleValue, double_value: 2.0}
    artifacts:
      - artifactType: metrics-artifact
        metricsType: accuracy-metrics
        customProperties:
          overall_average: {metadataType: MetadataDoubleValue, double_value: 0.44}
  - name: ibm/next-draft
"""
OURS = """
models:
  - {name: flights, description: "Delays, by 100% certainty"}
  - {name: flights}
  - {name: broken, artifacts: [{}]}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("catalog")
    for name, text in (("sources.yaml", SOURCES), ("hub.yaml", HUB), ("ours.yaml", OURS)):
        (where / name).write_text(text)
    return where


@pytest.fixture(scope="module")
def client(folder: Path) -> FlaskClient:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZEROFLOW_CATALOG", str(folder / "sources.yaml"))
        app = create_app(Settings(database_url=f"sqlite:///{folder / 'none.sqlite'}", store=folder / "store"))
    return app.test_client()


@pytest.fixture(scope="module")
def get(client: FlaskClient, contract: Callable[[str, Any], None]) -> Callable[..., Any]:
    def call(path: str, status: int = 200, **query: str) -> Any:
        answer = client.get(f"{API}/{path}?{urlencode(query)}")
        assert answer.status_code == status, answer.text
        if status == 200:
            contract(path, answer.json)
        else:
            assert set(answer.json) == {"code", "message"}
        return answer.json

    return call


@pytest.fixture(scope="module")
def contract(request: pytest.FixtureRequest) -> Callable[[str, Any], None]:
    """Check an answer against the OpenAPI document; without the document, check nothing."""
    import os

    if not os.environ.get("ZEROFLOW_CONTRACTS"):
        return lambda _path, _answer: None
    import jsonschema

    from registry.conftest import by_discriminator

    contract = Path(os.environ["ZEROFLOW_CONTRACTS"]) / "model-registry/catalog.yaml"
    document = yaml.load(contract.read_text(), yaml.CSafeLoader)
    components = by_discriminator(json.loads(json.dumps(document).replace('"nullable": true', '"x": 1')))
    schemas = {"models": "CatalogModelList", "sources": "CatalogSourceList", "labels": None}

    def check(path: str, answer: Any) -> None:
        kind = (
            "FilterOptionsList"
            if path.endswith("filter_options")
            else "CatalogArtifactList"
            if "/artifacts" in path
            else "CatalogModel"
            if path.startswith("sources/")
            else schemas[path]
        )
        if kind:
            jsonschema.validate(answer, {"$ref": f"#/components/schemas/{kind}", **components})

    return check


def names(answer: Any) -> list[str]:
    return [one["name"] for one in answer["items"]]


def test_sources_say_how_they_are(get: Any) -> None:
    sources = {one["id"]: one for one in get("sources")["items"]}
    assert {name: one["status"] for name, one in sources.items()} == {
        "hub": "available",
        "ours": "partially-available",
        "asleep": "disabled",
        "gone": "error",
    }
    assert "two models 'flights'" in sources["ours"]["error"]
    assert "gone.yaml" in sources["gone"]["error"]
    assert names(get("sources", name="our")) == ["Ours"]
    assert names(get("sources", orderBy="NAME", sortOrder="DESC")) == ["The hub", "Ours", "Off", "Gone"]
    assert get("sources", assetType="mcp_servers")["items"] == []


def test_models_of_enabled_sources_in_the_order_of_names(get: Any) -> None:
    answer = get("models")
    assert names(answer) == ["flights", "ibm/granite-2b", "ibm/granite-8b"]
    assert answer["items"][2]["source_id"] == "hub"
    assert answer["size"] == 3


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"source": "ours"}, ["flights"]),
        ({"source": "ours,hub", "q": "granite"}, ["ibm/granite-2b", "ibm/granite-8b"]),
        ({"q": "WORDS ibm"}, ["ibm/granite-8b"]),
        ({"sourceLabel": "public"}, ["ibm/granite-2b", "ibm/granite-8b"]),
        ({"sourceLabel": "null"}, ["flights"]),
        ({"filterQuery": "provider='IBM' AND size < 5"}, ["ibm/granite-2b"]),
        ({"filterQuery": "tasks = 'chat'"}, ["ibm/granite-8b"]),
        ({"filterQuery": "tasks != 'chat'"}, ["ibm/granite-2b"]),
        ({"filterQuery": "kind.string_value IN ('dense', 'sparse')"}, ["ibm/granite-8b"]),
        ({"filterQuery": "name ILIKE '%GRANITE%' AND (size = 8 OR size = 9)"}, ["ibm/granite-8b"]),
        ({"filterQuery": "description LIKE '%100\\%%'"}, ["flights"]),
        ({"filterQuery": "artifacts.ttft_p90 > 40"}, ["ibm/granite-8b"]),
        ({"filterQuery": "createTimeSinceEpoch > 1"}, ["ibm/granite-8b"]),
        ({"orderBy": "ACCURACY", "sortOrder": "DESC"}, ["ibm/granite-8b", "ibm/granite-2b", "flights"]),
        ({"orderBy": "size.double_value"}, ["ibm/granite-2b", "ibm/granite-8b", "flights"]),
        ({"orderBy": "NAME", "sortOrder": "DESC"}, ["ibm/granite-8b", "ibm/granite-2b", "flights"]),
    ],
    ids=str,
)
def test_models_are_found(get: Any, query: dict[str, str], expected: list[str]) -> None:
    assert names(get("models", **query)) == expected


def test_pages_are_deterministic_and_cover_everything(get: Any) -> None:
    first = get("models", pageSize="2")
    second = get("models", pageSize="2", nextPageToken=first["nextPageToken"])
    assert names(first) + names(second) == names(get("models"))
    assert second["nextPageToken"] == ""
    assert get("models", pageSize="2")["nextPageToken"] == first["nextPageToken"]
    get("models", 400, pageSize="2", orderBy="ID", nextPageToken=first["nextPageToken"])


def test_a_model_and_its_artifacts(get: Any) -> None:
    assert get("sources/hub/models/ibm/granite-8b")["provider"] == "IBM"
    path = "sources/hub/models/ibm/granite-8b/artifacts"
    assert len(get(path)["items"]) == 3
    assert names(get(path, artifactType="model-artifact")) == ["weights"]
    assert names(get(f"{path}/performance")) == ["fast"]
    assert get(path, orderBy="ttft_p90.double_value")["items"][0]["name"] == "fast"
    assert names(get(path, filterQuery="uri LIKE 'oci://%'")) == ["weights"]
    assert "draft" not in str(get("models"))
    get("sources/hub/models/ibm/next-draft", 404)
    get("sources/nowhere/models/x", 404)


def test_labels_and_filter_options(get: Any) -> None:
    assert [one["name"] for one in get("labels", orderBy="displayName")["items"]] == [None, "public"]
    options = get("models/filter_options")
    assert options["filters"]["provider"] == {"type": "string", "values": ["IBM"]}
    assert options["filters"]["size"] == {"type": "number", "range": {"min": 2.0, "max": 8.0}}
    assert options["filters"]["artifacts.ttft_p90"]["range"] == {"min": 45.0, "max": 45.0}
    assert options["namedQueries"] == {"small": {"size": {"operator": "<", "value": 10}}}


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("models", {"filterQuery": "name ="}),
        ("models", {"orderBy": "size"}),
        ("models", {"orderBy": ".double_value"}),
        ("models", {"sortOrder": "up"}),
        ("models", {"pageSize": "-1"}),
        ("models", {"nextPageToken": "%%%"}),
        ("models", {"recommendations": "true"}),
        ("models", {"q": "a\0b"}),
        ("sources", {"assetType": "cats"}),
        ("sources/hub/models/ibm/granite-8b/artifacts", {"artifactType": "doc"}),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused(get: Any, path: str, query: dict[str, str]) -> None:
    get(path, 400, **query)


def test_preview_of_a_source_that_is_not_configured(client: FlaskClient) -> None:
    from io import BytesIO

    config = b"type: yaml\nincludedModels: ['IBM/*']\nexcludedModels: ['*-2b']\n"
    data = {"config": (BytesIO(config), "c.yaml"), "catalogData": (BytesIO(HUB.encode()), "d.yaml")}
    answer = client.post(f"{API}/sources/preview?filterStatus=included", data=data)
    assert answer.json["summary"] == {"totalModels": 3, "includedModels": 2, "excludedModels": 1}
    assert names(answer.json) == ["ibm/granite-8b", "ibm/next-draft"]
    for wrong in (b"type: hf", b"type: yaml\nproperties: {yamlCatalogPath: ../../etc/passwd}", b"[", b"type: yaml"):
        refused = client.post(f"{API}/sources/preview", data={"config": (BytesIO(wrong), "c.yaml")})
        assert refused.status_code == 400, (wrong, refused.text)


def test_a_changed_file_is_read_again_and_a_broken_one_stops_only_the_catalog(get: Any, folder: Path) -> None:
    (folder / "ours.yaml").write_text("models: [{name: trains}]")
    assert names(get("models", source="ours")) == ["trains"]
    (folder / "sources.yaml").write_text("catalogs: [{id: x, type: hf}]")
    assert "type must be yaml" in get("models", 503)["message"]
    (folder / "sources.yaml").write_text(SOURCES)
    assert names(get("models", source="ours")) == ["trains"]


def test_a_hostile_pattern_takes_bounded_time() -> None:
    pattern = wildcards.of_like("%a" * 2_000 + "%b")
    assert not wildcards.fits("a" * 5_000, pattern)
