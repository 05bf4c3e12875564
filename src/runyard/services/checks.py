"""The row-by-row check of a data file, in a process of its own: what people upload is not parsed in the server."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from runyard.data.report import CheckReport
from runyard.domain.errors import InvalidError
from runyard.protocol.problems import Problem

SECONDS, BYTES_A_SECOND = 120.0, 1_000_000
"""Time for a check, and for how much data a second more is given."""
SHOWN_BYTES = 300


async def check(path: Path, kind: str | None = None, columns: Mapping[str, str] | None = None) -> CheckReport:
    """The report of `python -m runyard.data`. Raises InvalidError when it comes to no end."""
    arguments = ["--kind", kind] if kind else []
    arguments += [f"--column={ours}={theirs}" for ours, theirs in (columns or {}).items()]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "runyard.data", *arguments, "--", str(path),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        start_new_session=True, env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},  # none of our secrets
    )  # fmt: skip
    seconds = _time_for(path)
    try:
        async with asyncio.timeout(seconds):
            output, errors = await process.communicate()
    except TimeoutError:
        raise _unusable(path, f"checking it takes longer than {seconds:.0f} seconds") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode != 0:
        raise _unusable(path, f"the check broke off: {errors[-SHOWN_BYTES:].decode(errors='replace').strip()}")
    return _named(CheckReport.model_validate_json(output), path.name)


def _time_for(path: Path) -> float:
    return SECONDS + path.stat().st_size / BYTES_A_SECOND


def _named(report: CheckReport, name: str) -> CheckReport:
    """The report without the folders of this server."""
    for problem in report.problems:
        problem.file = problem.file and name
    report.source = name
    return report


def _unusable(path: Path, message: str) -> InvalidError:
    return InvalidError("the data can't be checked", problems=[Problem(file=path.name, message=message)])
