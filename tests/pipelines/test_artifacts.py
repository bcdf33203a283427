"""Artifacts of runs: lists, metrics, and their bytes, which are a user's and may harm nobody."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from pipelines.harness import Platform, component, gives, pipeline, task, writes
from zeroflow.artifacts import Stores
from zeroflow.metadata.artifacts import Artifact

COMPONENTS = {
    "page": component("page", writes={"html": "system.HTML"}),
    "score": component("score", writes={"metrics": "system.Metrics"}),
    "split": component("split", writes={"parts": "system.Dataset"}),
}


def _artifact(platform: Platform, run_id: str, name: str) -> dict[str, Any]:
    (found,) = [one for one in platform.get(f"/runs/{run_id}/artifacts")["artifacts"] if one["name"] == name]
    return found


@pytest.fixture
def run_id(local: Platform) -> str:
    """A run that wrote a page, metrics and a directory."""

    def directory(request: dict[str, Any]) -> dict[str, Any]:
        uri = request["data"]["executor_input"]["outputs"]["artifacts"]["parts"]["artifacts"][0]["uri"]
        source = local.store.parent / "parts"
        (source / "sub").mkdir(parents=True)
        (source / "a.csv").write_text("1\n")
        (source / "sub" / "b.csv").write_text("2\n")
        stored = Stores(local.store).put(source, uri)
        artifact = {"name": "parts", "uri": uri, "type": "system.Dataset", "metadata": {}}
        sizes = {"sha256": stored.sha256, "size_bytes": stored.size_bytes}
        return gives(artifacts={"parts": [{**artifact, **sizes}]})

    local.steps |= {
        "page": writes(local, "html", "<script>fetch('/apis')</script>"),
        "score": writes(local, "metrics", "", auc=0.7, rows=3),
        "split": directory,
    }
    spec = pipeline({"page": task("page"), "score": task("score"), "split": task("split")}, COMPONENTS)
    return str(local.run(spec)["run_id"])


def test_a_run_tells_its_artifacts_and_metrics(local: Platform, run_id: str) -> None:
    listed = local.get(f"/runs/{run_id}/artifacts?sort_by=name")
    assert [one["name"] for one in listed["artifacts"]] == ["html", "metrics", "parts"]
    assert local.get(f"/runs/{run_id}/artifacts?direction=input")["total_size"] == 0
    (measured,) = local.get(f"/runs/{run_id}/metrics")["metrics"]
    assert (measured["task"], measured["output"], measured["values"]) == ("score", "metrics", {"auc": 0.7, "rows": 3})
    assert local.get("/artifacts?page_size=1")["total_size"] == 3
    assert local.get("/artifacts?namespace=team")["total_size"] == 0
    assert local.client.get("/apis/v2beta1/runs/ghost/artifacts").status_code == 404


def test_bytes_are_downloaded_and_shown_in_an_origin_of_their_own(local: Platform, run_id: str) -> None:
    where = f"/apis/v2beta1/artifacts/{_artifact(local, run_id, 'html')['artifact_id']}/content"
    saved = local.client.get(where, buffered=True)
    assert saved.data == b"<script>fetch('/apis')</script>"
    assert saved.headers["Content-Disposition"].startswith("attachment")
    shown = local.client.get(f"{where}?view=true", buffered=True)
    assert shown.headers["Content-Type"].startswith("text/html")
    assert shown.headers["Content-Disposition"].startswith("inline")
    for answer in (saved, shown):
        assert answer.headers["Content-Security-Policy"] == "sandbox allow-scripts"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    part = local.client.get(where, headers={"Range": "bytes=1-6"}, buffered=True)
    assert (part.status_code, part.data) == (206, b"script")


def test_a_directory_comes_as_an_archive_or_file_by_file(local: Platform, run_id: str, tmp_path: Path) -> None:
    import io
    import tarfile

    where = f"/apis/v2beta1/artifacts/{_artifact(local, run_id, 'parts')['artifact_id']}/content"
    with tarfile.open(fileobj=io.BytesIO(local.client.get(where, buffered=True).data)) as archive:
        assert sorted(member.name for member in archive if member.isfile()) == ["parts/a.csv", "parts/sub/b.csv"]
    assert local.client.get(f"{where}?path=sub/b.csv", buffered=True).data == b"2\n"
    (tmp_path / "store" / "secret").write_text("x")
    for path, status in (("../../../../../secret", 400), ("/etc/passwd", 400), ("a%00", 400), ("none", 404)):
        answer = local.client.get(f"{where}?path={path}", buffered=True)
        assert answer.status_code == status, path
        assert answer.json["code"] in (3, 5)


def test_bytes_that_are_not_there_are_said_so(local: Platform, run_id: str) -> None:
    page = _artifact(local, run_id, "html")
    Stores(local.store).delete(page["uri"])
    gone = local.client.get(f"/apis/v2beta1/artifacts/{page['artifact_id']}/content")
    assert (gone.status_code, gone.json["message"]) == (404, f"there is nothing at {page['uri']}")
    with local.database.transaction() as session:
        session.execute(update(Artifact).where(Artifact.id == page["artifact_id"]).values(uri="gs://bucket/page"))
    elsewhere = local.client.get(f"/apis/v2beta1/artifacts/{page['artifact_id']}/content")
    assert (elsewhere.status_code, elsewhere.json["code"]) == (400, 9)
    assert "gs://bucket/page, which is not read from here" in elsewhere.json["message"]
    assert local.client.get("/apis/v2beta1/artifacts/ghost/content").status_code == 404
