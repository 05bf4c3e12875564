"""Programs of our own that a request waits for: what others have made is not read in the server itself."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ended:
    code: int
    output: bytes
    errors: bytes


async def run(
    module: str,
    arguments: Sequence[str] = (),
    *,
    environ: Mapping[str, str],
    seconds: float,
    content: bytes = b"",
    cwd: str | None = None,
) -> Ended:
    """`python -m module` with `content` to read, and nothing of our environment but `environ`.

    It and what it started are ended when the time is over (TimeoutError), or nobody waits any more.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", module, *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        start_new_session=True, cwd=cwd,
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environ},
    )  # fmt: skip
    try:
        async with asyncio.timeout(seconds):
            output, errors = await process.communicate(content)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return Ended(process.returncode or 0, output, errors)
