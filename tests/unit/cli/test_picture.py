"""The yard on a terminal: what is said, and that it fits."""

import io
from typing import Any

import pytest
from rich.console import Console

from runyard.cli import picture
from runyard.cli.picture import Connection
from runyard.protocol.events import Snapshot
from runyard.schemas.jobs import EventRead, JobRead
from runyard.schemas.system import EngineRead, GpuRead, SystemRead
from runyard.sdk.overview import Overview

NOW = 1_800_000_000.0


def job(number: int, state: str, **fields: Any) -> JobRead:
    nothing = dict.fromkeys(
        ("reason", "message", "wait_cause", "expected_start", "not_before", "schedule_id", "logs_removed_at",
         "parent_id", "estimated_seconds", "snapshot", "started_at", "finished_at")
    )  # fmt: skip
    known = {"id": f"{number:012x}", "kind": "sft", "name": f"orders {number}", "user": "max", "state": state}
    counts = {
        "priority": "normal",
        "failures": 0,
        "attempts": 1,
        "kept": False,
        "returns": False,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return JobRead.model_validate({**nothing, **known, **counts, **fields})


def gpu(index: int, **fields: Any) -> GpuRead:
    known: dict[str, Any] = {
        "uuid": "u",
        "name": "NVIDIA H100 80GB HBM3",
        "memory_total_mb": 80_000,
        "memory_used_mb": 60_000,
    }
    figures = {"utilization_percent": 97.0, "temperature_celsius": 64.0, "power_watts": 512.0}
    return GpuRead(index=index, **(known | figures | fields))


def yard(gpus: int = 2, **jobs: list[JobRead]) -> Overview:
    system = SystemRead(
        version="1", host="gpuhost", database="sqlite", cpu_count=64, memory_total_mb=1e5, memory_available_mb=5e4,
        disk_total_bytes=10**12, disk_free_bytes=5 * 10**11, gpus=[gpu(number) for number in range(gpus)],
        engine=EngineRead(name="e", since=NOW, alive=True), jobs={}, slots=1,
    )  # fmt: skip
    return Overview(system, NOW, **jobs)


def drawn(found: Overview, width: int = 120, height: int | None = None, connection: Connection | None = None) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(picture.draw(found, NOW, width=width, height=height, connection=connection))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


SHOT = Snapshot(
    at=NOW - 10, phase="training", step=45, total_steps=100, eta_seconds=140, loss=1.23456, tokens_per_second=812.4,
    values={"loss": 1.23456},
)  # fmt: skip
BUSY = {
    "running": [job(1, "running", snapshot=SHOT, name="orders of the week"), job(2, "starting")],
    "waiting": [job(3, "queued", queue_position=1, wait_cause="needs a whole GPU", expected_start=NOW + 600)],
    "failed": [job(4, "failed", reason="gpu_out_of_memory", message="the memory ran out", finished_at=NOW - 60)],
}


def test_all_of_it_on_a_wide_terminal() -> None:
    text = drawn(yard(**BUSY))
    assert text.startswith("2 running, 1 waiting, 1 failed in the last day\n")
    assert "gpuhost · 64 processors · 50.0 GB memory free · 500.0 GB disk free" in text
    assert "60.0/80.0 GB" in text
    assert "97 %" in text
    line = next(line for line in text.splitlines() if "orders of the week" in line)
    for figure in ("45/100", "1.2346", "812 tokens/s", "2:10", "━"):
        assert figure in line
    assert "needs a whole GPU" in text
    assert "gpu_out_of_memory: the memory ran out" in text
    assert "\x1b" not in text, "no colours where there is no terminal"


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_what_matters_most_is_there(width: int) -> None:
    text = drawn(yard(**BUSY), width, connection=Connection(NOW))
    assert max(map(len, text.splitlines())) <= width
    for word in ("running", "45/100", "1.2346", "2:10", "failed", "GPU", "needs a", "live"):
        assert word in text


def test_names_can_not_steer_the_terminal() -> None:
    text = drawn(yard(running=[job(1, "running", name="\x1b[2J[red]a\nb")]))
    assert "\x1b" not in text
    assert "[red]a" in text


def test_what_does_not_fit_into_the_height_is_counted() -> None:
    many = [job(number, "queued", queue_position=number, wait_cause="waits") for number in range(1, 41)]
    text = drawn(yard(waiting=many), height=30)
    assert len(text.splitlines()) <= 30
    assert "and 32 more" in text
    assert "orders 40" in drawn(yard(waiting=many))


def test_old_data_say_so() -> None:
    assert "● live" in drawn(yard(), connection=Connection(NOW - 15))
    assert "nothing heard for 0:40" in drawn(yard(), connection=Connection(NOW - 40))
    lost = drawn(yard(), connection=Connection(NOW - 40, "connection refused"))
    assert "no connection, as of" in lost
    assert "connection refused" in lost


def test_an_empty_yard_and_one_without_an_engine() -> None:
    found = yard(0)
    found.system.warnings = ["no engine runs, so jobs wait"]
    text = drawn(found)
    assert text.startswith("nothing runs or waits\n")
    assert "warning: no engine runs" in text


def test_figures_move_on_with_the_feed_and_states_are_asked_for() -> None:
    found = yard(running=[job(1, "running")])
    told = [
        ("progress", {"phase": "training", "step": 7, "total_steps": 9, "epoch": 0.5, "eta_seconds": 3.0}),
        ("metric", {"step": 7, "split": "train", "values": {"loss": None, "samples_per_second": 2.5}}),
    ]
    for number, (type_, data) in enumerate(told, start=1):
        event = EventRead(id=number, job_id=f"{1:012x}", at=NOW, type=type_, data=data)
        assert not found.take(event)
    assert "7/9" in drawn(found)
    assert "nan" in drawn(found)
    assert "2.5 samples/s" in drawn(found)
    assert found.take(EventRead(id=3, job_id="x", at=NOW, type="state", data={"after": "queued"}))
    assert not found.take(EventRead(id=4, job_id="unknown", at=NOW, type="metric", data=told[1][1]))
