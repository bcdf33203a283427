"""One contract for every store; and what only the local one must refuse."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from zeroflow.artifacts import Stores, content
from zeroflow.errors import Forbidden, InvalidInput, NotFound


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Run an S3-compatible server in this process, over real HTTP."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["store", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Stores, str]:
    """Return stores, and a URI below which a test may write, once per store."""
    if request.param == "store":
        return Stores(tmp_path / "store"), "store://artifacts/runs"
    import boto3

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    endpoint = request.getfixturevalue("s3_endpoint")
    bucket = f"b{os.urandom(6).hex()}"
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=bucket)
    return Stores(tmp_path / "store", endpoint), f"s3://{bucket}/runs"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "folder"
    (root / "deep").mkdir(parents=True)
    (root / "a.txt").write_text("alpha")
    (root / "deep" / "b.bin").write_bytes(b"\0\1")
    return root


def test_a_file_comes_back_as_it_was(place, tmp_path):
    stores, base = place
    source = tmp_path / "file"
    source.write_bytes(os.urandom(100_000))
    described = stores.put(source, f"{base}/file")
    stores.fetch(f"{base}/file", tmp_path / "back")
    assert content.of(tmp_path / "back") == described
    assert stores.exists(f"{base}/file")


def test_a_directory_comes_back_as_it_was(place, folder, tmp_path):
    stores, base = place
    described = stores.put(folder, f"{base}/folder")
    stores.fetch(f"{base}/folder", tmp_path / "back")
    assert content.of(tmp_path / "back") == described
    assert stores.exists(f"{base}/folder")


def test_a_name_that_another_begins_with_is_not_confused(place, folder, tmp_path):
    stores, base = place
    stores.put(folder / "a.txt", f"{base}/model-2")
    assert not stores.exists(f"{base}/model")
    with pytest.raises(NotFound):
        stores.fetch(f"{base}/model", tmp_path / "back")


def test_putting_again_replaces(place, folder, tmp_path):
    stores, base = place
    stores.put(folder / "a.txt", f"{base}/x")
    (folder / "a.txt").write_text("omega")
    stores.put(folder / "a.txt", f"{base}/x")
    stores.fetch(f"{base}/x", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "omega"


def test_what_is_not_there_is_not_found(place, tmp_path):
    stores, base = place
    assert not stores.exists(f"{base}/none")
    with pytest.raises(NotFound, match="nothing at"):
        stores.fetch(f"{base}/none", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_delete_removes_a_directory_and_forgives_a_second_time(place, folder):
    stores, base = place
    stores.put(folder, f"{base}/folder")
    stores.delete(f"{base}/folder")
    assert not stores.exists(f"{base}/folder")
    stores.delete(f"{base}/folder")


@pytest.mark.parametrize(
    "uri",
    [
        "store://artifacts/../../etc/passwd",
        "store://artifacts/a/./b",
        "store://../x",
        "store://UPPER/x",
        "file:///etc/passwd",
        "file://elsewhere/x",
        "ftp://host/x",
        "/etc/passwd",
        "store://artifacts/a?b=c",
        "store://artifacts/nul\0",
    ],
)
def test_a_uri_that_leads_elsewhere_is_refused(tmp_path, uri):
    stores = Stores(tmp_path / "store")
    with pytest.raises(InvalidInput):
        stores.fetch(uri, tmp_path / "back")


def test_a_link_out_of_the_store_is_not_followed(tmp_path):
    (tmp_path / "secret").write_text("s")
    bucket = tmp_path / "store" / "artifacts"
    bucket.mkdir(parents=True)
    (bucket / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidInput, match="outside the store"):
        Stores(tmp_path / "store").fetch("store://artifacts/link", tmp_path / "back")


def test_a_file_uri_inside_the_store_is_the_store(tmp_path, folder):
    stores = Stores(tmp_path / "store")
    stores.put(folder / "a.txt", "store://artifacts/a.txt")
    stores.fetch(f"file://{tmp_path}/store/artifacts/a.txt", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "alpha"


def test_a_reader_never_sees_half_a_file(tmp_path):
    stores = Stores(tmp_path / "store")
    versions = [bytes([n]) * 2_000_000 for n in range(4)]
    source = tmp_path / "source"
    source.write_bytes(versions[0])
    stores.put(source, "store://artifacts/x")
    seen: set[int] = set()
    done = threading.Event()

    def read() -> None:
        path = stores.local_path("store://artifacts/x")
        assert path is not None
        while not done.is_set():
            seen.add(len(set(path.read_bytes())))

    reader = threading.Thread(target=read)
    reader.start()
    for version in versions[1:]:
        source.write_bytes(version)
        stores.put(source, "store://artifacts/x")
    done.set()
    reader.join()
    assert seen == {1}
    assert [path.name for path in (tmp_path / "store" / "artifacts").iterdir()] == ["x"]


def test_the_hash_of_a_directory_can_be_made_with_standard_tools(folder):
    import subprocess

    command = "find . -type f | cut -c3- | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum"
    made = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True, check=True).stdout
    assert content.of(folder).sha256 == made.split()[0]


def test_a_directory_with_a_link_has_no_hash(folder):
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(InvalidInput, match="symbolic link"):
        content.of(folder)


def test_a_directory_with_a_link_is_neither_stored_nor_fetched(folder, tmp_path):
    stores = Stores(tmp_path / "store")
    stores.put(folder, "store://artifacts/folder")
    (tmp_path / "store/artifacts/folder/link").symlink_to("/etc/passwd")
    with pytest.raises(InvalidInput, match="symbolic link"):
        stores.fetch("store://artifacts/folder", tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize(
    "uri",
    [
        "store://[models/good.joblib",
        " store://models/good.joblib",
        "store://models/good.joblib\n",
        "store://models/good.jo\nblib",
        "store://models/\udcff",
        "store://models/" + "a" * 300,
        "store://models/" + "é" * 130,
        "store://models/" + "a/" * 3000,
        "file:///" + "a/" * 3000,
    ],
    ids=["bracket", "space", "newline-behind", "newline-inside", "surrogate", "name", "bytes", "key", "file-key"],
)
def test_a_location_that_no_store_can_hold_is_invalid_input_in_one_short_line(uri, tmp_path):
    stores = Stores(tmp_path / "store")
    with pytest.raises(InvalidInput) as refused:
        stores.exists(uri)
    assert len(str(refused.value)) < 400
    assert "\n" not in str(refused.value)


def test_nothing_is_put_below_a_file(folder, tmp_path):
    stores = Stores(tmp_path / "store")
    stores.put(folder / "a.txt", "store://data/file")
    for below in ("store://data/file/x", "store://data/file/deep/x"):
        with pytest.raises(InvalidInput, match="below something that is a file"):
            stores.put(folder / "a.txt", below)


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "[::ffff:169.254.169.254]",
        "[fd00:ec2::254]",
    ],
)
def test_an_s3_endpoint_where_a_cloud_keeps_credentials_is_refused_however_it_is_written(host):
    s3 = pytest.importorskip("zeroflow.artifacts.s3", reason="boto3 is not installed")
    with pytest.raises(Forbidden, match="where a cloud keeps machines' credentials"):
        s3.S3Store(f"http://{host}:80")


def test_an_s3_endpoint_by_a_name_of_such_an_address_is_refused(monkeypatch):
    s3 = pytest.importorskip("zeroflow.artifacts.s3", reason="boto3 is not installed")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", ("169.254.169.254", 0))])
    with pytest.raises(Forbidden):
        s3.S3Store("https://innocent.example")
