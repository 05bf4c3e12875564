"""The row-by-row check of a data file, in a process of its own: what people upload is not parsed in the server."""

import re
from collections.abc import Mapping
from pathlib import Path

from runyard.data.report import NO_MEMORY, CheckReport
from runyard.domain.errors import InvalidError
from runyard.protocol.problems import Problem
from runyard.services import asides

SECONDS, BYTES_A_SECOND = 120.0, 1_000_000
"""Time for a check, and for how much data a second more is given."""
MEMORY = 4 << 30
"""Bytes of addresses. What reads Parquet reserves 300 MB before it has read a row."""
SPARING = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1"}
"""Reserve no more than is needed."""
OUT_OF_MEMORY = (b"bad_alloc", b"MemoryError", b"Cannot allocate memory")
SHOWN_BYTES = 300


async def check(
    path: Path, kind: str | None = None, columns: Mapping[str, str] | None = None, memory: int = MEMORY
) -> CheckReport:
    """The report of `python -m runyard.data`. Raises InvalidError when it comes to no end, or needs more memory."""
    arguments = ["--memory", str(memory), *(["--kind", kind] if kind else [])]
    arguments += [f"--column={ours}={theirs}" for ours, theirs in (columns or {}).items()]
    seconds = _time_for(path)
    try:
        ended = await asides.run("runyard.data", [*arguments, "--", str(path)], environ=SPARING, seconds=seconds)
    except TimeoutError:
        raise _unusable(path, f"checking it takes longer than {seconds:.0f} seconds") from None
    if ended.code == NO_MEMORY or (ended.code and any(sign in ended.errors for sign in OUT_OF_MEMORY)):
        raise _unusable(
            path,
            f"checking it takes more than {memory >> 20} MiB of memory: split its largest rows (of Parquet, its row "
            "groups), or have RUNYARD_CHECK_MEMORY set higher",
        )
    if ended.code != 0:
        raise _unusable(path, f"the check broke off with code {ended.code}: {last_line(ended.errors)}")
    return _named(CheckReport.model_validate_json(ended.output), path)


def _time_for(path: Path) -> float:
    return SECONDS + path.stat().st_size / BYTES_A_SECOND


def _named(report: CheckReport, path: Path) -> CheckReport:
    """The report without the folders of this server."""
    for problem in report.problems:
        problem.file, problem.message = problem.file and path.name, problem.message.replace(str(path), path.name)
    report.source = path.name
    return report


def last_line(errors: bytes) -> str:
    """What is wrong, without the place: of a traceback, or of a file that an error names."""
    lines = errors[-SHOWN_BYTES:].decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    return re.sub(r"/\S*/", "", last)


def _unusable(path: Path, message: str) -> InvalidError:
    return InvalidError("the data can't be checked", problems=[Problem(file=path.name, message=message)])
