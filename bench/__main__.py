"""`python -m bench [NAME ...] [--write]`, or one with its own options: a JSON line each; exit 1 if a promise broke."""

import argparse
import json
import os
import platform
import signal
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from bench.result import Result

NAMES = [
    "train_speed",
    "default_choices",
    "feed_latency",
    "viewers",
    "stalled_viewer",
    "loop_lag",
    "ingest",
    "zip_stream",
    "sign_in",
    "start_latency",
    "submissions",
    "analytics",
    "first_paint",
    "scheduler_tick",
    "simulate",
    "peers",
    "crash_table",
]
DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all unless given")
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCUMENT.name}")
    arguments, rest = parser.parse_known_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended on the way out
    results = []
    for name in arguments.names or NAMES:
        bench = import_module(f"bench.{name}")
        results.append(bench.run(**bench.options(rest)) if rest else bench.run())
        print(json.dumps(asdict(results[-1])), flush=True)
    if arguments.write:
        DOCUMENT.write_text(document(results))
    sys.exit(0 if all(result.holds for result in results) else 1)


def document(results: list[Result]) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "trl", "peft", "fastapi"))
    rows = "\n".join(f"| {r.name} | {r.promise} | {r.found} | {'yes' if r.holds else 'NO'} |" for r in results)
    details = "\n\n".join(f"**{r.name}.** {r.detail}" for r in results)
    return f"""# Benchmarks

Each number is a ratio, or a figure beside its floor, measured side by side in one run, the sides taking turns:
`make bench`, or one of them with `make bench ARGS=feed_latency`. `make bench ARGS=--write` renews this page.

Measured {datetime.now(UTC):%d %B %Y} on {os.cpu_count()} cores, Python {platform.python_version()}; {packages}.
To count to three million takes Python {yardstick():.2f} s there.

| what | promise | found | kept |
| --- | --- | --- | --- |
{rows}

{details}
"""


def yardstick() -> float:
    began, count = time.perf_counter(), 0
    while count < 3_000_000:
        count += 1
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
