"""Where models are read from besides stores, and what of it is refused: addresses, archives, links."""

import gzip
import hashlib
import io
import json
import socket
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from artifacts.servers import Web, google_storage, hub, web
from zeroflow.artifacts import Stores
from zeroflow.artifacts.archive import BadArchive, unpack
from zeroflow.artifacts.guard import Guard, is_public
from zeroflow.artifacts.initializer import main
from zeroflow.errors import Forbidden, InvalidInput, NotFound, Unavailable, ZeroflowError


@pytest.fixture
def site() -> Iterator[Web]:
    with web() as served:
        yield served


def stores(tmp_path: Path, **environment: str) -> Stores:
    return Stores(tmp_path / "store", environment=environment)


def open_to(tmp_path: Path, site: Web, **environment: str) -> Stores:
    return stores(tmp_path, ZEROFLOW_ALLOW_PRIVATE_HOSTS=site.address, **environment)


def files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def tar_of(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_a_file_on_the_web_is_fetched_with_its_query_and_keeps_its_name(tmp_path, site):
    site.files["/m/model.joblib?raw=true"] = b"bytes"
    open_to(tmp_path, site).fetch(f"{site.url}/m/model.joblib?raw=true", tmp_path / "out")
    assert files(tmp_path / "out") == {"model.joblib": b"bytes"}
    assert open_to(tmp_path, site).exists(f"{site.url}/m/model.joblib?raw=true")
    with pytest.raises(NotFound, match="answers 404"):
        open_to(tmp_path, site).fetch(f"{site.url}/none", tmp_path / "none")


def test_an_archive_is_unpacked(tmp_path, site):
    site.files["/model.tgz"] = tar_of(**{"model.joblib": b"1", "deep__x": b"2"})
    open_to(tmp_path, site).fetch(f"{site.url}/model.tgz", tmp_path / "out")
    assert files(tmp_path / "out") == {"model.joblib": b"1", "deep/x": b"2"}


def test_headers_of_a_secret_go_to_their_host_alone(tmp_path, site):
    secret = {"HTTPS_HOST": "127.0.0.1", "HTTPS_HEADERS": "X-Key: one\nX-Other: two"}
    site.files["/model.onnx"] = b"x"
    open_to(tmp_path, site, **secret).fetch(f"{site.url}/model.onnx", tmp_path / "model.onnx")
    assert site.headers["X-Key"] == "one"
    with web() as elsewhere:
        elsewhere.files["/model.onnx"] = b"y"
        elsewhere_url = f"http://localhost:{elsewhere.address.rpartition(':')[2]}"
        site.redirects["/moved.onnx"] = f"{elsewhere_url}/model.onnx"
        allowed = {"ZEROFLOW_ALLOW_PRIVATE_HOSTS": f"{site.address},localhost"}
        stores(tmp_path, **secret, **allowed).fetch(f"{site.url}/moved.onnx", tmp_path / "moved.onnx")
        assert "X-Key" not in elsewhere.headers


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x",
        "http://localhost/x",
        "http://[::1]/x",
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:169.254.169.254]/x",
        "http://[::169.254.169.254]/x",
        "http://[64:ff9b:1::a9fe:a9fe]/x",
        "http://[fec0::1]/x",
        "http://168.63.129.16/metadata",
        "http://192.0.0.192/opc/v2",
        "http://[64:ff9b::a9fe:a9fe]/x",
        "http://10.0.0.1/x",
        "http://192.168.1.1/x",
        "http://0.0.0.0/x",
        "http://2130706433/x",
        "http://0x7f.1/x",
        "http://[fe80::1]/x",
        "http://100.64.0.1/x",
    ],
)
def test_addresses_that_are_not_public_are_never_asked(tmp_path, url):
    with pytest.raises((Forbidden, Unavailable)) as refused:
        stores(tmp_path).fetch(url, tmp_path / "out")
    assert "not public" in str(refused.value) or "is not found" in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_redirect_to_a_forbidden_address_is_not_followed(tmp_path, site):
    with web() as inner:
        inner.files["/secret"] = b"secret"
        site.redirects["/model"] = f"{inner.url}/secret"
        with pytest.raises(Forbidden, match="not public"):
            open_to(tmp_path, site).fetch(f"{site.url}/model", tmp_path / "out")
        assert inner.asked == []
    site.redirects["/file"] = "file:///etc/passwd"
    with pytest.raises(Forbidden, match="neither http nor https"):
        open_to(tmp_path, site).fetch(f"{site.url}/file", tmp_path / "out")
    site.redirects["/loop"] = f"{site.url}/loop"
    with pytest.raises(Unavailable, match="redirects more than"):
        open_to(tmp_path, site).fetch(f"{site.url}/loop", tmp_path / "out")


