"""What attempts that have ended left running, found when an engine begins."""

import logging

from runyard.db.queries import attempts, events
from runyard.engine.context import Context

log = logging.getLogger(__name__)


async def sweep(context: Context) -> None:
    """End processes that belong to attempts of this database which have ended; any others are none of our business."""
    try:
        await _sweep(context)
    except Exception:
        log.exception("looking for what was left running failed")  # the next start looks again


async def _sweep(context: Context) -> None:
    running, remains = await context.executor.running(), await context.executor.remains()
    if not running | remains:
        return
    async with context.database.read() as session:
        ended = await attempts.ended(session, running | remains)
    if not ended:
        return
    context.require_lead()
    await context.executor.sweep([attempt.id for attempt in ended])
    async with context.database.write() as session:
        for attempt in (attempt for attempt in ended if attempt.id in running):
            text = f"ended what attempt {attempt.number} had left running"
            log.warning("%s (job %s)", text, attempt.job_id)
            await events.say(session, attempt.job_id, context.clock(), events.Message(attempt.number, text))
    context.notify()
