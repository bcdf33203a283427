"""PATCH of pipelines and versions: what may change does, what is not given stays."""

import io
from typing import Any

import orjson

from pipelines.harness import Platform, pipeline, task


def _patch(platform: Platform, path: str, body: Any) -> Any:
    return platform.client.patch(f"/apis/v2beta1{path}", data=orjson.dumps(body))


def test_display_name_and_tags_change_and_the_rest_stays(platform: Platform) -> None:
    package = orjson.dumps(pipeline({"a": task("a")}))
    form = {"uploadfile": (io.BytesIO(package), "p.yaml")}
    made = platform.client.post("/apis/v2beta1/pipelines/upload?name=p&description=d", data=form).json
    path = f"/pipelines/{made['pipeline_id']}"
    (version,) = platform.get(f"{path}/versions")["pipeline_versions"]
    for at in (path, f"{path}/versions/{version['pipeline_version_id']}"):
        answer = _patch(platform, at, {"display_name": "shown", "tags": {"team": "blue"}})
        assert answer.status_code == 200, answer.data
        assert _patch(platform, at, {"name": "other"}).status_code == 200
        after = platform.get(at)
        assert (after["display_name"], after["tags"], after["name"]) == ("shown", {"team": "blue"}, "p")
        assert _patch(platform, at, {"tags": {"team": 1}}).status_code == 400
        _patch(platform, at, {"tags": {}})
        assert "tags" not in platform.get(at)
    assert platform.get(path)["description"] == "d"
    assert _patch(platform, "/pipelines/ghost", {}).status_code == 404
