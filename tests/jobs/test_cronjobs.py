"""CronJobs: a Job at each due time, what may run beside what, what is kept. Expected values follow Kubernetes."""

from datetime import UTC, datetime, timedelta

import pytest

from clocks import FakeClock
from zeroflow.knative.local.api.errors import Invalid
from zeroflow.knative.local.jobs.cronjob import most_recent
from zeroflow.knative.local.schedules import schedule

HOUR = timedelta(hours=1)


def cronjob(name="tick", command=("true",), **spec):
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "any", "command": list(command)}]}
    template = {"metadata": {"labels": {"from": "cron"}}, "spec": {"template": {"spec": pod}}}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"schedule": "0 * * * *", "jobTemplate": template} | spec,
    }


def jobs(place):
    return [job["metadata"]["name"] for job in place.store.list("Job.batch", "default")]


def status(place, name="tick"):
    return place.store.get("CronJob.batch", "default", name).get("status", {})


def reasons(place):
    return [event["reason"] for event in place.store.list("Event") if event["involvedObject"]["kind"] == "CronJob"]


def named(due, name="tick"):
    return f"{name}-{int(due.timestamp()) // 60}"


@pytest.fixture
def hours():
    """The next full hours: due times of `0 * * * *`."""
    first = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + HOUR
    return [first + number * HOUR for number in range(6)]


async def made(place, clock, *dues):
    for due in dues:
        clock.jump(due)
        await place.until(lambda due=due: named(due) in jobs(place) and status(place).get("lastScheduleTime"))
        await place.until(lambda due=due: clock.armed and clock.armed[-1].at > due)  # a set clock fires no late timer


async def idle(place):
    await place.until(lambda: not status(place).get("active"))


def test_a_job_is_made_at_each_due_time(run, hours):
    clock = FakeClock(datetime.now(UTC))

    async def scenario(place):
        created = await place.store.create(cronjob())
        assert created["spec"]["concurrencyPolicy"] == "Allow"
        assert created["spec"]["successfulJobsHistoryLimit"] == 3
        await place.until(lambda: clock.armed)
        assert clock.armed[-1].at == hours[0]
        assert jobs(place) == []
        await made(place, clock, hours[0])
        await idle(place)
        job = place.store.get("Job.batch", "default", named(hours[0]))
        when = hours[0].strftime("%Y-%m-%dT%H:%M:%SZ")
        assert job["metadata"]["annotations"] == {"batch.kubernetes.io/cronjob-scheduled-timestamp": when}
        assert job["metadata"]["labels"] == {"from": "cron"}
        assert job["metadata"]["ownerReferences"][0]["uid"] == created["metadata"]["uid"]
        assert status(place)["lastScheduleTime"] == when
        assert status(place)["lastSuccessfulTime"]
        await place.until(lambda: {"SuccessfulCreate", "SawCompletedJob"} <= set(reasons(place)))

    run(scenario, clock)


def test_only_the_latest_of_the_missed_times_is_made_up_for(run, hours):
    clock = FakeClock(datetime.now(UTC))

    async def first(place):
        await place.store.create(cronjob())
        await place.until(lambda: clock.armed)

    async def second(place):
        await place.until(lambda: jobs(place))
        await idle(place)
        assert jobs(place) == [named(hours[3])]

    run(first, clock)
    run(second, FakeClock(hours[3] + timedelta(minutes=5)))


def test_a_missed_time_past_its_deadline_is_left_out(run, hours):
    async def first(place):
        await place.store.create(cronjob(startingDeadlineSeconds=60))

    async def second(place):
        await place.until(lambda: later.armed)
        assert later.armed[-1].at == hours[4]
        assert jobs(place) == []

    later = FakeClock(hours[3] + timedelta(minutes=5))
    run(first, FakeClock(datetime.now(UTC)))
    run(second, later)


def test_a_restart_between_job_and_status_makes_no_second_job(run, hours):
    clock = FakeClock(datetime.now(UTC))

    async def first(place):
        await place.store.create(cronjob())
        await place.until(lambda: clock.armed)
        await made(place, clock, hours[0])
        await idle(place)
        await place.store.update_status(cronjob() | {"status": {}})  # as if the host had died before it

    async def second(place):
        await place.until(lambda: status(place).get("lastScheduleTime"))
        assert jobs(place) == [named(hours[0])]

    run(first, clock)
    run(second, FakeClock(hours[0] + timedelta(seconds=1)))


def test_forbid_waits_for_the_one_that_runs(run, hours, tmp_path):
    clock, go = FakeClock(datetime.now(UTC)), tmp_path / "go"

    async def scenario(place):
        command = ("sh", "-c", f"until test -e {go}; do sleep 0.02; done")
        await place.store.create(cronjob(command=command, concurrencyPolicy="Forbid"))
        await place.until(lambda: clock.armed)
        await made(place, clock, hours[0])
        clock.jump(hours[1])
        await place.until(lambda: "JobAlreadyActive" in reasons(place))
        assert jobs(place) == [named(hours[0])]
        go.touch()
        await place.until(lambda: jobs(place) == [named(hours[0]), named(hours[1])])

    run(scenario, clock)


def test_replace_ends_the_one_that_runs(run, hours):
    clock = FakeClock(datetime.now(UTC))

    async def scenario(place):
        await place.store.create(cronjob(command=("sleep", "300"), concurrencyPolicy="Replace"))
        await place.until(lambda: clock.armed)
        await made(place, clock, hours[0], hours[1])
        await place.until(lambda: jobs(place) == [named(hours[1])])
        await place.until(lambda: [each["name"] for each in status(place).get("active", ())] == [named(hours[1])])

    run(scenario, clock)


