"""Running the trainer and reading what it said."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def train(spec: dict[str, Any], rundir: Path) -> list[dict[str, Any]]:
    """Train in a new run folder with no server; the metric event of each training step."""
    rundir.mkdir()
    (rundir / "spec.json").write_text(json.dumps(spec))
    subprocess.run([sys.executable, "-m", "runyard.trainers", str(rundir)], check=True, stdout=subprocess.DEVNULL)
    events = [json.loads(line) for line in (rundir / "events.jsonl").read_text().splitlines()]
    return [event for event in events if event["type"] == "metric" and event["split"] == "train"]