def test_a_name_that_answers_otherwise_the_second_time_gains_nothing(monkeypatch, site):
    """DNS rebinding: the address that was checked is the one that is connected to; the name is resolved once."""
    answers = iter(["203.0.113.1", "127.0.0.1"])
    resolved = []

    def resolve(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        resolved.append(host)
        address = next(answers) if host == "rebinding.example" else host
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    connected = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: connected.append(address[0]) or _refuse())
    guard = Guard(frozenset({"rebinding.example"}))
    with pytest.raises(Unavailable), guard.get("http://rebinding.example/x"):
        pass
    assert set(connected) == {"203.0.113.1"}
    assert resolved.count("rebinding.example") == 1


def _refuse() -> None:
    raise ConnectionRefusedError


def test_every_address_of_a_name_must_be_public(monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("93.184.216.34", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(Forbidden, match=r"10\.0\.0\.1"):
        Guard().address_of("both.example", 80)
    assert is_public("93.184.216.34")


def test_what_is_larger_than_allowed_is_not_kept(tmp_path, site):
    site.files["/model.onnx"] = b"x" * 10_000
    limited = open_to(tmp_path, site, ZEROFLOW_MAX_MODEL_BYTES="5000")
    with pytest.raises(InvalidInput, match="5000 are allowed"):
        limited.fetch(f"{site.url}/model.onnx", tmp_path / "model.onnx")
    site.files["/bomb.tgz"] = tar_of(model=b"\0" * 100_000)
    with pytest.raises(BadArchive, match="more than the 5000 bytes"):
        limited.fetch(f"{site.url}/bomb.tgz", tmp_path / "bomb")


def evil_tar(kind: bytes, name: str, link: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        archive.addfile(info, io.BytesIO(b""))
    return buffer.getvalue()


def evil_zip(name: str, mode: int = 0o100644) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


def wordy_tar(size: int, packed: bool) -> bytes:
    """Return a tar archive that takes so many bytes to say what its one member is called."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, size
    whole = info.tobuf() + b"a" * size + b"\0" * (-size % tarfile.BLOCKSIZE) + b"\0" * 2 * tarfile.BLOCKSIZE
    return gzip.compress(whole, 1) if packed else whole


def damaged_zip() -> bytes:
    """Return a zip archive whose member does not begin as packed bytes do."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model", b"x" * 1_000)
    whole = bytearray(buffer.getvalue())
    whole[30 + len("model")] = 0x07
    return bytes(whole)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (wordy_tar(3 << 20, False), "describes a member by 3145728 bytes"),
        (wordy_tar(3 << 20, True), "describes a member by 3145728 bytes"),
        (damaged_zip(), "cannot be unpacked"),
        (evil_tar(tarfile.REGTYPE, "../escaped"), "climbs out"),
        (evil_tar(tarfile.REGTYPE, "/escaped"), "climbs out"),
        (evil_tar(tarfile.REGTYPE, "a/../../escaped"), "climbs out"),
        (evil_tar(tarfile.SYMTYPE, "link", "/etc"), "link or a device"),
        (evil_tar(tarfile.LNKTYPE, "link", "../../escaped"), "link or a device"),
        (evil_tar(tarfile.CHRTYPE, "device"), "link or a device"),
        (evil_zip("../escaped"), "climbs out"),
        (evil_zip("..\\escaped"), "climbs out"),
        (evil_zip("link", 0o120777), "link or a device"),
        (tar_of(model=b"x")[:30], "cannot be unpacked"),
        (b"no archive at all", "cannot be unpacked"),
    ],
    ids=[
        *("wordy", "wordy-gz", "damaged", "up", "root", "deep-up", "symlink", "hardlink", "device"),
        *("zip-slip", "backslash", "zip-link", "cut", "junk"),
    ],
)
def test_an_archive_that_leads_elsewhere_is_refused(tmp_path, content, words):
    archive = tmp_path / "model.tar"
    archive.write_bytes(content)
    target = tmp_path / "inside" / "out"
    with pytest.raises(BadArchive, match=words):
        unpack(archive, target, 1 << 20)
    assert not list(tmp_path.rglob("escaped"))
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


