"""Check a file and print the report as JSON: `python -m runyard.data FILE [--kind sft|dpo]`."""

import argparse
import resource
import sys
from collections.abc import Sequence

from runyard.data.check import check
from runyard.data.report import NO_MEMORY
from runyard.data.sources import Source


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 also for bad data, which the report tells; 2 for unusable arguments, 71 when memory ran out."""
    parser = argparse.ArgumentParser(prog="python -m runyard.data", description="Check a data set row by row.")
    parser.add_argument("source", metavar="FILE", help=".jsonl, .csv or .parquet file, or a hub name")
    parser.add_argument("--kind", choices=("sft", "dpo"), help="what the data is for; found out unless given")
    parser.add_argument(
        "--column", action="append", default=[], metavar="OURS=THEIRS", help="a column under another name"
    )
    parser.add_argument("--memory", type=int, metavar="BYTES", help="the most that it may take")
    given = parser.parse_args(arguments)
    mapping = dict(pair.partition("=")[::2] for pair in given.column)
    if not all(mapping.values()):
        parser.error("--column takes OURS=THEIRS, such as prompt=question")
    if given.memory:
        resource.setrlimit(resource.RLIMIT_AS, (given.memory, given.memory))
    try:
        report = check(Source(given.source, mapping), given.kind)
    except MemoryError:
        return NO_MEMORY
    sys.stdout.write(report.model_dump_json(indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
