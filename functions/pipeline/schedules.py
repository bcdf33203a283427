"""When a recurring run is due: cron with seconds, or an interval, between a start and an end.

A cron schedule has six fields, seconds first, in UTC; `?` is `*`. An interval counts from the start, or from the
creation: the first run of a schedule without a start comes one interval after it was made.
Source: CronSchedule and PeriodicSchedule of KFP's recurring_run.proto.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline.fields import found, mapping, only, required_text

EVERY_SECOND = "* * * * * *"
SOON_MS = 3000
"""A tick that is nearer than this might pass before it is declared."""
MINUTE_S = 60
DESCRIPTORS = {
    "@yearly": "0 0 0 1 1 *", "@annually": "0 0 0 1 1 *", "@monthly": "0 0 0 1 * *", "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *", "@midnight": "0 0 0 * * *", "@hourly": "0 0 * * * *",
}  # fmt: skip


@dataclass(frozen=True)
class Schedule:
    """A cron or an interval, and its bounds."""

    cron: str | None
    interval_s: int | None
    start_ms: int | None
    end_ms: int | None

    def first(self, created_ms: int) -> int | None:
        """Return the first due time."""
        if self.cron:
            return self.after(max(created_ms, (self.start_ms or 0) - 1), created_ms)
        assert self.interval_s is not None
        return self._bounded(self.start_ms if self.start_ms is not None else created_ms + self.interval_s * 1000)

    def after(self, moment_ms: int, created_ms: int) -> int | None:
        """Return the first due time after a moment; None when there is none any more."""
        if self.cron:
            return self._bounded(_after(self.cron, moment_ms))
        assert self.interval_s is not None
        step, origin = self.interval_s * 1000, self.start_ms if self.start_ms is not None else created_ms
        passed = max(0, moment_ms - origin) // step
        return self._bounded(origin + (passed + 1) * step)

    def due(self, next_ms: int | None, now: int, created_ms: int) -> Iterator[int]:
        """Yield the due times up to now."""
        while next_ms is not None and next_ms <= now:
            yield next_ms
            next_ms = self.after(next_ms, created_ms)

    def declared(self, next_ms: int, now: int) -> str:
        """Return the schedule of a PingSource that ticks when the next time is due, and perhaps when it is not."""
        if self.cron:
            return self.cron
        assert self.interval_s is not None
        if self.interval_s < MINUTE_S or next_ms - now < SOON_MS:
            return EVERY_SECOND
        at = datetime.fromtimestamp(-(-next_ms // 1000), UTC)
        return f"{at.second} {at.minute} {at.hour} {at.day} {at.month} *"

    def _bounded(self, due_ms: int | None) -> int | None:
        return None if due_ms is None or (self.end_ms is not None and due_ms > self.end_ms) else due_ms


def read(trigger: dict[str, Any]) -> Schedule:
    """Read a trigger; raise InvalidInput naming the fault."""
    only(trigger, ("cron_schedule", "periodic_schedule"), "trigger")
    if len(trigger) != 1:
        raise InvalidInput("trigger must have either a cron_schedule or a periodic_schedule")
    ((kind, value),) = trigger.items()
    spec = mapping(value, f"trigger.{kind}")
    cron = interval_s = None
    if kind == "cron_schedule":
        only(spec, ("start_time", "end_time", "cron"), kind)
        cron = _cron(required_text(spec.get("cron"), "cron_schedule.cron"))
    else:
        only(spec, ("start_time", "end_time", "interval_second"), kind)
        text = str(spec.get("interval_second", ""))
        if not text.isdigit() or not 0 < int(text) <= 10 * 366 * 86400:
            raise InvalidInput(f"interval_second must be a number of seconds above 0, found {found(text)}")
        interval_s = int(text)
    start_ms, end_ms = (_time_ms(spec.get(name), f"{kind}.{name}") for name in ("start_time", "end_time"))
    if start_ms is not None and end_ms is not None and start_ms >= end_ms:
        raise InvalidInput(f"{kind}: its start_time must be before its end_time")
    return Schedule(cron, interval_s, start_ms, end_ms)


def _cron(text: str) -> str:
    from croniter import CroniterError, croniter

    fields = " ".join("*" if part == "?" else part for part in DESCRIPTORS.get(text, text).split())
    if len(fields.split()) != 6:
        raise InvalidInput(f"cron {text!r} must have six fields: second minute hour day month weekday")
    try:
        croniter(fields, 0, second_at_beginning=True)
    except (CroniterError, ValueError, KeyError) as error:
        raise InvalidInput(f"cron {text!r} is no schedule: {error}") from error
    return fields


def _after(cron: str, moment_ms: int) -> int | None:
    from croniter import CroniterBadDateError, croniter

    start = datetime.fromtimestamp(moment_ms // 1000, UTC)
    try:
        due: datetime = croniter(cron, start, ret_type=datetime, second_at_beginning=True).get_next(datetime)
    except CroniterBadDateError:
        return None
    return int(due.timestamp() * 1000)


def _time_ms(value: Any, where: str) -> int | None:
    if value is None:
        return None
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError as error:
        raise InvalidInput(f"{where} must be RFC 3339, found {found(value)}") from error
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
