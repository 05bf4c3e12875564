"""Starting is quick because it loads little; completion knows the jobs."""

import os
import re
import subprocess
import sys
from typing import Any

import pytest
from typer.testing import CliRunner

from runyard.cli.main import app

HEAVY = {"torch", "transformers", "fastapi", "sqlalchemy", "uvicorn", "httpx", "pydantic", "yaml"}


def test_help_loads_no_heavy_library() -> None:
    code = (
        "import sys\nfrom runyard.cli.main import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "print('LOADED', *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "Exit codes: 0 done" in output
    assert not HEAVY & set(output.splitlines()[-1].split())


@pytest.mark.parametrize("group", [[], ["jobs"], ["datasets"]])
def test_every_command_has_help(group: list[str]) -> None:
    listed = CliRunner().invoke(app, [*group, "--help"], env={"COLUMNS": "200"}).stdout.partition("Commands:")[2]
    commands = re.findall(r"^  (\w+)  ", listed, flags=re.MULTILINE)
    assert len(commands) >= 4
    for command in commands:
        shown = CliRunner().invoke(app, [*group, command, "--help"])
        assert shown.exit_code == 0
        assert len(shown.stdout.splitlines()) > 3


@pytest.mark.llm
@pytest.mark.xdist_group("cli")
def test_job_ids_complete(server: Any, cli: Any, job_file: Any) -> None:
    job = cli("submit", job_file("complete", max_steps=1)).stdout.split()[1]
    environment = {
        **os.environ, "RUNYARD_URL": server.url, "_RUNYARD_COMPLETE": "complete_bash",
        "COMP_WORDS": f"runyard jobs show {job[:2]}", "COMP_CWORD": "3",
    }  # fmt: skip
    command = [sys.executable, "-c", "from runyard.cli.main import app; app(prog_name='runyard')"]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert job in shown.stdout
    gone = subprocess.run(
        command, env=environment | {"RUNYARD_URL": "http://127.0.0.1:9"}, capture_output=True, check=False
    )
    assert (gone.stdout.strip(), gone.stderr) == (b"", b"")
    cli("jobs", "cancel", job)