def test_google_storage_gives_a_file_or_everything_below_a_prefix(tmp_path):
    objects = {"examples": {"models/a/model.joblib": b"1", "models/a/b/c": b"2", "models/a/d": b"3", "models/ab": b"4"}}
    with google_storage(objects) as url:
        reading = stores(tmp_path, STORAGE_EMULATOR_HOST=url)
        reading.fetch("gs://examples/models/a", tmp_path / "out")
        assert files(tmp_path / "out") == {"model.joblib": b"1", "b/c": b"2", "d": b"3"}
        reading.fetch("gs://examples/models/ab", tmp_path / "one")
        assert (tmp_path / "one").read_bytes() == b"4"
        assert not reading.exists("gs://examples/models/none")
        with pytest.raises(NotFound, match="no bucket 'none'"):
            reading.fetch("gs://none/x", tmp_path / "x")
        with pytest.raises(InvalidInput, match="can only be read"):
            reading.put(tmp_path / "one", "gs://examples/new")
        objects["examples"]["evil/../../escaped"] = b"5"
        with pytest.raises(InvalidInput, match="climbs out"):
            reading.fetch("gs://examples/evil", tmp_path / "evil")


def test_a_hub_mirror_is_read_in_both_layouts(tmp_path):
    mirror = tmp_path / "hub"
    plain = mirror / "org" / "plain"
    plain.mkdir(parents=True)
    (plain / "config.json").write_text("{}")
    cached = mirror / "models--org--cached"
    (cached / "blobs").mkdir(parents=True)
    (cached / "blobs" / "b1").write_text("blob")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("c0ffee")
    snapshot = cached / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").symlink_to("../../blobs/b1")
    reading = stores(tmp_path, ZEROFLOW_HF_MIRROR=str(mirror), HF_HUB_OFFLINE="1")
    assert reading.local_path("hf://org/plain") == reading.local_path("hf://org/plain:main") == plain
    for revision in ("", ":main", ":c0ffee"):
        target = tmp_path / f"out{revision[1:]}"
        reading.fetch(f"hf://org/cached{revision}", target)
        assert files(target) == {"config.json": b"blob"}
    (snapshot / "evil").symlink_to("/etc/passwd")
    with pytest.raises(InvalidInput, match="leads out of the mirror"):
        reading.fetch("hf://org/cached", tmp_path / "evil")
    with pytest.raises(NotFound):
        reading.fetch("hf://org/cached:v2", tmp_path / "none")


OLD, NEW = "a" * 40, "b" * 40
WEIGHTS = b"weights of this commit"


def open_hub(tmp_path: Path, served: Web, **environment: str) -> Stores:
    return open_to(tmp_path, served, HF_ENDPOINT=served.url, **environment)


def test_what_no_mirror_has_is_read_from_the_hub(tmp_path):
    new = {
        "config.json": b"{}",
        "model.safetensors": WEIGHTS,
        "pytorch_model.bin": WEIGHTS,
        "tf_model.h5": b"",
        "onnx/model.onnx": b"",
        "1_Pooling/config.json": b"{}",
    }
    old = {"config.json": b"{1}", "pytorch_model.bin": b"old"}
    (tmp_path / "mirror" / "org").mkdir(parents=True)
    with hub({"org/bert": {OLD: old, NEW: new}, "gpt2": {OLD: old}}) as served:
        reading = open_hub(tmp_path, served, ZEROFLOW_HF_MIRROR=str(tmp_path / "mirror"))
        reading.fetch("hf://org/bert", tmp_path / "new")
        assert files(tmp_path / "new") == {
            "config.json": b"{}",
            "model.safetensors": WEIGHTS,
            "1_Pooling/config.json": b"{}",
        }
        reading.fetch(f"hf://org/bert:{OLD}", tmp_path / "old")
        reading.fetch("hf://gpt2", tmp_path / "gpt2")
        assert files(tmp_path / "old") == files(tmp_path / "gpt2") == old
        assert reading.exists("hf://org/bert")
        assert reading.local_path("hf://org/bert") is None
        with pytest.raises(NotFound, match="no revision 'v9' of org/bert"):
            reading.exists("hf://org/bert:v9")
        with pytest.raises(NotFound):
            reading.exists("hf://org")
        with pytest.raises(InvalidInput, match="bytes"):
            open_hub(tmp_path, served, ZEROFLOW_MAX_MODEL_BYTES="10").fetch("hf://org/bert", tmp_path / "large")


