"""Retention from the command line, against the real server and a real training."""

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

Cli = Callable[..., Result]
JobFile = Callable[..., Path]
pytestmark = [pytest.mark.llm, pytest.mark.xdist_group("cli")]


def test_an_old_job_is_listed_kept_let_go_and_removed(cli: Cli, job_file: JobFile, server: Any) -> None:
    job = json.loads(cli("submit", job_file("ancient", max_steps=1), "--json").stdout)["id"]
    cli("jobs", "watch", job)
    with sqlite3.connect(server.home / "runyard.db") as database:
        database.execute("UPDATE jobs SET finished_at = ? WHERE id = ?", (time.time() - 100 * 86400, job))
        database.execute("UPDATE jobs SET logs_removed_at = finished_at WHERE id = ?", (job,))
    assert "was removed" in cli("jobs", "logs", job).stderr
    [line] = [row.split("\t") for row in cli("retention").stdout.splitlines() if job in row]
    assert (line[0], line[2], line[5]) == ("job", "ancient", "completed more than 90 days ago")
    assert cli("jobs", "keep", job).stdout == f"{job} (ancient): is kept\n"
    assert job not in cli("retention").stdout
    assert job in cli("retention", "--json").stdout
    cli("jobs", "keep", job, "--release")
    assert cli("retention", "--apply").stdout.startswith("removed ")
    assert not (server.home / "runs" / job).exists()
    assert "no job" in cli("jobs", "show", job, code=3).stderr
    assert json.loads(cli("retention", "--apply", "--json").stdout)["failed"] is None
