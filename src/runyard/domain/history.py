"""What the lines of a run's history amount to: a pure fold from lines to what the database keeps."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from runyard.protocol import names
from runyard.protocol.events import (
    AnyEvent,
    ArtifactEvent,
    CheckpointEvent,
    CheckpointRemovedEvent,
    MetricEvent,
    ResumedEvent,
    SampleEvent,
    Snapshot,
    any_event,
)

LONGEST_LINE = 1 << 20
LARGEST_STEP = 2**31 - 1
LARGEST_SIZE = 2**63 - 1

Kept = CheckpointEvent | CheckpointRemovedEvent | ArtifactEvent


@dataclass
class History:
    """What some lines add to a run. `forget_after` comes first: older points and samples behind that step are void."""

    snapshot: Snapshot
    feed: list[dict[str, Any]] = field(default_factory=list)
    points: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    samples: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    """By step and index of the prompt."""
    forget_after: int | None = None
    kept: list[tuple[Kept, dict[str, Any]]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Why lines were left out, one reason each."""


def parse(line: bytes) -> tuple[AnyEvent, dict[str, Any]]:
    """An event, and its fields as JSON that both databases can hold. Raises ValueError saying what is wrong."""
    if len(line) > LONGEST_LINE:
        raise ValueError(f"it has {len(line)} bytes, more than {LONGEST_LINE}")
    event = any_event.validate_json(line.replace(rb"\u0000", rb"\ufffd"))
    fields = _metric_fields(event) if isinstance(event, MetricEvent) else json.loads(event.model_dump_json())
    step, size = fields.get("step", 0), fields.get("size_bytes", 0)
    if not (0 <= step <= LARGEST_STEP and 0 <= size <= LARGEST_SIZE and math.isfinite(event.at)):
        raise ValueError("a number in it is out of range")
    if isinstance(event, CheckpointEvent | ArtifactEvent) and not names.is_plain(event.path):
        raise ValueError(f"its path {event.path[:100]!r} is none of something in the run folder")
    return event, fields


def _metric_fields(event: MetricEvent) -> dict[str, Any]:
    """The same as by way of JSON, in a fraction of the time: there may be ten thousand a second."""
    values = {
        name: value if value is not None and math.isfinite(value) else None for name, value in event.values.items()
    }
    return {**event.__dict__, "values": values}


def read(lines: Iterable[bytes], snapshot: Snapshot) -> History:
    """Add lines to what is known of a run; a line that can't be read is skipped, one that was read before too."""
    history = History(snapshot.model_copy(deep=True))
    for line in lines:
        try:
            event, fields = parse(line)
        except ValueError as error:
            history.skipped.append(_first_line(error))
            continue
        # A power cut may have cost the file lines that were read: the next attempt uses their numbers again.
        if (event.attempt, event.n) > (history.snapshot.attempt, history.snapshot.n):
            _add(history, event, fields)
    return history


def _add(history: History, event: AnyEvent, fields: dict[str, Any]) -> None:
    data = {name: value for name, value in fields.items() if name not in ("type", "at")}
    history.feed.append({"at": event.at, "type": event.type, "data": data})
    history.snapshot.take(fields)
    match event:
        case MetricEvent():
            _add_point(history, event, fields["values"])
        case ResumedEvent():
            earlier = history.forget_after
            history.forget_after = event.step if earlier is None else min(earlier, event.step)
            history.points = {key: point for key, point in history.points.items() if key[1] <= event.step}
            history.samples = {key: sample for key, sample in history.samples.items() if key[0] <= event.step}
        case SampleEvent():
            told = {name: fields[name] for name in ("at", "attempt", "prompt", "answer", "wanted", "truncated")}
            history.samples[event.step, event.index] = told
        case CheckpointEvent() | CheckpointRemovedEvent() | ArtifactEvent():
            history.kept.append((event, data))


def _add_point(history: History, event: MetricEvent, values: dict[str, Any]) -> None:
    key = (event.split, event.step)
    earlier = history.points.get(key, {"values": {}})["values"]
    history.points[key] = {"attempt": event.attempt, "at": event.at, "values": earlier | values}


def _first_line(error: ValueError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ": ".join(lines[1:3] or lines)[:200]
