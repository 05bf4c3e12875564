"""What every driver shares: orders as JSON lines, and the task that runs a script with its logs in files."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Answer = dict[str, Any]


def run_script(command: list[str], folder: str) -> int:
    """What people write for a queue that runs Python functions."""
    with Path(folder, "stdout.log").open("ab") as out, Path(folder, "stderr.log").open("ab") as errors:
        code = subprocess.run(command, stdout=out, stderr=errors, check=False).returncode
    if code:
        raise RuntimeError(f"exit code {code}")
    return code


def answer(states: dict[str, str], word: object, text: object = "") -> Answer:
    """The peer's own word for a state and ours; an exit code where its text of the failure has one."""
    code = re.search(r"exit code (-?\d+)", str(text))
    return {"state": states.get(str(word), "unknown"), "says": str(word), "exit_code": int(code[1]) if code else None}


def serve(submit: Callable[[list[str], str], object], told: Callable[[str], Answer]) -> None:
    """Orders come on standard input; answers go where standard output went before the peer could write to it."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        order = json.loads(line)
        if "submit" in order:
            began = time.time_ns()
            found: Any = {"began": began, "ids": [str(submit(command, folder)) for command, folder in order["submit"]]}
        else:
            found = told(order["told"])
        print(json.dumps(found), file=answers, flush=True)
