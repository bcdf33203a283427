"""Importers: artifacts that are already somewhere."""

import hashlib

import pytest

SPEC = {"outputDefinitions": {"artifacts": {"artifact": {"artifactType": {"schemaTitle": "system.Model"}}}}}


@pytest.fixture
def imported(function, task):
    def imported(uri, metadata=None):
        wanted = task.of({"importer": {"uri": uri, "metadata": metadata or {}}}, SPEC)
        return function.request(wanted)

    return imported


def test_bytes_in_the_store_are_hashed_and_stay_where_they_are(function, imported):
    (function.store / "models").mkdir(exist_ok=True)
    (function.store / "models" / "m.bin").write_bytes(b"weights")
    answer = imported("store://models/m.bin", {"framework": "x"})
    assert answer["state"] == "SUCCEEDED", answer
    assert answer["outputs"]["artifacts"]["artifact"] == [
        {
            "name": "artifact",
            "uri": "store://models/m.bin",
            "type": "system.Model",
            "metadata": {"framework": "x"},
            "sha256": hashlib.sha256(b"weights").hexdigest(),
            "size_bytes": 7,
        }
    ]


def test_bytes_elsewhere_are_imported_by_reference(imported):
    (artifact,) = imported("gs://somebody/else.csv")["outputs"]["artifacts"]["artifact"]
    assert (artifact["uri"], artifact["sha256"]) == ("gs://somebody/else.csv", None)


@pytest.mark.parametrize(
    ("uri", "reason", "part"),
    [
        ("store://models/none", "NotFound", "the importer found nothing at store://models/none"),
        ("file:///etc/passwd", "InvalidInput", "/etc/passwd"),
        ("store://models/../../etc/passwd", "InvalidInput", "climbs"),
        ("just a text", "InvalidInput", "needs a URI"),
        (None, "InvalidInput", "needs a URI"),
    ],
)
def test_what_cannot_be_imported_fails_with_its_reason(imported, uri, reason, part):
    answer = imported(uri)
    assert (answer["state"], answer["error"]["reason"]) == ("FAILED", reason)
    assert part in answer["error"]["message"]
