"""Numbers and times as people read them: one place, so that they look the same on every page."""

import json
import math
import re
from datetime import datetime, tzinfo
from typing import Any

from markupsafe import Markup

from runyard.domain.quotas import NOUNS, Quota

TICKS, CODE = re.compile(r"`([^`]+)`"), Markup("<code>{}</code>")
AFTER_MARK = re.compile(r"(?<=[._])")
MISSING = "—"
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
KILO = 1000.0
MANY = 10_000


def duration(seconds: float | None) -> str:
    """`41 s`, `39 min`, `2 h 48`, `1 d 4 h`."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    seconds = max(0.0, seconds)
    if seconds < MINUTE:
        return f"{seconds:.0f} s"
    if seconds < HOUR:
        return f"{seconds / MINUTE:.0f} min"
    if seconds < DAY:
        minutes = round(seconds / MINUTE)
        return f"{minutes // 60} h {minutes % 60:02d}"
    hours = round(seconds / HOUR)
    return f"{hours // 24} d {hours % 24} h"


def pace(seconds: float) -> str:
    """Of one step: `2.03 s`, `4 ms`."""
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1000 * seconds:.0f} ms"


def ago(seconds: float) -> str:
    return "just now" if seconds < MINUTE else f"{duration(seconds)} ago"


def clock(at: float | None, now: float, zone: tzinfo) -> str:
    """`14:20` today, `Wed 16:02` within a week, then `14 Nov 2026`."""
    if at is None:
        return MISSING
    then, today = datetime.fromtimestamp(at, zone), datetime.fromtimestamp(now, zone)
    if then.date() == today.date():
        return f"{then:%H:%M}"
    if abs(at - now) < 7 * DAY:
        return f"{then:%a %H:%M}"
    return f"{then.day} {then:%b %Y}"


def exact(at: float, zone: tzinfo) -> str:
    """For a tooltip: with the zone."""
    then = datetime.fromtimestamp(at, zone)
    return f"{then.day} {then:%b %Y %H:%M:%S %Z}"


def count(number: float | None) -> str:
    return MISSING if number is None else f"{number:,.0f}"


def value(number: float | None) -> str:
    """A metric: three decimals, or three digits that count where it is small or large."""
    if number is None:
        return MISSING
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else "∞" if number > 0 else "−∞"
    size = abs(number)
    if size == 0 or 0.01 <= size < 100:
        text = f"{number:.3f}"
    elif size >= 100:
        text = f"{number:,.1f}" if size < MANY else f"{number:,.0f}"
    else:
        text = f"{number:.2e}".replace("e-0", "e-")
    return text.replace("-", "−", 1) if number < 0 else text


def rate(number: float | None) -> str:
    """Throughput: whole where that is enough."""
    if number is None or not math.isfinite(number):
        return MISSING
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def percent(part: float | None) -> str:
    """Of one; with a thin space."""
    if part is None:
        return MISSING
    points = part * 100
    return f"{points:.0f}\u2009%" if points >= 10 or points == 0 else f"{points:.1f}\u2009%"


def change(found: float | None, base: float | None) -> str:
    """Against a baseline, with a real minus sign."""
    if found is None or base is None or base == 0 or not math.isfinite(found / base):
        return ""
    points = (found / base - 1) * 100
    if abs(points) < 0.05:
        return "± 0"
    return f"{'+' if points > 0 else '−'}{abs(points):.1f}\u2009%"


def size(number: float | None) -> str:
    """Of a file; 1 GB is a thousand MB."""
    if number is None:
        return MISSING
    for unit in ("B", "kB", "MB", "GB"):
        if number < KILO:
            return f"{number:.0f} {unit}" if unit in ("B", "kB") or number >= 100 else f"{number:.1f} {unit}"
        number /= KILO
    return f"{number:.1f} TB"


def gigabytes(megabytes: float | None) -> str:
    """Memory of a GPU, as the makers say it: 1024 MB are a GB."""
    return MISSING if megabytes is None else f"{megabytes / 1024:.1f}"


def quota(name: str) -> str:
    noun = NOUNS[Quota(name)]
    return noun[:1].upper() + noun[1:]


def amount(number: float, name: str) -> str:
    """Of what a quota limits."""
    if name == Quota.STORED_BYTES:
        return size(number)
    return rate(number) if number % 1 else count(number)


def initials(name: str) -> str:
    parts = [part for part in name.replace("@", " ").replace(".", " ").replace("-", " ").split() if part]
    letters = "".join(part[0] for part in parts[:2]) if len(parts) > 1 else name[:2]
    return letters.upper()


def ticked(text: str) -> Markup:
    """With what stands between backticks as code."""
    parts = TICKS.split(text)  # every second one stood between two
    return Markup("").join(CODE.format(part) if number % 2 else part for number, part in enumerate(parts))


def breakable(name: str) -> Markup:
    """A dotted name that may go on in the next line after a dot or an underscore."""
    return Markup("<wbr>").join(AFTER_MARK.split(name))


def setting(value: Any) -> str | None:
    """A value of a job file; None where nothing is set."""
    return None if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
