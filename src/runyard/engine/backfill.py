"""Rollups and curves of jobs of earlier versions, made once, while nothing waits for them."""

import asyncio
import logging

from runyard.db.queries import jobs, rollups
from runyard.engine.context import Context

log = logging.getLogger(__name__)

REST_SECONDS = 0.2
"""Others write meanwhile."""
AT_ONCE = 50


async def run(context: Context) -> None:
    """Until there is none left, newest first. A job that can't be counted is told of in the log and left as it is."""
    try:
        await _run(context)
    except Exception:
        log.exception("figures of earlier jobs are not made to the end")  # the next start goes on


async def _run(context: Context) -> None:
    failed: set[str] = set()
    while True:
        async with context.database.read(long=True) as session:
            found = [id_ for id_ in await rollups.missing(session, AT_ONCE + len(failed)) if id_ not in failed]
        if not found:
            return
        for job_id in found:
            try:
                async with context.database.write(long=True) as session:
                    job = await jobs.get(session, job_id)
                    if job is not None:
                        rollups.show(job, (await rollups.begin(session, job)).rollup)
            except Exception:
                log.exception("the figures of job %s could not be made", job_id)
                failed.add(job_id)
            await asyncio.sleep(REST_SECONDS)
