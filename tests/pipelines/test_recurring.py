"""Recurring runs: what is due when, catching up, and how many run at once."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from pipelines.harness import Event, Platform, headers_of, pipeline, task
from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline import clock, recurring, schedules


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


class Cluster:
    """Keeps what is applied."""

    def __init__(self) -> None:
        self.held: dict[str, Any] = {}

    def apply(self, obj: Any) -> None:
        self.held[obj["metadata"]["name"]] = obj["spec"]

    def delete(self, _version: str, _kind: str, _namespace: str, name: str) -> None:
        self.held.pop(name, None)


class Timed:
    """A platform whose recurring runs see a time of the test's own."""

    def __init__(self, platform: Platform, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
        self.platform, self.cluster, self.now = platform, cluster, ms("2026-01-01T00:00:00")
        for module in (recurring, clock):
            monkeypatch.setattr(module, "now_ms", lambda: self.now)

    def create(self, **body: Any) -> str:
        spec = {"display_name": "nightly", "pipeline_spec": pipeline({"a": task("a")}), "mode": "ENABLE", **body}
        answer = self.platform.post("/recurringruns", spec)
        assert answer.status_code == 200, answer.data
        self.declare()
        return str(answer.json["recurring_run_id"])

    def declare(self) -> None:
        """Deliver what the function tells itself; runs stay as they are."""
        kept: list[Event] = []
        while self.platform.broker.events:
            event = self.platform.broker.events.popleft()
            if event["type"].startswith("dev.zeroflow.recurringrun."):
                assert self.platform.deliver(event).status_code in (200, 204)
            else:
                kept.append(event)
        self.platform.broker.events.extend(kept)

    def tick(self, recurring_run_id: str, at: str) -> list[str]:
        """Let the clock tick at a time; return the names of all runs."""
        self.now = ms(at)
        path = f"/recurringruns/{recurring_run_id}/tick"
        event = self.platform.event("dev.knative.sources.ping", {})
        assert self.platform.client.post(path, headers=headers_of(event)).status_code == 204
        self.declare()
        return self.runs()

    def runs(self) -> list[str]:
        return [run["display_name"] for run in self.platform.get("/runs?sort_by=name")["runs"]]

    def schedule(self, recurring_run_id: str) -> str | None:
        spec = self.cluster.held.get(f"recurring-{recurring_run_id}")
        return spec["schedule"] if spec else None


@pytest.fixture
def timed(database_url: str, tmp_path: Any, broker: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Timed]:
    """A platform with a clock of the test's own."""
    cluster = Cluster()
    platform = Platform(database_url, tmp_path, broker, lambda: cluster)
    yield Timed(platform, cluster, monkeypatch)
    platform.close()


def cron(text: str, **more: str) -> dict[str, Any]:
    return {"cron_schedule": {"cron": text, **more}}


def every(seconds: int, **more: str) -> dict[str, Any]:
    return {"periodic_schedule": {"interval_second": str(seconds), **more}}


def test_a_cron_starts_one_run_per_due_time(timed: Timed) -> None:
    made = timed.create(trigger=cron("0 30 3 * * ?"), max_concurrency="10")
    assert timed.schedule(made) == "0 30 3 * * *"
    assert timed.tick(made, "2026-01-01T03:29:59") == []
    assert timed.tick(made, "2026-01-01T03:30:00") == ["nightly 2026-01-01T03:30:00.000Z"]
    assert len(timed.tick(made, "2026-01-01T03:30:01")) == 1  # a tick that comes twice
    assert len(timed.tick(made, "2026-01-02T03:30:00")) == 2
    run = timed.platform.get("/runs")["runs"][0]
    assert run["recurring_run_id"] == made


def test_an_interval_is_declared_anew_after_each_run(timed: Timed) -> None:
    made = timed.create(trigger=every(3600))
    assert timed.schedule(made) == "0 0 1 1 1 *"
    assert timed.tick(made, "2026-01-01T01:00:00") == ["nightly 2026-01-01T01:00:00.000Z"]
    assert timed.schedule(made) == "0 0 2 1 1 *"


@pytest.mark.parametrize(("no_catchup", "expected"), [(False, ["01", "02", "03"]), (True, ["03"])])
def test_missed_runs_are_caught_up_unless_they_should_not(timed: Timed, no_catchup: bool, expected: list[str]) -> None:
    made = timed.create(trigger=every(3600), no_catchup=no_catchup, max_concurrency="5")
    timed.now = ms("2026-01-01T03:10:00")
    assert timed.platform.client.post("/recurringruns/sweep").status_code == 204  # as after a start of the host
    timed.declare()
    assert timed.runs() == [f"nightly 2026-01-01T{hour}:00:00.000Z" for hour in expected]
    assert timed.schedule(made) == "0 0 4 1 1 *"


@pytest.mark.parametrize(("no_catchup", "expected"), [(False, "02"), (True, "03")])
def test_a_due_run_waits_until_one_of_the_series_ends(timed: Timed, no_catchup: bool, expected: str) -> None:
    made = timed.create(trigger=every(3600), max_concurrency="1", no_catchup=no_catchup)
    timed.tick(made, "2026-01-01T01:00:00")
    assert len(timed.tick(made, "2026-01-01T02:00:00")) == 1
    assert len(timed.tick(made, "2026-01-01T03:00:00")) == 1
    timed.platform.drain()
    kept = [event for event in timed.platform.log if event["type"].startswith("dev.zeroflow.recurringrun.")]
    for event in kept:
        timed.platform.deliver(event)
    assert timed.runs() == [f"nightly 2026-01-01T{hour}:00:00.000Z" for hour in ("01", expected)]


def test_start_and_end_bound_the_runs_and_the_clock_goes_with_the_end(timed: Timed) -> None:
    bounds = {"start_time": "2026-01-02T00:00:00Z", "end_time": "2026-01-02T01:30:00Z"}
    made = timed.create(trigger=every(3600, **bounds), max_concurrency="5")
    assert timed.tick(made, "2026-01-01T12:00:00") == []
    timed.tick(made, "2026-01-02T00:00:00")
    assert len(timed.tick(made, "2026-01-02T05:00:00")) == 2
    assert timed.schedule(made) is None


def test_disabling_takes_the_clock_away_and_enabling_makes_up_for_nothing(timed: Timed) -> None:
    made = timed.create(trigger=every(3600))
    assert timed.platform.post(f"/recurringruns/{made}:disable").status_code == 200
    timed.declare()
    assert timed.schedule(made) is None
    assert timed.platform.get(f"/recurringruns/{made}")["status"] == "DISABLED"
    timed.now = ms("2026-01-01T05:30:00")
    assert timed.platform.post(f"/recurringruns/{made}:enable").status_code == 200
    timed.declare()
    assert timed.schedule(made) == "0 0 6 1 1 *"
    assert timed.runs() == []
    assert timed.platform.client.delete(f"/apis/v2beta1/recurringruns/{made}").status_code == 200
    timed.declare()
    assert timed.schedule(made) is None
    assert timed.tick(made, "2026-01-01T06:00:00") == []


def test_parameters_name_the_time_and_the_number(timed: Timed) -> None:
    spec = pipeline({"a": task("a")}, takes={"at": "STRING", "n": "STRING"})
    parameters = {"at": "t-[[ScheduledTime]]", "n": "[[Index]]"}
    made = timed.create(pipeline_spec=spec, runtime_config={"parameters": parameters}, trigger=every(60))
    timed.tick(made, "2026-01-01T00:01:00")
    (run,) = timed.platform.get("/runs")["runs"]
    assert run["runtime_config"]["parameters"] == {"at": "t-20260101000100", "n": "1"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"trigger": {}}, "either a cron_schedule or a periodic_schedule"),
        ({"trigger": cron("* * * * *")}, "must have six fields"),
        ({"trigger": cron("99 * * * * *")}, "is no schedule"),
        ({"trigger": every(0)}, "interval_second must be"),
        ({"trigger": every(60, start_time="soon")}, "start_time must be RFC 3339"),
        ({"trigger": every(60), "max_concurrency": "11"}, "max_concurrency must be from 1 to 10"),
        ({"trigger": every(60), "mode": "SOMETIMES"}, "mode must be ENABLE or DISABLE"),
        ({"trigger": every(60), "pipeline_spec": {}}, "schemaVersion is required"),
        ({"trigger": every(60), "display_name": ""}, "display_name is required"),
        ({"trigger": every(60), "runtime_config": {"parameters": {"ghost": 1}}}, "no parameter 'ghost'"),
    ],
)
def test_what_cannot_recur_is_refused(local: Platform, body: dict[str, Any], message: str) -> None:
    whole = {"display_name": "r", "pipeline_spec": pipeline({"a": task("a")}), **body}
    answer = local.post("/recurringruns", whole)
    assert answer.status_code == 400
    assert message in answer.json["message"]
    assert local.get("/recurringruns")["total_size"] == 0


@pytest.mark.parametrize(
    ("trigger", "after", "expected"),
    [
        (cron("0 0 9 ? * 1-5"), "2026-01-02T09:00:00", "2026-01-05T09:00:00"),  # Friday to Monday
        (cron("*/10 * * * * *"), "2026-01-01T00:00:05", "2026-01-01T00:00:10"),
        (cron("@daily"), "2026-01-01T00:00:00", "2026-01-02T00:00:00"),
        (every(90, start_time="2026-01-01T00:00:00Z"), "2026-01-01T00:01:00", "2026-01-01T00:01:30"),
    ],
)
def test_due_times(trigger: dict[str, Any], after: str, expected: str) -> None:
    assert schedules.read(trigger).after(ms(after), 0) == ms(expected)


def test_a_leap_day_that_never_comes_is_never_due() -> None:
    schedule = schedules.read(cron("0 0 0 30 2 *"))
    assert schedule.first(0) is None
    with pytest.raises(InvalidInput):
        schedules.read(cron("0 0 0 31 13 *"))
