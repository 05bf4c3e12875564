"""Schedules from the command line, against the real server and a real training."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from typer.testing import Result

Cli = Callable[..., Result]
JobFile = Callable[..., Path]
pytestmark = [pytest.mark.llm, pytest.mark.xdist_group("cli")]


def records(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_schedule_from_the_cradle_to_the_grave(cli: Cli, job_file: JobFile) -> None:
    added = cli("schedules", "add", job_file("nightly"), "--cron", "0 2 * * *", "--timezone", "Europe/Berlin").stdout
    id_, rest = added.split(" ", 1)
    assert rest.startswith("(nightly): 0 2 * * * Europe/Berlin, next: 20")
    assert rest.strip().endswith(("02:00:00 CET", "02:00:00 CEST"))
    [found] = [s for s in records(cli("schedules", "list", "--json")) if s["name"] == "nightly"]
    assert found["id"] == id_
    assert datetime.fromtimestamp(found["next_at"], ZoneInfo("Europe/Berlin")).hour == 2
    assert found["spec"]["data"]["train"].startswith("dataset:")
    assert any(line.split("\t")[:2] == [id_, "nightly"] for line in cli("schedules", "list").stdout.splitlines())
    assert "kind: sft" in cli("schedules", "show", "nightly").stdout
    assert "next: paused" in cli("schedules", "pause", "nightly").stdout
    assert records(cli("schedules", "resume", id_, "--json"))[0]["next_at"] == found["next_at"]
    assert cli("schedules", "remove", "nightly").stdout == "removed nightly\n"
    assert "no schedule 'nightly'" in cli("schedules", "show", "nightly", code=3).stderr


def test_a_job_starts_at_its_time(cli: Cli, job_file: JobFile) -> None:
    moment = datetime.fromtimestamp(time.time() + 15, UTC).isoformat()
    [made] = records(cli("schedules", "add", job_file("later", max_steps=1), "--at", moment, "--json"))
    deadline = time.monotonic() + 60
    while not (found := records(cli("schedules", "show", "later", "--json"))[0])["last_job_id"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    [job] = records(cli("jobs", "show", found["last_job_id"], "--json"))
    assert job["schedule_id"] == made["id"]
    assert job["created_at"] >= made["at"]
    cli("jobs", "watch", job["id"])
    assert "next: over" in cli("schedules", "pause", "later").stdout
    cli("schedules", "remove", "later")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "cron: give either a cron line"),
        (("--cron", "0 2 * *"), "cron: must be 5 fields"),
        (("--cron", "0 2 * * *", "--timezone", "Berlin"), "timezone: 'Berlin' is no time zone"),
        (("--at", "2020-01-01"), "at: 2020-01-01 has passed"),
    ],
)
def test_what_is_wrong_is_one_line(cli: Cli, job_file: JobFile, options: tuple[str, ...], said: str) -> None:
    result = cli("schedules", "add", job_file(), *options, code=2)
    assert result.stderr.startswith(f"error: {said}")
    assert result.stderr.count("\n") == 1
