"""Uploads: what a package may be, and what hostile or broken ones are answered."""

import gzip
import io
import stat
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import orjson
import pytest

from pipelines.harness import Platform, pipeline, task
from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline import packages
from zeroflow.functions.pipeline.handler import create_app

SPEC = orjson.dumps(pipeline({"a": task("a")}))
MIB = 1 << 20


def zipped(files: dict[str, bytes], mode: int = stat.S_IFREG | 0o644, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", method) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content, method)
    return held.getvalue()


def tarred(files: dict[str, bytes], kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(content), kind, link
            archive.addfile(info, io.BytesIO(content))
    return held.getvalue()


def anchors(line: str) -> bytes:
    """Build a text whose aliases stand for 10 to the 12th values."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]" if line == "list" else "a: &a {x: 1}"]
    for at in range(1, 13):
        several = ", ".join([f"*{chr(96 + at)}"] * 10)
        lines.append(
            f"{chr(97 + at)}: &{chr(97 + at)} " + (f"[{several}]" if line == "list" else f"{{<<: [{several}]}}")
        )
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    "content",
    [
        SPEC,
        b"\xef\xbb\xbf" + SPEC,
        SPEC.decode().encode("utf-16"),
        b"---\n" + SPEC + b"\n---\nplatforms: {}\n",
        zipped({"pipeline.yaml": SPEC}),
        zipped({"some/where/spec.json": SPEC, "README.md": b"text"}, method=zipfile.ZIP_LZMA),
        zipped({"pipeline.yaml": SPEC, "other.yaml": b"x: 1"}, method=zipfile.ZIP_BZIP2),
        tarred({"../../../etc/pipeline.yaml": SPEC}),
        tarred({"pipeline.yaml": SPEC, "notes.txt": b"text"}),
    ],
    ids=["json", "mark", "utf-16", "two parts", "zip", "lzma", "bzip2", "tar with a path out", "tar"],
)
def test_a_package_is_taken(local: Platform, content: bytes) -> None:
    answer = local.client.post("/apis/v2beta1/pipelines/upload?name=p", data={"uploadfile": (io.BytesIO(content), "p")})
    assert answer.status_code == 200, answer.data
    (version,) = local.get(f"/pipelines/{answer.json['pipeline_id']}/versions")["pipeline_versions"]
    held = version["pipeline_spec"].get("pipeline_spec", version["pipeline_spec"])
    assert held["root"] == orjson.loads(SPEC)["root"]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: b"x" * (33 * MIB), "larger than 32 MiB"),
        (lambda: zipped({"pipeline.yaml": b"x" * (40 * MIB)}), "larger than 32 MiB"),
        (lambda: tarred({"pipeline.yaml": b"x" * (40 * MIB)}), "larger than 32 MiB"),
        (lambda: gzip.compress(b"\0" * (200 * MIB)), "unpacks to more than 64 MiB"),
        (lambda: tarred({f"{at}.txt": b"x" * (10 * MIB) for at in range(20)}), "unpacks to more than 64 MiB"),
        (lambda: zipped({f"{at}.txt": b"" for at in range(2000)}), "more than 1000 files"),
        (lambda: tarred({f"{at}.txt": b"" for at in range(2000)}), "more than 1000 files"),
        (lambda: zipped({"pipeline.yaml": b"/etc/passwd"}, mode=stat.S_IFLNK | 0o777), "is a link"),
        (lambda: tarred({"pipeline.yaml": b""}, kind=tarfile.SYMTYPE, link="/etc/passwd"), "is a link or no file"),
        (lambda: tarred({"pipeline.yaml": b""}, kind=tarfile.LNKTYPE, link="/etc/passwd"), "is a link or no file"),
        (lambda: tarred({"pipeline.yaml": b""}, kind=tarfile.FIFOTYPE), "is a link or no file"),
        (lambda: zipped({"a.yaml": SPEC, "b.yaml": SPEC}), "one YAML file, or one named pipeline.yaml; found 2"),
        (lambda: zipped({"a.txt": SPEC}), "found 0"),
        (lambda: zipped({"pipeline.yaml": zipped({"pipeline.yaml": SPEC})}), "not valid YAML"),
        (lambda: zipped({"pipeline.yaml": SPEC})[:-30], "damaged archive"),
        (lambda: tarred({"pipeline.yaml": SPEC})[:-30], "damaged archive"),
        (lambda: gzip.compress(SPEC), "damaged archive"),
        (lambda: anchors("list"), "YAML aliases expanded"),
        (lambda: anchors("merge"), "YAML aliases expanded"),
        (lambda: b"a: &a [*a]", "stands for itself"),
        (lambda: b"[" * 100_000, "nest"),
        (lambda: b"a: " + b"[" * 300 + b"]" * 300, "more than 200 deep"),
        (lambda: b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}", "more than 200 deep"),
        (lambda: "root: ü".encode("latin-1"), "not valid YAML"),
        (lambda: b"a: \0", "not valid YAML"),
        (lambda: b"a: 1\n---\nb: 1\n---\nc: 1", "one PipelineSpec and perhaps one platform spec"),
        (lambda: b"a: " + b"9" * 5000, "not valid YAML"),
    ],
)
def test_a_package_is_refused_in_little_memory_and_with_its_fault(made: Callable[[], bytes], message: str) -> None:
    content = made()
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput, match=message):
            packages.document_of(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200 * MIB


def test_a_refused_upload_leaves_nothing(local: Platform) -> None:
    for content in (zipped({"a.txt": b""}), b"x: 1", orjson.dumps({**orjson.loads(SPEC), "root": {}})):
        data = {"uploadfile": (io.BytesIO(content), "p.yaml")}
        answer = local.client.post("/apis/v2beta1/pipelines/upload?name=p", data=data)
        assert (answer.status_code, answer.json["code"]) == (400, 3)
    assert local.get("/pipelines")["total_size"] == 0
    answer = local.client.post("/apis/v2beta1/pipelines/upload?name=p", data={"other": (io.BytesIO(SPEC), "p.yaml")})
    assert "in the part `uploadfile`" in answer.json["message"]


def test_tags_and_a_code_source_come_with_an_upload(local: Platform) -> None:
    query = {"name": "p", "tags": '{"team": "blue"}', "code_source_url": "https://code.example/p", "display_name": "P"}
    answer = local.client.post(
        "/apis/v2beta1/pipelines/upload", query_string=query, data={"uploadfile": (io.BytesIO(SPEC), "p.yaml")}
    )
    assert (answer.json["tags"], answer.json["display_name"]) == ({"team": "blue"}, "P")
    (version,) = local.get(f"/pipelines/{answer.json['pipeline_id']}/versions")["pipeline_versions"]
    assert (version["tags"], version["code_source_url"]) == ({"team": "blue"}, "https://code.example/p")
    bad = local.client.post(
        "/apis/v2beta1/pipelines/upload", query_string={"tags": "{"}, data={"uploadfile": (io.BytesIO(SPEC), "p")}
    )
    assert "tags must be a JSON object" in bad.json["message"]


def test_a_definition_in_a_body_has_the_same_limit(local: Platform) -> None:
    spec = orjson.loads(SPEC)
    spec["pipelineInfo"]["description"] = "x" * (50 * MIB)
    answer = local.post("/runs", {"pipeline_spec": spec})
    assert answer.status_code == 400
    assert answer.json["message"] == "the pipeline definition takes 50 MiB; at most 32 are taken"
    body = b'{"runtime_config": {"parameters": {"x": ' + b"[" * 400 + b"]" * 400 + b"}}}"
    answer = local.client.post("/apis/v2beta1/runs", data=body)
    assert (answer.status_code, answer.json["message"]) == (400, "the body nests values more than 200 deep")


@pytest.fixture
def web() -> Iterator[Callable[[dict[str, tuple[int, dict[str, str], bytes]]], str]]:
    """Return what serves given answers by path, and gives the address."""
    answers: dict[str, tuple[int, dict[str, str], bytes]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answers[self.path]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def serve(given: dict[str, tuple[int, dict[str, str], bytes]]) -> str:
        answers.update(given)
        return f"127.0.0.1:{server.server_port}"

    yield serve
    server.shutdown()
    server.server_close()


def test_a_version_is_fetched_from_where_the_operator_trusts(local: Platform, web: Any) -> None:
    place = web(
        {
            "/p.yaml": (200, {}, SPEC),
            "/moved": (302, {"Location": "/p.yaml"}, b""),
            "/inside": (302, {"Location": "http://169.254.169.254/latest"}, b""),
            "/round": (302, {"Location": "/round"}, b""),
            "/gone": (404, {}, b""),
        }
    )
    url = f"http://{place}"
    made = local.post("/pipelines", {"name": "p"}).json
    versions = f"/pipelines/{made['pipeline_id']}/versions"

    def fetched(where: str, name: str = "v") -> Any:
        return local.post(versions, {"name": name, "package_url": {"pipeline_url": where}})

    refused = fetched(f"{url}/p.yaml")
    assert refused.status_code == 400
    assert "is an address of this machine or of a private network" in refused.json["message"]
    local.client = create_app(type(local.settings)(**{**vars(local.settings), "trusted_hosts": (place,)})).test_client()
    assert fetched(f"{url}/moved").json["pipeline_spec"]["root"] == orjson.loads(SPEC)["root"]
    for where, message in (
        (f"{url}/inside", "169.254.169.254 is an address of this machine"),
        (f"{url}/round", "more than 3 redirects"),
        (f"{url}/gone", "answered 404"),
        ("file:///etc/passwd", "file"),
        ("ftp://example.com/p.yaml", "expected https://, http://, store:// or s3://"),
        ("http://[::1]:1/x", "is an address of this machine"),
        ("http://localhost:1/x", "is an address of this machine"),
        ("http://a..b/x", "cannot be reached"),
        ("http://x:99999/", "is no URL"),
        ("store://packages/none.yaml", "store://packages/none.yaml"),
        ("", "package_url.pipeline_url is required"),
    ):
        answer = fetched(where, "w")
        assert answer.status_code in (400, 404), where
        assert message in answer.json["message"]
    package = local.store / "packages" / "p.yaml"
    package.parent.mkdir(parents=True)
    package.write_bytes(SPEC)
    whole = {
        "pipeline": {"display_name": "q"},
        "pipelineVersion": {"packageUrl": {"pipelineUrl": "store://packages/p.yaml"}},
    }
    both = local.post("/pipelines/create", whole).json
    assert local.get(f"/pipelines/{both['pipeline_id']}/versions")["pipeline_versions"][0]["name"] == "q"
    assert local.get("/pipelines/names/q")["pipeline_id"] == both["pipeline_id"]