def test_a_model_of_the_hub_is_fetched_again_when_it_has_a_new_commit(tmp_path):
    commits = {OLD: {"model.safetensors": b"1"}}
    with hub({"org/it": commits}) as served:
        reading = open_hub(tmp_path, served, ZEROFLOW_MODEL_CACHE=str(tmp_path / "cache"))
        for number in range(2):
            reading.fetch("hf://org/it", tmp_path / f"{number}")
        assert [path for path in served.asked if "resolve" in path] == [f"/org/it/resolve/{OLD}/model.safetensors"]
        commits[NEW] = {"model.safetensors": b"2"}
        reading.fetch("hf://org/it", tmp_path / "2")
        assert files(tmp_path / "2") == {"model.safetensors": b"2"}
        reading.fetch(f"hf://org/it:{OLD}", tmp_path / "3")
        served.asked.clear()
        reading.fetch(f"hf://org/it:{OLD}", tmp_path / "4")
        assert (files(tmp_path / "4"), served.asked) == ({"model.safetensors": b"1"}, [])  # a commit stays what it is


def test_the_hubs_token_goes_to_the_hub_alone(tmp_path):
    with hub({"org/gated": {OLD: {"model.safetensors": b"1"}}}, token="hf_secret") as served, web() as elsewhere:
        with pytest.raises(Forbidden, match="keeps it from others: the service account's Secret may have the HF_TOKEN"):
            open_hub(tmp_path, served).fetch("hf://org/gated", tmp_path / "out")
        open_hub(tmp_path, served, HF_TOKEN="hf_secret").fetch("hf://org/gated", tmp_path / "out")
        assert files(tmp_path / "out") == {"model.safetensors": b"1"}
        away = f"http://localhost:{elsewhere.address.rpartition(':')[2]}/blob"
        elsewhere.files["/blob"] = b"12345678"
        name = f"/org/gated/resolve/{OLD}/model.safetensors"
        with web() as front:
            front.files["/api/models/org/gated/revision/main"] = json.dumps(
                {"sha": OLD, "siblings": [{"rfilename": "model.safetensors"}]}
            ).encode()
            front.redirects[name] = away
            moved = stores(
                tmp_path,
                HF_ENDPOINT=front.url,
                HF_TOKEN="hf_secret",
                ZEROFLOW_ALLOW_PRIVATE_HOSTS=f"{front.address},localhost",
            )
            moved.fetch("hf://org/gated", tmp_path / "moved")
        assert files(tmp_path / "moved") == {"model.safetensors": b"12345678"}
        assert "Authorization" not in elsewhere.headers


def test_the_hub_is_reached_as_any_other_host_or_not_at_all(tmp_path):
    evil = {"../../escaped": b"1"}
    with hub({"org/evil": {OLD: evil}}) as served:
        with pytest.raises(Forbidden, match="not public"):
            stores(tmp_path, HF_ENDPOINT=served.url).exists("hf://org/evil")
        with pytest.raises(NotFound, match=r"no mirror on disk .* not asked"):
            open_hub(tmp_path, served, HF_HUB_OFFLINE="1").exists("hf://org/evil")
        with pytest.raises(InvalidInput, match="climbs out"):
            open_hub(tmp_path, served).fetch("hf://org/evil", tmp_path / "in" / "evil")
    assert not list(tmp_path.rglob("escaped"))
    with web() as other:
        other.files["/api/models/org/it/revision/main"] = b"[]"
        with pytest.raises(Unavailable, match="does not speak the hub's API"):
            open_hub(tmp_path, other).exists("hf://org/it")
    with pytest.raises(Unavailable, match=r"hf://org/it cannot be read from the hub: .*; there is no mirror on disk"):
        open_hub(tmp_path, other).exists("hf://org/it")


