"""Scripts: what may be asked for, and what is executed then."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from runyard.protocol import commands
from runyard.protocol.problems import spec_problems
from runyard.protocol.rundir import RunDir
from runyard.protocol.specs import job_spec
from runyard.protocol.specs.script import ScriptSpec

RUN = RunDir(Path("/runs/abc"))


def problems(**fields: object) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        job_spec.validate_python({"kind": "script", **fields})
    return [str(problem) for problem in spec_problems(caught.value, "script")]


def command(**fields: Any) -> commands.Command:
    spec = job_spec.validate_python({"kind": "script", **fields}).model_dump(mode="json")
    return commands.command(spec, RUN, 3, "/usr/bin/python")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "set either file (a Python file) or command"),
        ({"file": "a.py", "command": "true"}, "set either file (a Python file) or command"),
        ({"command": "true", "args": ["x"]}, "args belongs to file: write it into the command"),
        ({"command": "true", "python": "python3"}, "python belongs to file: write it into the command"),
        ({"command": []}, "command: must be a line of text, or a list of words (numbers in quotes)"),
        ({"command": ""}, "command: must be a line of text, or a list of words (numbers in quotes)"),
        ({"command": ["a", 3]}, "command: must be a line of text, or a list of words (numbers in quotes)"),
        ({"file": ""}, "file: string should have at least 1 character"),
        ({"file": "a.py", "args": ["--n", 1.10]}, "args.1: is a number or a truth value, and must be text"),
        ({"file": "a.py", "env": {"DEBUG": True}}, "env.DEBUG: is a number or a truth value, and must be text"),
        ({"file": "a.py", "env": {"RUNYARD_ATTEMPT": "1"}}, "env: RUNYARD_ATTEMPT is set by Runyard itself"),
        ({"file": "a.py", "env": {"A=B": "1"}}, "env: 'A=B' can't be the name of an environment variable"),
        ({"file": "a.py", "argz": []}, "argz: unknown field; did you mean args?"),
        ({"file": "a.py", "model": "a/b"}, "model: unknown field"),
    ],
)
def test_an_error_names_the_field_and_what_would_be_right(fields: dict[str, object], expected: str) -> None:
    (problem,) = problems(**fields)
    assert problem.startswith(expected)


def test_words_are_passed_on_as_they_are_and_a_line_goes_to_the_shell() -> None:
    words = ["./a b", "$HOME", "; rm -rf x"]
    assert command(command=words).argv == tuple(words)
    assert command(command="echo $HOME | wc -c").argv == ("/bin/sh", "-c", "echo $HOME | wc -c")


def test_a_file_runs_in_its_folder_with_the_python_of_its_choice() -> None:
    assert command(file="/team/train.py", args=["--lr", "1e-4"]).argv == (
        "/usr/bin/python", "/team/train.py", "--lr", "1e-4",
    )  # fmt: skip
    assert command(file="/team/train.py", python="/v/bin/python").argv[0] == "/v/bin/python"
    assert command(file="/team/train.py").cwd == Path("/team")
    assert command(file="/team/train.py", workdir="/data").cwd == Path("/data")
    assert command(command="true").cwd == RUN.root


def test_the_environment_tells_where_everything_is() -> None:
    env = command(command="true", env={"LR": "1e-4", "PYTHONFAULTHANDLER": "0"}).env
    assert env == {
        "LR": "1e-4",
        "PYTHONFAULTHANDLER": "0",
        "RUNYARD_RUN_DIR": "/runs/abc",
        "RUNYARD_JOB_ID": "abc",
        "RUNYARD_ATTEMPT": "3",
        "RUNYARD_CHECKPOINT_DIR": "/runs/abc/checkpoints",
        "RUNYARD_OUTPUT_DIR": "/runs/abc/final",
        "RUNYARD_RESUME_FROM": "",
    }


def test_other_kinds_run_our_trainer() -> None:
    made = commands.command({"kind": "sft"}, RUN, 2, "/usr/bin/python")
    assert made.argv == ("/usr/bin/python", "-m", "runyard.trainers", "/runs/abc", "--attempt", "2")
    assert (made.cwd, made.env, made.after) == (RUN.root, {}, ())


@pytest.mark.parametrize(
    ("fields", "title"),
    [
        ({"file": "/team/train.py"}, "train.py"),
        ({"command": ["torchrun", "train.py"]}, "torchrun train.py"),
        ({"command": "cd /x &&\n  exec make   all"}, "cd /x && exec make all"),
        ({"command": "x" * 200}, "x" * 79 + "…"),
        ({"command": " "}, "script"),
    ],
)
def test_a_script_is_called_by_its_program(fields: dict[str, Any], title: str) -> None:
    assert ScriptSpec(**fields).title == title