def test_allow_lets_them_run_side_by_side_and_deleting_the_cronjob_ends_them(run, hours):
    clock = FakeClock(datetime.now(UTC))

    async def scenario(place):
        await place.store.create(cronjob(command=("sleep", "300")))
        await place.until(lambda: clock.armed)
        await made(place, clock, hours[0], hours[1])
        await place.until(lambda: len(status(place).get("active", ())) == 2)
        await place.store.delete("CronJob.batch", "default", "tick")
        assert jobs(place) == []
        await place.until(lambda: not clock.armed)
        await place.until(lambda: not place.store.list("Pod"))

    run(scenario, clock)


def test_history_beyond_the_limits_is_removed_oldest_first(run, hours):
    clock = FakeClock(datetime.now(UTC))

    async def scenario(place):
        await place.store.create(cronjob(successfulJobsHistoryLimit=1))
        await place.until(lambda: clock.armed)
        for due in hours[:3]:
            await made(place, clock, due)
            await idle(place)
        await place.until(lambda: jobs(place) == [named(hours[2])])

    run(scenario, clock)


def test_a_suspended_one_rests_and_makes_up_for_the_latest_when_it_is_resumed(run, hours):
    clock = FakeClock(datetime.now(UTC))

    async def scenario(place):
        await place.store.create(cronjob(suspend=True))
        await place.store.create(cronjob("other"))
        await place.until(lambda: clock.armed)
        clock.jump(hours[1])
        await place.until(lambda: jobs(place) == [named(hours[1], "other")])
        await place.store.update(cronjob(suspend=False))
        await place.until(lambda: named(hours[1]) in jobs(place))

    run(scenario, clock)


def test_a_clock_that_jumps_back_makes_no_job_twice(run, hours):
    clock = FakeClock(datetime.now(UTC))

    async def scenario(place):
        await place.store.create(cronjob())
        await place.until(lambda: clock.armed)
        await made(place, clock, hours[2])
        await idle(place)
        clock.time = hours[0] - timedelta(minutes=1)
        for due in hours[:3]:
            clock.jump(due)
            await place.store.update(cronjob(suspend=False, schedule="0  * * * *" if due == hours[1] else "0 * * * *"))
            await place.until(lambda due=due: clock.armed and clock.armed[-1].at > due)
        assert jobs(place) == [named(hours[2])]

    run(scenario, clock)


def test_a_time_zone_moves_the_due_time(run):
    async def scenario(place):
        await place.store.create(cronjob(schedule="30 9 * * *", timeZone="Asia/Kolkata"))
        await place.until(lambda: clock.armed)
        due = clock.armed[-1].at
        assert (due.hour, due.minute) == (4, 0)
        clock.jump(due)
        await place.until(lambda: jobs(place))
        annotation = place.store.list("Job.batch", "default")[0]["metadata"]["annotations"]
        assert next(iter(annotation.values())).endswith("T09:30:00+05:30")

    clock = FakeClock(datetime.now(UTC))
    run(scenario, clock)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": None}, "spec.schedule: Required value"),
        ({"schedule": "every day"}, 'spec.schedule: Invalid value: "every day": expected exactly 5 fields, found 2'),
        ({"schedule": "60 * * * *"}, 'spec.schedule: Invalid value: "60 * * * *"'),
        ({"schedule": "TZ=UTC 0 * * * *"}, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"),
        ({"timeZone": "Mars/Olympus"}, "spec.timeZone: Invalid value"),
        ({"timeZone": ""}, "timeZone must be an explicit time zone"),
        ({"concurrencyPolicy": "Never"}, 'spec.concurrencyPolicy: Unsupported value: "Never"'),
        ({"startingDeadlineSeconds": -1}, "spec.startingDeadlineSeconds: Invalid value: -1"),
        ({"jobTemplate": {"spec": {}}}, "spec.jobTemplate.spec.template.spec.restartPolicy: Required value"),
    ],
)
def test_what_a_cronjob_cannot_be_is_refused(run, changes, message):
    async def scenario(place):
        with pytest.raises(Invalid) as refused:
            await place.store.create(cronjob(**changes))
        assert message in str(refused.value)

    run(scenario)


def test_a_name_that_leaves_no_room_for_its_jobs_is_refused(run):
    async def scenario(place):
        with pytest.raises(Invalid, match="must be no more than 52 characters"):
            await place.store.create(cronjob("a" * 53))

    run(scenario)


def test_the_latest_due_time_is_found_after_years_and_counted_as_too_many():
    since, now = datetime(2020, 1, 1, tzinfo=UTC), datetime(2026, 3, 1, 0, 30, 30, tzinfo=UTC)
    assert most_recent(schedule("*/5 * * * *"), since, now) == (datetime(2026, 3, 1, 0, 30, tzinfo=UTC), 102)
    assert most_recent(schedule("0-5 3 * * *"), since, now)[0] == datetime(2026, 2, 28, 3, 5, tzinfo=UTC)
    assert most_recent(schedule("0 0 1 1 *"), since, now) == (datetime(2026, 1, 1, tzinfo=UTC), 6)
    assert most_recent(schedule("0 0 1 1 *"), now, since) == (None, 0)


def test_a_local_time_that_summer_time_leaves_out_does_not_come():
    nightly = schedule("30 2 * * *", "Europe/Berlin")
    assert nightly.after(datetime(2026, 3, 28, 12, tzinfo=UTC)) == datetime(2026, 3, 30, 0, 30, tzinfo=UTC)
