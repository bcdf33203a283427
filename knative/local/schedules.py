"""Cron schedules with a time zone, as Kubernetes and Knative read them (robfig/cron).

Five fields, or six with seconds first where those are allowed, or a descriptor such as `@hourly`. A local time that
a change to summer time leaves out does not come; one that comes twice is due twice. Source: robfig/cron v3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from zeroflow.errors import InvalidInput

DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELD = re.compile(r"[0-9A-Za-z*/,\-?]+")
_WORDS = re.compile(r"[A-Za-z]+")
_MONTHS = frozenset(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"])
_DAYS = frozenset(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])


class BadSchedule(InvalidInput):
    """This is not a schedule, or its time zone is unknown."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something is due."""

    fields: str
    seconds: bool
    zone: tzinfo

    def after(self, moment: datetime) -> datetime | None:
        """Return the first due time after a moment, in UTC; None when there is none within years."""
        from croniter import CroniterBadDateError, croniter

        due = moment.astimezone(self.zone)
        try:
            while True:
                due = croniter(self.fields, due, second_at_beginning=self.seconds).get_next(datetime)
                on_the_wall = due.replace(tzinfo=None)  # croniter moves what summer time leaves out to its end
                if croniter.match(self.fields, on_the_wall, second_at_beginning=self.seconds):
                    return due.astimezone(UTC)
        except CroniterBadDateError:
            return None


def schedule(text: str, zone: str | None = None, *, seconds: bool = False) -> Schedule:
    """Read a schedule; `seconds` says whether it may have six fields. Raises BadSchedule."""
    if "@every" in text:
        raise BadSchedule("unsupported descriptor @every")
    fields = DESCRIPTORS.get(text, text)
    if fields.startswith("@"):
        raise BadSchedule(f"unrecognized descriptor {text!r}; known are {', '.join(DESCRIPTORS)}")
    parts = fields.split()
    if len(parts) not in ({5, 6} if seconds else {5}):
        wanted = "5 fields, or 6 with seconds first" if seconds else "exactly 5 fields"
        raise BadSchedule(f"expected {wanted}, found {len(parts)}: {text!r}")
    for index, part in enumerate(parts[-5:]):
        _check_words(part, _MONTHS if index == 3 else _DAYS if index == 4 else frozenset())
    for part in parts:
        if not _FIELD.fullmatch(part):
            raise BadSchedule(f"field {part!r} holds characters that cron fields do not have")
    fields = " ".join("*" if part == "?" else part for part in parts)
    _check_cron(fields, len(parts) == 6, text)
    return Schedule(fields, len(parts) == 6, time_zone(zone))


def time_zone(name: str | None) -> tzinfo:
    """Return an IANA time zone, UTC for none; raise BadSchedule for an unknown one."""
    if not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise BadSchedule(f"{name!r} is not an IANA time zone such as Europe/Berlin") from error


def _check_words(part: str, known: frozenset[str]) -> None:
    for word in _WORDS.findall(part):
        if word.lower() not in known:
            raise BadSchedule(f"{word!r} in {part!r} is not a name that this field knows")


def _check_cron(fields: str, seconds: bool, text: str) -> None:
    from croniter import CroniterError, croniter

    try:
        croniter(fields, datetime(2026, 1, 1, tzinfo=UTC), second_at_beginning=seconds)
    except (CroniterError, ValueError, KeyError) as error:
        raise BadSchedule(f"{text!r} is not a cron schedule: {error}") from error
