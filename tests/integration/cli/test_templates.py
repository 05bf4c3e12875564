"""`runyard templates`: kept, shown, filled in and started as a user types it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


@pytest.fixture
def template_file(tmp_path: Path, job_file: Callable[..., Path]) -> Path:
    """A job file with places: the data of which one is here."""
    path = job_file("weekly", data="${DATA:-rows.jsonl}", learning_rate="${LR:-1e-3}", max_steps="${STEPS}")
    path.write_text(path.read_text().replace("name: weekly", "name: weekly ${LR}"))
    return path


def test_from_a_file_to_a_finished_job(
    cli: Cli, template_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    described = ("--description", "every week", "--describe", "STEPS=how long")
    saved = cli("templates", "save", "weekly", template_file, *described).stdout
    assert saved.splitlines() == [
        "weekly, version 1; variables: LR, DATA, STEPS",
        "Start from it: runyard templates submit weekly --set STEPS=…",
    ]
    listed = cli("templates", "list").stdout
    assert "weekly\t1\tsft\tLR, DATA, STEPS\tlocal" in listed
    shown = cli("templates", "show", "weekly").stdout
    assert "STEPS\t(required)\ttraining.max_steps\thow long" in shown
    assert "learning_rate: ${LR:-1e-3}" in shown
    assert "train: ${DATA:-dataset:" in shown, "the default is a file here, and was uploaded"
    values = ("--set", "STEPS=2", "--set", "DATA=rows.jsonl")
    made = json.loads(cli("templates", "submit", "weekly", *values, "--key", "k", "--json").stdout)
    assert made["template"] == {"name": "weekly", "version": 1}
    assert made["spec"]["data"]["train"].startswith("dataset:"), "the file here was uploaded"
    assert (made["name"], made["spec"]["training"]["max_steps"]) == ("weekly 1e-3", 2)
    again = cli("templates", "submit", "weekly", *values, "--key", "k").stdout
    assert f"submitted {made['id']} (weekly 1e-3) from weekly, version 1" in again
    assert re.search(r"^template +weekly, version 1$", cli("jobs", "show", made["id"]).stdout, re.MULTILINE)
    assert "completed" in cli("jobs", "watch", made["id"]).stdout
    filled = tmp_path / "filled.yaml"
    filled.write_text(cli("templates", "fill", "weekly", "--set", "STEPS=3", "--set", "DATA=a/b").stdout)
    assert "can be run" in cli("validate", filled, "--no-data").stdout


def test_from_a_job_with_variables(cli: Cli, job_file: Callable[..., Path]) -> None:
    job = json.loads(cli("submit", job_file("plain", max_steps=2), "--json").stdout)
    cli("templates", "save", "of-plain", "--job", job["id"], "--variable", "LR=training.learning_rate")
    made = json.loads(cli("templates", "submit", "of-plain", "--set", "LR=5e-4", "--json").stdout)
    assert made["spec"]["training"] == job["spec"]["training"] | {"learning_rate": 5e-4}
    cli("templates", "save", "of-plain", "--job", made["id"])
    versions = cli("templates", "versions", "of-plain").stdout.splitlines()
    assert [line.split("\t")[0] for line in versions] == ["2", "1"]
    for id_ in (job["id"], made["id"]):
        cli("jobs", "cancel", id_)
    assert cli("templates", "delete", "of-plain").stdout == "deleted of-plain\n"
    cli("templates", "show", "of-plain", code=3)


def test_mistakes_are_told_in_one_line_each(cli: Cli, template_file: Path, tmp_path: Path) -> None:
    cli("templates", "save", "weekly", template_file)
    refused = cli("templates", "submit", "weekly", "--set", "STEPS=many", code=2).stderr
    assert "error: training.max_steps: " in refused
    assert "it comes from ${STEPS}" in refused
    missing = cli(
        "templates", "submit", "weekly", "--set", "STEPS=1", "--set", f"DATA={tmp_path}/no/../x.jsonl", code=2
    )
    assert "data.train" in missing.stderr
    assert "no such file" in cli("templates", "submit", "weekly", "--set", "DATA=./x.jsonl", code=2).stderr
    assert "must look like NAME=VALUE" in cli("templates", "submit", "weekly", "--set", "STEPS", code=2).stderr
    assert "either a job file or --job" in cli("templates", "save", "weekly", code=2).stderr
    (tmp_path / "bad.yaml").write_text("kind: sft\n  model: x")
    assert "bad.yaml:2: not valid YAML" in cli("templates", "save", "weekly", tmp_path / "bad.yaml", code=2).stderr
    nothing = cli("templates", "save", "weekly", "--job", "nobodys", code=3)
    assert "there is no job" in nothing.stderr
