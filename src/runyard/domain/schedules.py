"""When a scheduled job is due: by a cron line or at one time, in a time zone.

A cron line with fixed minutes and hours runs once on the nights when clocks change: a time that doesn't exist runs at
the first minute after the gap, one that exists twice at the first. A line with `*` as minute or hour follows the clock.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from runyard.domain.errors import InvalidError
from runyard.protocol.problems import Problem

LONGEST_TEXT = 100
FIELDS = ("minute", "hour", "day of month", "month", "day of week")
EXAMPLES = "`0 2 * * *` for every night at two, `30 8 * * MON-FRI` for working days at half past eight"
RETRY_SECONDS = 60.0


class _UnusableError(ValueError):
    """The message says what is wrong, and what would do."""


@dataclass(frozen=True)
class When:
    """A cron line, or one time."""

    cron: str | None
    at: float | None
    timezone: str

    def after(self, now: float) -> float | None:
        """The next time after now; None when there is none left."""
        if self.cron is None:
            return self.at if self.at is not None and self.at > now else None
        return _next_time(self.cron, _zone(self.timezone), now)

    def to_retry(self, now: float) -> float | None:
        """When to try again what could not be queued: a single time is not forgone for what may pass."""
        return self.after(now) if self.cron else now + RETRY_SECONDS


def parse(cron: str | None, at: str | None, timezone: str, now: float) -> tuple[When, float]:
    """What a person asked for, and its first time. Raises InvalidError, naming the field."""
    if (cron is None) == (at is None):
        raise _invalid("cron", f"give either a cron line, such as {EXAMPLES}, or at, a single time")
    try:
        zone = _zone(timezone)
    except _UnusableError as error:
        raise _invalid("timezone", str(error)) from None
    field = "at" if cron is None else "cron"
    try:
        when = When(cron and " ".join(cron.split()), None if at is None else _moment(at, zone), timezone)
        first = when.after(now)
    except _UnusableError as error:
        raise _invalid(field, str(error)) from None
    if first is None:
        raise _invalid(field, f"{at} has passed" if at else f"{cron!r} is never: there is no such day")
    return when, first


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        if len(name) > LONGEST_TEXT:
            raise ValueError(name)
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # paths out of the folder, a folder's name, no such zone
        shown = name[:LONGEST_TEXT]
        raise _UnusableError(f"{shown!r} is no time zone: name one such as Europe/Berlin, or UTC") from None


def _next_time(line: str, zone: tzinfo, after: float) -> float | None:
    for moment in _times(line, datetime.fromtimestamp(after, zone)):
        # In an hour that comes twice, the parser begins at its first coming.
        if moment.timestamp() > after:
            return moment.timestamp()
    return None


def _times(line: str, start: datetime) -> CronSim:
    fields = line.split()
    if len(line) > LONGEST_TEXT or len(fields) != len(FIELDS):
        raise _UnusableError(f"must be {len(FIELDS)} fields ({', '.join(FIELDS)}), such as {EXAMPLES}")
    try:
        return CronSim(line, start)
    except (CronSimError, ValueError) as error:
        wrong = str(error).removeprefix("Bad ").replace("-", " ")
        place = f"the {wrong} in {line!r} makes no sense" if wrong in FIELDS else f"{line!r} makes no sense"
        raise _UnusableError(f"{place}; a cron line looks like {EXAMPLES}") from None


def _moment(text: str, zone: tzinfo) -> float:
    """Without an offset of its own, a time is one of the zone."""
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError):
        shown = text[:LONGEST_TEXT]
        raise _UnusableError(f"{shown!r} is no time: write it such as 2026-12-01T02:00") from None


def _invalid(field: str, message: str) -> InvalidError:
    return InvalidError("the schedule can't be used", problems=[Problem(field=field, message=message)])
