"""The yard on a terminal: one sentence, the machine, what runs, what waits, what failed. Wide or narrow."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from runyard.cli import output

if TYPE_CHECKING:
    from runyard.protocol.events import Snapshot
    from runyard.schemas.jobs import JobRead
    from runyard.schemas.system import GpuRead, SystemRead
    from runyard.sdk.overview import Overview

WIDE, MIDDLE = 110, 72
"""Columns of the terminal from which on there is room for all, and for most."""
LEAST_ROWS = 3
QUIET_SECONDS = 20.0
"""The server gives a sign of life every 15 seconds."""
FULL, BUSY = 0.9, 0.5
DAY = 86400.0


@dataclass(frozen=True)
class Connection:
    """`heard` is when the server gave its last sign of life; `lost` says why there is no connection."""

    heard: float
    lost: str | None = None

    def words(self, now: float) -> tuple[str, str]:
        """What to say of it, and in which style."""
        silent = now - self.heard
        if self.lost is not None:
            return f"○ no connection, as of {_clock(self.heard, now)}; trying again ({self.lost})", "bold red"
        if silent > QUIET_SECONDS:
            return f"○ nothing heard for {output.duration(silent)}, as of {_clock(self.heard, now)}", "yellow"
        return f"● live {_clock(now, now)}", "green"


def draw(
    yard: "Overview", now: float, *, width: int, height: int | None = None, connection: Connection | None = None
) -> RenderableType:
    """All of it, or as many rows as fit into `height`."""
    most = None if height is None else max(LEAST_ROWS, (height - len(yard.system.gpus) - 12) // 2)
    parts: list[RenderableType] = [_heading(yard, now, connection), *_machine(yard.system, width)]
    for title, jobs, table in (
        ("running", yard.running, _running),
        ("waiting", yard.waiting, _waiting),
        ("failed", yard.failed, _failed),
    ):
        if jobs:
            shown = jobs[:most]
            rows = table(shown, now, width)
            rows.columns[-2 if title == "waiting" else -1].no_wrap = most is not None  # one line each, as was counted
            parts += [Text(f"\n{title}", style="bold"), rows]
            if more := len(jobs) - len(shown):
                parts.append(Text(f"and {more} more", style="dim"))
    return Group(*parts)


def sentence(yard: "Overview") -> str:
    """Such as `2 running, 3 waiting, 1 failed in the last day`."""
    counts = ((yard.running, "running"), (yard.waiting, "waiting"), (yard.failed, "failed in the last day"))
    said = [f"{len(jobs)} {what}" for jobs, what in counts if jobs]
    return ", ".join(said) if yard.running or yard.waiting else ", ".join(["nothing runs or waits", *said])


def _heading(yard: "Overview", now: float, connection: Connection | None) -> RenderableType:
    said = Text(sentence(yard), style="bold")
    if connection is None:
        return said
    text, style = connection.words(now)
    return Group(said, Text(text, style=style))


def _machine(system: "SystemRead", width: int) -> Iterable[RenderableType]:
    free = system.memory_available_mb * 1_000_000, system.disk_free_bytes
    memory, disk = (output.size(count) for count in free)
    parts = [
        output.harmless(system.host),
        f"{system.cpu_count} processors",
        f"{memory} memory free",
        f"{disk} disk free",
    ]
    yield Text(" · ".join(parts if width >= MIDDLE else [parts[0], *parts[2:]]), style="dim")
    for warning in system.warnings:
        yield Text(f"warning: {output.harmless(warning)}", style="yellow")
    if system.gpus:
        yield _gpus(system.gpus, width)


def _gpus(gpus: Sequence["GpuRead"], width: int) -> Table:
    table = _table(width)
    for column in ("GPU", "", "BUSY", "MEMORY", *(("HEAT", "POWER") if width >= MIDDLE else ())):
        table.add_column(column, no_wrap=True, justify="right" if column not in ("GPU", "") else "left")
    table.add_column("", no_wrap=True, overflow="ellipsis", ratio=1)
    for gpu in gpus:
        used, total = gpu.memory_used_mb, gpu.memory_total_mb
        share = used / total if total else 0.0
        style = "red" if share >= FULL else "green" if share >= BUSY else "cyan"
        row: list[RenderableType] = [
            Text(str(gpu.index)),
            ProgressBar(total=max(total, 1), completed=used, width=10, complete_style=style, finished_style=style),
            Text(_with(gpu.utilization_percent, " %")),
            Text(f"{used / 1000:.1f}/{total / 1000:.1f} GB"),
        ]
        if width >= MIDDLE:
            row += [Text(_with(gpu.temperature_celsius, " °C")), Text(_with(gpu.power_watts, " W"))]
        about = Text(gpu.unusable, style="yellow") if gpu.unusable else Text(gpu.name, style="dim")
        table.add_row(*row, about)
    return table


def _running(jobs: Sequence["JobRead"], now: float, width: int) -> Table:
    table = _table(width)
    if width >= MIDDLE:
        table.add_column("ID", no_wrap=True)
    table.add_column("NAME", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("", no_wrap=True)
    for column in ("STEP", "LOSS", *(("SPEED",) if width >= WIDE else ()), "LEFT"):
        table.add_column(column, no_wrap=True, justify="right")
    for job in jobs:
        shot = job.snapshot
        step = f"{shot.step}/{shot.total_steps}" if shot and shot.total_steps else str(shot.step) if shot else ""
        row: list[RenderableType] = [Text(job.id)] if width >= MIDDLE else []
        row += [_name(job), _bar(job, 20 if width >= WIDE else 10), Text(step), Text(_loss(shot), style="cyan")]
        if width >= WIDE:
            row.append(Text(_speed(shot)))
        table.add_row(*row, Text(_left(shot, now)))
    return table


def _waiting(jobs: Sequence["JobRead"], now: float, width: int) -> Table:
    table = _table(width)
    table.add_column("", no_wrap=True, justify="right")
    if width >= MIDDLE:
        table.add_column("ID", no_wrap=True)
    table.add_column("NAME", no_wrap=True, overflow="ellipsis", ratio=2)
    if width >= MIDDLE:
        table.add_column("PRIORITY", no_wrap=True)
    table.add_column("WHY", overflow="ellipsis", ratio=3)
    table.add_column("STARTS", no_wrap=True, justify="right")
    for job in jobs:
        row = [Text(str(job.queue_position or ""))]
        row += [Text(job.id)] if width >= MIDDLE else []
        row.append(_name(job))
        row += [Text(job.priority)] if width >= MIDDLE else []
        start = job.expected_start or job.not_before
        table.add_row(*row, Text(output.harmless(job.wait_cause or "")), Text(_clock(start, now) if start else "?"))
    return table


def _failed(jobs: Sequence["JobRead"], now: float, width: int) -> Table:
    table = _table(width)
    table.add_column("", no_wrap=True)
    if width >= MIDDLE:
        table.add_column("ID", no_wrap=True)
    table.add_column("NAME", no_wrap=True, overflow="ellipsis", ratio=2)
    table.add_column("WHY", overflow="ellipsis", ratio=3)
    for job in jobs:
        row = [Text(_clock(job.finished_at or now, now)), *([Text(job.id)] if width >= MIDDLE else []), _name(job)]
        why = ": ".join(filter(None, (job.reason, job.message if width >= MIDDLE else None)))
        table.add_row(*row, Text(output.harmless(why), style="red"))
    return table


def _table(width: int) -> Table:
    return Table(box=None, pad_edge=False, show_edge=False, header_style="dim", width=width, padding=(0, 2, 0, 0))


def _name(job: "JobRead") -> Text:
    return Text(output.harmless(job.name))


def _bar(job: "JobRead", width: int) -> RenderableType:
    shot = job.snapshot
    if job.state != "running" or shot is None or not shot.total_steps:
        return Text((shot.phase if shot and shot.phase and job.state == "running" else job.state)[:width], style="dim")
    return ProgressBar(total=shot.total_steps, completed=min(shot.step, shot.total_steps), width=width)


def _loss(shot: "Snapshot | None") -> str:
    if shot is None or "loss" not in shot.values:
        return ""
    return "nan" if shot.loss is None else f"{shot.loss:.4f}"


def _speed(shot: "Snapshot | None") -> str:
    if shot is not None and shot.tokens_per_second is not None:
        return f"{shot.tokens_per_second:.0f} tokens/s"
    if shot is not None and shot.samples_per_second is not None:
        return f"{shot.samples_per_second:.3g} samples/s"
    return ""


def _left(shot: "Snapshot | None", now: float) -> str:
    if shot is None or shot.eta_seconds is None:
        return ""
    return output.duration(max(0.0, shot.eta_seconds - max(0.0, now - shot.at)))


def _with(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:.0f}{unit}"


def _clock(at: float, now: float) -> str:
    """The time of day; with the day where that is another."""
    near = abs(at - now) < DAY / 2
    return time.strftime("%H:%M:%S" if near else "%a %H:%M", time.localtime(at))
