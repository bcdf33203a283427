"""The audit trail: every change is in it with its cause, and nothing in it can be changed unnoticed."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, text, update
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from zeroflow.cli import audit as command
from zeroflow.metadata import Database, audit
from zeroflow.metadata.audit import AuditHead, AuditRecord, Origin

TRAIL = "/api/model_registry/zeroflow/audit"


def records(registry: Any, **query: str) -> list[dict[str, Any]]:
    body = registry.raw("GET", TRAIL, query=query).body
    if isinstance(body, dict):
        return [body]
    return [json.loads(line) for line in body.decode().splitlines()]


def test_create_and_update_say_who_what_and_how_it_was(registry: Any) -> None:
    model = registry.model(owner="Ada")
    path = f"registered_models/{model['id']}"
    registry.ok("PATCH", path, {"owner": "Bob"}, headers={"kubeflow-userid": "carol@example.com"})
    created, updated = records(registry, entity=f"registered_model/{model['id']}")
    assert (created["verb"], created["actor"], created["before"]) == ("create", "anonymous", None)
    assert created["after"] == model
    assert (updated["verb"], updated["actor"], updated["authenticated"]) == ("update", "user:carol@example.com", False)
    assert (updated["before"]["owner"], updated["after"]["owner"]) == ("Ada", "Bob")
    assert set(updated["after"]) == {"owner", "lastUpdateTimeSinceEpoch"}
    assert updated["address"] == "127.0.0.1"


def test_refused_change_leaves_no_record(registry: Any) -> None:
    model = registry.model()
    before = records(registry)
    assert registry.call("POST", "registered_models", {"name": model["name"]}).status == 409
    assert registry.call("PATCH", f"registered_models/{model['id']}", {"state": "x"}).status == 400
    assert records(registry) == before


def test_registration_by_event_names_run_and_event(registry: Any) -> None:
    name = "audited " + registry.model()["name"]
    data = {
        "artifact_id": name,
        "name": "m",
        "uri": "s3://b/m",
        "sha256": None,
        "size_bytes": None,
        "namespace": "default",
        "register_as": name,
        "metadata": {},
        "run_id": "run-9",
        "run_name": "r",
        "pipeline_name": "p",
        "task_name": "t",
        "metrics": {"auc": 0.5},
        "inputs": [],
    }
    assert registry.deliver(data, "audit " + name).status == 204
    cause = {"source": "/zeroflow/functions/pipeline", "id": "audit " + name}
    told = [one for one in records(registry) if one["cause"] == cause]
    assert [one["entity_type"] for one in told] == ["registered_model", "model_version", "model-artifact", "metric"]
    assert {one["actor"] for one in told} == {"run:run-9"}


def test_writers_at_once_make_one_chain(registry: Any) -> None:
    threads = [threading.Thread(target=registry.model) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seqs = [one["seq"] for one in records(registry)]
    assert seqs == list(range(1, len(seqs) + 1))
    verdict = registry.raw("GET", f"{TRAIL}/verify").body
    assert verdict == {
        "ok": True,
        "records": len(seqs),
        "head": verdict["head"],
        "base": None,
        "brokenRecord": None,
        "reason": None,
    }


def test_command_verifies_lists_and_exports(registry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEROFLOW_URL", registry.url)
    model = registry.model()
    runner = CliRunner()
    verified = runner.invoke(command.app, ["verify"])
    assert verified.exit_code == 0, verified.output
    head = verified.stdout.split()[-1]
    assert runner.invoke(command.app, ["verify", "--expect", head]).exit_code == 0
    other = runner.invoke(command.app, ["verify", "--expect", f"1:{'0' * 64}"])
    assert (other.exit_code, "broken at record 1" in other.output) == (1, True)
    listed = runner.invoke(command.app, ["list", f"registered_model/{model['id']}"])
    assert "create" in listed.stdout
    assert "anonymous (not checked)" in listed.stdout
    exported = runner.invoke(command.app, ["export", "--since", "2020-01-01", "--until", "2020-01-02"])
    assert (exported.exit_code, exported.stdout) == (0, "")
    lines = runner.invoke(command.app, ["export"]).stdout.splitlines()
    assert f"{json.loads(lines[-1])['seq']}:{json.loads(lines[-1])['hash']}" == head


@pytest.fixture
def trail(new_database: Any, tmp_path: Path) -> Iterator[Database]:
    with new_database("sqlite", tmp_path) as url:
        database = Database(url)
        for number in range(1, 8):
            with database.transaction() as session:
                audit.append(session, Origin("user:ada"), "update", ("thing", str(number), "n"), after={"n": number})
        yield database
        database.close()


def swap(session: Session) -> None:
    for seq, new in ((3, 100), (4, 3), (100, 4)):
        session.execute(update(AuditRecord).where(AuditRecord.seq == seq).values(seq=new))


def rewritten(change: Callable[[str], str]) -> Callable[[Session], None]:
    """Change a record and give it the hash that fits."""

    def forge(session: Session) -> None:
        row = session.get_one(AuditRecord, 3)
        row.record = change(row.record)
        row.hash = audit.chained(session.get_one(AuditRecord, 2).hash, row.record)

    return forge


FORGERIES: dict[str, tuple[Callable[[Session], object], int]] = {
    "text": (lambda s: s.execute(text("UPDATE audit_records SET record = replace(record, 'ada', 'eve')")), 1),
    "column": (lambda s: s.execute(update(AuditRecord).where(AuditRecord.seq == 5).values(actor="user:eve")), 5),
    "hash": (lambda s: s.execute(update(AuditRecord).where(AuditRecord.seq == 2).values(hash="0" * 64)), 2),
    "rewritten": (rewritten(lambda told: told.replace('"n":3', '"n":4')), 4),
    "rewritten as no JSON": (rewritten(lambda told: "{" + told), 3),
    "rewritten as a list": (rewritten(lambda _: "[]"), 3),
    "rewritten without its fields": (rewritten(lambda _: "{}"), 3),
    "dropped": (lambda s: s.execute(delete(AuditRecord).where(AuditRecord.seq == 4)), 4),
    "first dropped": (lambda s: s.execute(delete(AuditRecord).where(AuditRecord.seq == 1)), 1),
    "cut off": (lambda s: s.execute(delete(AuditRecord).where(AuditRecord.seq > 5)), 6),
    "all dropped": (lambda s: s.execute(delete(AuditRecord)), 1),
    "reordered": (swap, 3),
    "head moved back": (lambda s: s.execute(update(AuditHead).values(seq=6)), 7),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forgery_is_found_at_its_record(trail: Database, forgery: str) -> None:
    forge, broken = FORGERIES[forgery]
    with trail.reading() as session:
        assert audit.verify(session).broken_seq is None
    with trail.transaction() as session:
        forge(session)
    with trail.reading() as session:
        verdict = audit.verify(session)
    assert verdict.broken_seq == broken, verdict


def test_chain_written_anew_is_found_by_a_hash_kept_elsewhere(trail: Database) -> None:
    with trail.reading() as session:
        kept = audit.verify(session)
        rows = session.scalars(select(AuditRecord).order_by(AuditRecord.seq)).all()
        texts = [row.record for row in rows]
    with trail.transaction() as session:
        previous = audit.START
        for seq, told in enumerate(texts, 1):
            row = session.get_one(AuditRecord, seq)
            row.record = told.replace('"n":7', '"n":8')
            previous = row.hash = audit.chained(previous, row.record)
        session.get_one(AuditHead, 1).hash = previous
    with trail.reading() as session:
        assert audit.verify(session).broken_seq is None
        assert audit.verify(session, [(kept.records, kept.head_hash)]).broken_seq == 7


@pytest.fixture
def own(
    trail: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broker: Any
) -> Iterator[Callable[..., tuple[int, str]]]:
    """Serve a trail of seven records; yield `zeroflow audit` on it: exit code and what it said."""
    from werkzeug.serving import make_server

    from zeroflow.functions.register.handler import create_app
    from zeroflow.settings import Settings

    monkeypatch.setenv("ZEROFLOW_HOME", str(tmp_path))
    app = create_app(Settings(database_url=trail.url, store=tmp_path / "store"))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("ZEROFLOW_URL", f"http://127.0.0.1:{server.server_port}")

    def run(*arguments: str) -> tuple[int, str]:
        ran = CliRunner().invoke(command.app, arguments)
        return ran.exit_code, ran.stdout or ran.stderr

    yield run
    server.shutdown()
    thread.join()
    server.server_close()


def later(trail: Database, records: int = 3) -> None:
    for number in range(records):
        with trail.transaction() as session:
            audit.append(session, Origin("user:bob"), "create", ("thing", f"later {number}", "n"))


def test_old_records_leave_for_an_archive_and_all_stays_verifiable(own: Any, trail: Database, tmp_path: Path) -> None:
    archive = tmp_path / "archive.jsonl"
    code, said = own("prune", "--before", "2100-01-01", "--archive", str(archive))
    assert (code, said) == (0, f"6 records moved to {archive}, which holds 6 up to {said.split()[-1]}\n")
    assert own("verify")[0] == 0
    later(trail)
    assert own("prune", "--before", "2100-01-01", "--archive", str(archive))[0] == 0
    code, said = own("verify", "--archive", str(archive))
    assert code == 0, said
    assert "after 10 in the archive, unbroken" in said
    seqs = [json.loads(line)["seq"] for line in archive.read_text().splitlines()]
    seqs += [json.loads(line)["seq"] for line in own("export")[1].splitlines()]
    assert seqs == list(range(1, 13))
    text = archive.read_text()
    archive.write_text(text.replace('"n":3', '"n":4'))
    assert own("verify", "--archive", str(archive)) == (
        1,
        f"zeroflow: {archive}: line 3 is not what was written: record 3 is broken\n",
    )
    archive.write_text("".join(text.splitlines(keepends=True)[:-1]))
    assert own("verify", "--archive", str(archive))[0] == 1


def test_a_beginning_that_was_cut_off_is_not_a_pruned_one(own: Any, trail: Database) -> None:
    with trail.transaction() as session:
        row = session.get_one(AuditRecord, 3)
        session.add(audit.AuditBase(id=1, seq=3, hash=row.hash))
        session.execute(delete(AuditRecord).where(AuditRecord.seq <= 3))
    assert own("verify")[1].startswith("zeroflow: the audit trail is broken at record 1: the records from here to 3")


def test_a_trail_cut_together_with_its_head_is_found_by_what_the_home_kept(own: Any, trail: Database) -> None:
    assert own("verify")[0] == 0
    with trail.transaction() as session:
        session.execute(delete(AuditRecord).where(AuditRecord.seq > 5))
        kept = session.get_one(AuditRecord, 5)
        session.execute(update(AuditHead).values(seq=5, hash=kept.hash))
    code, said = own("verify")
    assert (code, "broken at record 6: the records from here to 7 are missing" in said) == (1, True)


def test_pruning_needs_what_was_archived(own: Any, registry: Any) -> None:
    for body in ({}, {"until": "1"}, {"until": f"1:{'0' * 64}"}, {"until": 3}):
        answer = registry.raw("POST", f"{TRAIL}/prune", json.dumps(body).encode())
        assert answer.status in (400, 403, 409), answer
    assert registry.raw("GET", f"{TRAIL}/verify").body["base"] is None
