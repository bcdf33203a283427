"""An event that comes again is known for as long as it may come again, and no longer: the database has an end."""

import pytest
from sqlalchemy import func, select, update

from zeroflow.errors import InvalidInput
from zeroflow.events import Delivery, FunctionApp, Outbox, retention
from zeroflow.events.publisher import SinkPublisher
from zeroflow.functions.ingest import notifications
from zeroflow.functions.pipeline import outgoing, recurring
from zeroflow.metadata import Database, now_ms
from zeroflow.metadata.events import EventRecord, HandledEvent
from zeroflow.settings import Settings

ASKED, S3, WEBHOOK = "dev.example.asked", "com.amazonaws.s3.ObjectCreated:Put", "dev.zeroflow.webhook.received"
HOUR_MS = 3_600_000


@pytest.fixture
def app(database: Database, broker) -> FunctionApp:
    return FunctionApp("probe", Outbox(database, SinkPublisher(broker.url, "s3cret"), "/probe"))


@pytest.fixture
def worked(app: FunctionApp) -> list[str]:
    """What the function has done."""
    done: list[str] = []

    @app.on(ASKED)
    def handle(delivery: Delivery) -> None:
        done.append(delivery.id)
        with delivery.transaction() as tx:
            tx.emit("dev.example.answered", event_id=f"{delivery.id}.answered")

    return done


def tell(app: FunctionApp, event_id: str, days_ago: float = 0.0) -> None:
    headers = {"ce-specversion": "1.0", "ce-id": event_id, "ce-source": "/test", "ce-type": ASKED}
    assert app.flask.test_client().post("/", headers=headers, data=b"{}").status_code == 204
    if days_ago:
        with app.database.transaction() as session:
            then = now_ms() - int(days_ago * retention.DAY_MS)
            session.execute(update(HandledEvent).where(HandledEvent.id == event_id).values(handled_ms=then))


def sweep(app: FunctionApp) -> None:
    assert app.flask.test_client().post("/outbox/sweep").status_code == 204


def handled(app: FunctionApp) -> set[str]:
    with app.database.reading() as session:
        return set(session.scalars(select(HandledEvent.id)))


def test_a_repeat_within_the_time_is_no_work_and_what_is_older_goes(app, worked):
    tell(app, "old", days_ago=7.1)
    tell(app, "known", days_ago=6.9)
    sweep(app)
    assert handled(app) == {"known"}
    tell(app, "known")
    assert worked == ["old", "known"]
    tell(app, "old")
    assert worked == ["old", "known", "old"]


def test_nothing_is_forgotten_before_an_hour_of_work_after_a_pause(app, worked):
    """A host that was off for a month gets first what its broker kept: an event whose answer was lost, say."""
    tell(app, "before the pause", days_ago=30)
    tell(app, "just now")
    sweep(app)
    assert handled(app) == {"before the pause", "just now"}
    tell(app, "an hour ago", days_ago=1.1 / 24)
    sweep(app)
    assert handled(app) == {"just now", "an hour ago"}


def test_it_goes_in_pages_with_an_end(app, worked, monkeypatch):
    monkeypatch.setattr(retention, "PAGE", 3)
    monkeypatch.setattr(retention, "PAGES", 2)
    for number in range(8):
        tell(app, f"old-{number}", days_ago=8)
    tell(app, "known", days_ago=1)
    sweep(app)
    assert len(handled(app)) == 3
    sweep(app)
    assert handled(app) == {"known"}


def test_what_passed_through_goes_and_what_is_read_again_stays(app, worked, broker):
    kept = ("dev.zeroflow.run.finished", "dev.zeroflow.modelversion.registered", "dev.zeroflow.trial.finished")
    with app.outbox.transaction() as tx:
        for event_type in (S3, WEBHOOK, recurring.CHANGED, outgoing.RECURRING_DUE, *kept):
            tx.emit(event_type, event_id=event_type)
    with app.database.transaction() as session:
        session.execute(update(EventRecord).values(published_ms=now_ms() - 8 * retention.DAY_MS))
    with app.outbox.transaction() as tx:
        tx.emit(WEBHOOK, event_id="of today")
    broker.status = 500
    with app.outbox.transaction() as tx:
        tx.emit(WEBHOOK, event_id="not yet published")
    with app.database.transaction() as session:
        waiting = EventRecord.id == "not yet published"
        session.execute(update(EventRecord).where(waiting).values(time_ms=now_ms() - 8 * retention.DAY_MS))
    tell_at = now_ms() - 2 * HOUR_MS
    with app.database.transaction() as session:
        session.add(HandledEvent(consumer="probe", source="/test", id="work", handled_ms=tell_at, reply_seq=None))
    assert retention.forget(app.database, 7.0) == 4
    with app.database.reading() as session:
        assert set(session.scalars(select(EventRecord.id))) == {*kept, "of today", "not yet published"}


def test_the_types_that_pass_are_those_that_functions_send():
    (found,) = notifications.from_records(
        {
            "Records": [
                {
                    "eventSource": "aws:s3",
                    "eventName": "ObjectCreated:Put",
                    "awsRegion": "here",
                    "eventTime": "2026-01-01T00:00:00.000Z",
                    "s3": {"bucket": {"name": "b"}, "object": {"key": "k"}},
                    "responseElements": {"x-amz-request-id": "1", "x-amz-id-2": "2"},
                }
            ]
        }
    )
    assert found.type == S3


def test_old_rows_are_found_by_an_index(database: Database):
    if database.engine.dialect.name != "sqlite":
        pytest.skip("the plan of an empty table says nothing there")
    with database.reading() as session:
        plans = [
            " ".join(row[3] for row in session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}"))
            for statement in (
                "SELECT id FROM handled_events WHERE handled_ms < 5 LIMIT 9",
                f"SELECT seq FROM events WHERE {retention.PASSING} AND published_ms < 5 LIMIT 9",
            )
        ]
        assert "ix_handled_events_age" in plans[0]
        assert "ix_events_passing" in plans[1]
        assert session.scalar(select(func.count()).select_from(HandledEvent)) == 0


@pytest.mark.parametrize("text", ["0.5", "-1", "soon", "1e3", "nan"])
def test_a_retention_that_is_none_is_refused(text: str):
    environment = {
        "ZEROFLOW_DATABASE_URL": "sqlite:////x",
        "ZEROFLOW_STORE": "/x",
        "ZEROFLOW_EVENT_RETENTION_DAYS": text,
    }
    with pytest.raises(InvalidInput, match="at least 1"):
        Settings.from_environment(environment)
    assert Settings.from_environment({**environment, "ZEROFLOW_EVENT_RETENTION_DAYS": "30"}).event_retention_days == 30