def image_layout(root: Path, tag: str, *layers: bytes) -> None:
    """Write an OCI image layout with one image."""
    blobs = root / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"digest": f"sha256:{digest}", "size": len(content)}

    manifest = json.dumps({"schemaVersion": 2, "layers": [blob(layer) for layer in layers]}).encode()
    entry = {**blob(manifest), "annotations": {"org.opencontainers.image.ref.name": tag}}
    (root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def test_an_image_layout_gives_what_lies_below_models(tmp_path):
    first = tar_of(**{"models__model.joblib": b"old", "models__gone": b"x", "etc__passwd": b"no"})
    second = tar_of(**{"models__model.joblib": b"new", "models__.wh.gone": b""})
    layout = tmp_path / "images" / "registry.example" / "team" / "iris"
    image_layout(layout, "v1", first, second)
    reading = stores(tmp_path, ZEROFLOW_OCI_MIRROR=str(tmp_path / "images"))
    reading.fetch("oci://registry.example/team/iris:v1", tmp_path / "out")
    assert files(tmp_path / "out") == {"model.joblib": b"new"}
    with pytest.raises(NotFound, match="no image tagged 'v2'"):
        reading.fetch("oci://registry.example/team/iris:v2", tmp_path / "none")
    for blob in (layout / "blobs" / "sha256").iterdir():
        blob.write_bytes(blob.read_bytes() + b" ")
    with pytest.raises(BadArchive, match="other bytes than its digest"):
        reading.fetch("oci://registry.example/team/iris:v1", tmp_path / "changed")


@pytest.mark.parametrize("name", [".wh...", ".wh..", ".wh."])
def test_a_deletion_in_an_image_deletes_nothing_but_the_models_own(tmp_path, name):
    layout = tmp_path / "images" / "registry.example" / "team" / "iris"
    image_layout(layout, "v1", tar_of(models__kept=b"x"), tar_of(**{f"models__{name}": b""}))
    neighbour = tmp_path / "volume" / "neighbour"
    neighbour.parent.mkdir()
    neighbour.write_text("of somebody else")
    reading = stores(tmp_path, ZEROFLOW_OCI_MIRROR=str(tmp_path / "images"))
    with pytest.raises(BadArchive, match="marks nothing that could be deleted"):
        reading.fetch("oci://registry.example/team/iris:v1", tmp_path / "volume" / "model")
    assert neighbour.exists()


@pytest.mark.parametrize(
    "manifest", ['{"manifests": 3}', '{"manifests": [3]}', "[" * 100_000], ids=["no", "odd", "deep"]
)
def test_an_image_whose_manifest_is_none_is_refused(tmp_path, manifest):
    layout = tmp_path / "images" / "registry.example" / "team" / "iris"
    image_layout(layout, "v1", tar_of(models__kept=b"x"))
    (layout / "index.json").write_text(manifest)
    with pytest.raises(BadArchive):
        stores(tmp_path, ZEROFLOW_OCI_MIRROR=str(tmp_path / "images")).exists("oci://registry.example/team/iris")


def test_what_was_fetched_is_kept_until_it_changes_there(tmp_path, site):
    site.files["/model.onnx"] = b"one"
    reading = open_to(tmp_path, site, ZEROFLOW_MODEL_CACHE=str(tmp_path / "cache"))
    for number in range(2):
        reading.fetch(f"{site.url}/model.onnx", tmp_path / f"{number}.onnx")
    assert site.asked.count("GET /model.onnx") == 1
    site.files["/model.onnx"] = b"two"
    reading.fetch(f"{site.url}/model.onnx", tmp_path / "2.onnx")
    assert (tmp_path / "2.onnx").read_bytes() == b"two"
    for entry in (tmp_path / "cache" / "sha256").iterdir():
        entry.write_bytes(b"damaged")
    reading.fetch(f"{site.url}/model.onnx", tmp_path / "3.onnx")
    assert (tmp_path / "3.onnx").read_bytes() == b"two"


@pytest.mark.parametrize(
    "uri", ["hdfs://a/b", "http:///x", "http://user:pw@host/x", "oci://registry", "pvc://UPPER/x", "hf://org/a/b"]
)
def test_locations_that_cannot_be_meant_are_refused(tmp_path, uri):
    with pytest.raises(ZeroflowError) as refused:
        stores(tmp_path).fetch(uri, tmp_path / "out")
    assert isinstance(refused.value, InvalidInput)
    assert "pw" not in str(refused.value).replace("password", "")


def test_the_initializer_puts_a_model_where_a_server_looks(tmp_path, monkeypatch, caplog):
    (tmp_path / "store" / "models" / "m").mkdir(parents=True)
    (tmp_path / "store" / "models" / "m" / "model.joblib").write_bytes(b"x")
    monkeypatch.setenv("ZEROFLOW_STORE", str(tmp_path / "store"))
    assert main(["store://models/m", str(tmp_path / "mnt")]) == 0
    assert files(tmp_path / "mnt") == {"model.joblib": b"x"}
    assert main(["store://models/none", str(tmp_path / "mnt")]) == 1
    assert "there is nothing at store://models/none" in caplog.text
