"""The short form of `python -m bench.chaos`: kills, freezes and torn files, then an audit."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_faults_at_random_times_break_no_promise() -> None:
    command = [sys.executable, "-m", "bench.chaos", "--seed", "1", "--kills", "8", "--trainings", "0"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert (sum(found["faults"].values()), found["wrong"]) == (8, [])
    assert found["jobs"] >= 4
