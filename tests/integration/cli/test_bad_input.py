"""What goes wrong, one line each, with the code that a script can rely on."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from runyard.protocol.specs import SPEC_CLASSES

Cli = Callable[..., Result]
pytestmark = pytest.mark.xdist_group("cli")


def test_no_server(offline: Cli, tmp_path: Path) -> None:
    for command in (["jobs", "list"], ["jobs", "watch", "last"], ["system"], ["datasets", "list"]):
        result = offline(*command, code=5)
        assert result.stdout == ""
        [line] = result.stderr.splitlines()
        assert line.startswith("error: no server answers at http://127.0.0.1:9 (")
        assert "runyard serve" in line


def test_an_address_that_is_none(offline: Cli) -> None:
    result = offline("--url", "here:80", "jobs", "list", code=2)
    assert result.stderr.startswith("error: here:80 is no address of a server")


def test_unknown_things(cli: Cli, tmp_path: Path) -> None:
    for command in ("show", "logs", "watch", "pause", "resume", "cancel", "retry", "download", "metrics", "events"):
        result = cli("jobs", command, "nothing", code=3)
        assert result.stdout == ""
        assert result.stderr == "error: there is no job 'nothing' (`runyard jobs list` shows what is there)\n"
    assert "there is no data set" in cli("datasets", "show", "nothing", code=3).stderr
    assert "there is no data set" in cli("datasets", "delete", "nothing", code=3).stderr
    cli("jobs", "show", "../../health", code=3)
    cli("jobs", "show", "", code=2)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("kind: sft\nmodel: tiny\ndata: dataset:none\nname: [\n", "job.yaml:5: not valid YAML"),
        ("kind: sft\nmodel: tiny\ndata: gone.jsonl\n", "job.yaml:3: data.train: no such file"),
        ("kind: sft\nmodel: tiny\ndata: a/b\noutptu: {}\n", "job.yaml:4: outptu: unknown field; did you mean output?"),
        ("kind: sft\nmodel: tiny\ndata: dataset:none\n", "data.train: "),
        ("kind: sft\nmodel: /etc/passwd\ndata: a/b\n", "model.name: "),
        ("kind: sft\nmodel: tiny\ndata: /etc/shadow.jsonl\n", "data.train: "),
    ],
)  # fmt: skip
def test_a_job_that_can_not_be(cli: Cli, tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(text)
    before = cli("jobs", "list", "--json").stdout
    result = cli("submit", file, code=2)
    assert problem in result.stderr
    assert result.stdout == ""
    assert all(line.startswith("error: ") for line in result.stderr.splitlines())
    assert cli("jobs", "list", "--json").stdout == before


def test_files_that_are_no_job_files(offline: Cli, tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x01")
    (tmp_path / "large.yaml").write_bytes(b"#" * 2_000_000)
    for name, problem in [
        ("none.yaml", "no such file"),
        ("", "is a folder, not a job file"),
        ("binary.yaml", "is not a text file"),
        ("large.yaml", "larger than 1 MiB"),
    ]:
        result = offline("submit", tmp_path / name, code=2)
        assert problem in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_data_that_can_not_be_used(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "binary.jsonl").write_bytes(bytes(range(256)) * 10)
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "rows.txt").write_text("hello\n")
    for name in ("binary.jsonl", "empty.jsonl", "rows.txt", "none.jsonl"):
        result = cli("datasets", "upload", tmp_path / name, code=2)
        assert result.stderr.startswith("error: ")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a", "answer": "b"}\n')
    (tmp_path / "job.yaml").write_text("kind: sft\nmodel: owner/model\ndata: rows.jsonl\n")
    assert "rows.jsonl:2: " in cli("submit", tmp_path / "job.yaml", code=2).stderr


def test_wrong_usage(cli: Cli) -> None:
    cli("jobs", "lst", code=2)
    cli("jobs", "list", "--limit", "0", code=2)
    cli("jobs", "list", "--state", "sleeping", code=2)
    cli("submit", code=2)
    cli("init", "ftp", code=2)


def test_data_sets_come_and_go(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "a", "completion": "b"}\n')
    first = json.loads(cli("datasets", "upload", file, "--name", f"{tmp_path.name}.jsonl", "--json").stdout)
    again = json.loads(cli("datasets", "upload", file, "--name", f"{tmp_path.name}.jsonl", "--json").stdout)
    assert first["id"] == again["id"]
    assert first["rows"] == 1
    assert (
        f"In a job file: data: dataset:{first['id']}" in cli("datasets", "upload", file, "--name", first["name"]).stdout
    )
    assert any(line.startswith(first["id"]) for line in cli("datasets", "list").stdout.splitlines())
    assert json.loads(cli("datasets", "show", first["id"], "--json").stdout) == first
    assert cli("datasets", "delete", first["id"]).stdout == f"deleted {first['id']}\n"
    cli("datasets", "show", first["id"], code=3)


def test_the_system(cli: Cli, server: object) -> None:
    assert "memory" in cli("system").stdout
    assert json.loads(cli("system", "--json").stdout)["cpu_count"] >= 1


@pytest.mark.parametrize("kind", sorted(SPEC_CLASSES))
def test_what_init_prints_is_valid(offline: Cli, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(offline("init", kind).stdout)
    missing = "file: no such file" if kind == "script" else "data.train: no such file"
    assert missing in offline("validate", file, "--no-data", code=2).stderr
    for name in ("train.jsonl", "train.py"):
        (tmp_path / name).write_text("")
    assert offline("validate", file, "--no-data").stdout.startswith(f"{file}: can be run")


def test_validate_tells_programs_what_is_wrong(offline: Cli, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("kind: sft\nmodel: a/b\ndata: c/d\ntraining:\n  epoch: 1\n")
    found = json.loads(offline("validate", file, "--json", code=2).stdout)
    assert found["problems"] == [
        {"message": "unknown field; did you mean epochs?", "field": "training.epoch", "file": str(file), "line": 5}
    ]


def test_the_schema_is_written(offline: Cli, tmp_path: Path) -> None:
    assert json.loads(offline("schema").stdout)["title"] == "Runyard job file"
    offline("schema", "--output", tmp_path / "schema.json")
    assert json.loads((tmp_path / "schema.json").read_text()) == json.loads(offline("schema").stdout)
    assert "schema.json" in offline("schema", "--output", tmp_path / "none" / "schema.json", code=2).stderr
