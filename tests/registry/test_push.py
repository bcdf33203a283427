"""`zeroflow models push`: what it takes, from where, and what it says of it."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from registry.conftest import unique
from registry.test_model_produced import plain
from zeroflow.cli import models, oci
from zeroflow.errors import InvalidInput

TAR, TARGZ = "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.v1.tar+gzip"


def layer(*members: tuple[str, bytes | None], links: tuple[tuple[str, str], ...] = ()) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            if data is None:
                info.type = tarfile.DIRTYPE
            info.size = len(data or b"")
            archive.addfile(info, io.BytesIO(data or b""))
        for name, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return written.getvalue()


class Layout:
    """An OCI image layout, blob by blob."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs" / "sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self.manifests: list[dict[str, Any]] = []

    def blob(self, data: bytes, **told: Any) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (self.folder / "blobs" / "sha256" / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data), **told}

    def image(self, tag: str, *layers: dict[str, Any]) -> "Layout":
        manifest = {"schemaVersion": 2, "config": self.blob(b"{}"), "layers": list(layers)}
        told = self.blob(json.dumps(manifest).encode(), mediaType="application/vnd.oci.image.manifest.v1+json")
        self.manifests.append({**told, "annotations": {oci.TAG: tag}})
        (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": self.manifests}))
        return self


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_modelcar_is_unpacked_layer_by_layer(layout: Layout, tmp_path: Path) -> None:
    lower = layer(("models", None), ("models/model.onnx", b"old"), ("models/gone.txt", b"x"), ("etc/os", b"debian"))
    upper = layer(("models/model.onnx", b"new"), ("models/.wh.gone.txt", b""), ("models/sub/a", b"1"))
    layout.image("v1", layout.blob(lower, mediaType=TAR), layout.blob(gzip.compress(upper), mediaType=TARGZ))
    digest = oci.unpack(layout.folder, tmp_path / "model")
    assert digest == layout.manifests[0]["digest"]
    assert files(tmp_path / "model") == {"model.onnx": b"new", "sub/a": b"1"}


def test_files_of_an_artifact_have_their_titles(layout: Layout, tmp_path: Path) -> None:
    one = layout.blob(b"weights", mediaType="application/octet-stream", annotations={oci.TITLE: "w/model.onnx"})
    layout.image("a", one).image("b", layout.blob(b"other", mediaType="text/plain", annotations={oci.TITLE: "x"}))
    with pytest.raises(InvalidInput, match="--tag: a, b"):
        oci.unpack(layout.folder, tmp_path / "model")
    oci.unpack(layout.folder, tmp_path / "model", "a")
    assert files(tmp_path / "model") == {"w/model.onnx": b"weights"}


def damaged(layout: Layout) -> None:
    told = layout.blob(layer(("models/a", b"1")), mediaType=TAR)
    layout.image("v", told)
    path = layout.folder / "blobs" / "sha256" / told["digest"].removeprefix("sha256:")
    path.write_bytes(path.read_bytes() + b"\0")


HOSTILE: dict[str, tuple[Callable[[Layout], object], str]] = {
    "climbs": (lambda o: o.image("v", o.blob(layer(("models/../../x", b"1")), mediaType=TAR)), "leads out"),
    "absolute": (lambda o: o.image("v", o.blob(layer(("/etc/x", b"1")), mediaType=TAR)), "leads out"),
    "title climbs": (
        lambda o: o.image("v", o.blob(b"1", mediaType="text/plain", annotations={oci.TITLE: "../x"})),
        "leads out",
    ),
    "link": (
        lambda o: o.image("v", o.blob(layer(links=(("models/a", "/etc/passwd"),)), mediaType=TAR)),
        "only files",
    ),
    "damaged": (damaged, "not what its digest says"),
    "no tar": (lambda o: o.image("v", o.blob(b"nothing", mediaType=TAR)), "no tar file"),
    "cut gzip": (lambda o: o.image("v", o.blob(gzip.compress(b"x" * 999)[:30], mediaType=TARGZ)), "no tar file"),
    "missing": (lambda o: o.image("v", {"digest": "sha256:" + "0" * 64, "mediaType": TAR}), "lacks blob"),
    "digest": (lambda o: o.image("v", {"digest": "../../x", "mediaType": TAR}), "no sha256 digest"),
    "empty": (lambda o: o.image("v"), "no layers"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_layout_that_cannot_be_trusted_is_refused(layout: Layout, tmp_path: Path, case: str) -> None:
    make, words = HOSTILE[case]
    make(layout)
    with pytest.raises(InvalidInput, match=words):
        oci.unpack(layout.folder, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layout"]


@pytest.fixture
def push(registry: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("ZEROFLOW_URL", registry.url)
    return lambda *arguments: CliRunner().invoke(models.app, ["push", *arguments, "-o", "json"])


def test_a_model_in_s3_stays_there_and_is_hashed(
    registry: Any, push: Callable[..., Any], s3: Any, tmp_path: Path
) -> None:
    from zeroflow.artifacts import content

    folder = tmp_path / "iris"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"\x08\x07")
    for path in folder.iterdir():
        s3.upload_file(str(path), "models", f"iris/{path.name}")
    signature = tmp_path / "signature.json"
    signature.write_text(json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}], "outputs": []}))
    name, sha = unique("pushed"), "ab" * 32
    options = ["--data", f"s3://data/train@{sha}", "--data", "store://data/x", "--code", "https://git/x@0123abc"]
    pushed = push("s3://models/iris", name, *options, "--signature", str(signature))
    assert pushed.exit_code == 0, pushed.output
    made = json.loads(pushed.stdout)
    assert made["artifact"]["uri"] == "s3://models/iris"
    assert plain(made["artifact"]["customProperties"])["sha256"] == content.of(folder).sha256
    told = plain(made["version"]["customProperties"])
    assert (told["code.repository"], told["code.commit"]) == ("https://git/x", "0123abc")
    assert json.loads(told["signature.inputs"])[0]["shape"] == [-1, 4]
    sets = registry.ok(
        "GET", f"model_versions/{made['version']['id']}/artifacts", query={"artifactType": "dataset-artifact"}
    )
    assert [(one["uri"], one.get("digest")) for one in sets["items"]] == [
        ("s3://data/train", f"sha256:{sha}"),
        ("store://data/x", None),
    ]
    graph = registry.raw("GET", "/api/model_registry/zeroflow/lineage", query={"of": "s3://data/train"}).body
    assert f"model_version:{made['version']['id']}" in [node["node"] for node in graph["nodes"]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing-here", "m"], "holds no file"),
        (["ftp://x/y", "m"], "expected a path"),
        (["s3://models/nothing", "m"], "nothing at s3://models/nothing"),
        ([__file__, "m", "--code", "x"], "REPOSITORY@COMMIT"),
        ([__file__, "m", "--data", "x"], "URI or URI@SHA256"),
        ([__file__, "m", "--signature", __file__], "cannot be read"),
    ],
    ids=str,
)
def test_what_cannot_be_pushed_is_refused_in_one_line(
    registry: Any, push: Callable[..., Any], s3: Any, arguments: list[str], words: str
) -> None:
    before = registry.ok("GET", "registered_models", query={"pageSize": "1", "sortOrder": "DESC"})["items"]
    refused = push(*arguments)
    assert refused.exit_code == 1
    assert words in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert registry.ok("GET", "registered_models", query={"pageSize": "1", "sortOrder": "DESC"})["items"] == before


@pytest.fixture
def onnx(s3: Any) -> str:
    s3.put_object(Bucket="models", Key="next/model.onnx", Body=b"\x08\x07")
    return "s3://models/next"


def test_the_version_is_the_number_after_the_highest_wherever_that_is(
    registry: Any, push: Callable[..., Any], onnx: str
) -> None:
    model = registry.model()
    registry.version(model, name="7")
    for number in range(25):
        registry.version(model, name=f"candidate-{number}")
    registry.version(model, name="1")
    names = [json.loads(push(onnx, model["name"]).stdout)["version"]["name"] for _ in range(2)]
    assert names == ["8", "9"]


@pytest.mark.parametrize(("prefix", "following"), [("governed ", "submit"), ("free", "show")])
def test_it_says_what_comes_next(
    registry: Any, monkeypatch: pytest.MonkeyPatch, onnx: str, prefix: str, following: str
) -> None:
    monkeypatch.setenv("ZEROFLOW_URL", registry.url)
    name = unique(prefix)
    pushed = CliRunner().invoke(models.app, ["push", onnx, name])
    assert pushed.exit_code == 0, pushed.output
    assert f"next: zeroflow models {following} {name} 1" in pushed.stderr
