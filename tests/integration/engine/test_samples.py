"""Answers of a language model as they come in: kept by step, forgotten with the steps that are made again, covered."""

import json

from runyard.db.database import Database
from runyard.db.queries import samples
from runyard.domain.lifecycle import Cause
from runyard.domain.masks import Mask
from runyard.engine.ingest import covered
from runyard.testing.yard import Yard, eventually

PAUSES = """
signal.signal(signal.SIGTERM, leave)
def answer(step, text): say('sample', step=step, index=0, prompt='two?', answer=text, wanted=None, truncated=False)
say('phase', phase='training')
if attempt == 1:
    for step in (0, 5, 9): answer(step, f'first {step}')
    until('never')
say('resumed', step=5, checkpoint=None)
answer(10, 'second 10')
say('finished', outcome='completed')
"""


async def answers(database: Database, job: str, steps: int = 50) -> dict[int, str]:
    async with database.read() as session:
        return {row.step: row.answer for row in await samples.of_job(session, job, steps)}


async def test_answers_of_steps_that_are_made_again_are_forgotten(running: Yard) -> None:
    await running.submit("job", PAUSES)

    async def has_answered() -> bool:
        return 9 in await answers(running.database, "job")

    await eventually(has_answered)
    await running.ask("job", Cause.PAUSE_ASKED)
    await running.reaches("job", "paused")
    await running.ask("job", Cause.RESUME_ASKED)
    await running.reaches("job", "completed")
    assert await answers(running.database, "job") == {0: "first 0", 5: "first 5", 10: "second 10"}
    assert await answers(running.database, "job", 2) == {0: "first 0", 10: "second 10"}
    told = [event.data["answer"] for event in await running.feed("job", "sample")]
    assert told == ["first 0", "first 5", "first 9", "second 10"]
    async with running.database.read() as session:
        newest = await samples.of_prompts(session, ["job", "other"])
    assert [(row.job_id, row.index, row.step) for row in newest] == [("job", 0, 10)]


def test_what_must_not_be_shown_is_covered_in_what_was_asked_and_answered() -> None:
    texts = {"prompt": "what is hunter2hunter2?", "answer": "it is hunter2hunter2", "wanted": "hunter2hunter2"}
    line = json.dumps({"n": 1, "at": 1.0, "attempt": 1, "type": "sample", "step": 0, "index": 0, **texts}).encode()
    shown = json.loads(covered(line, Mask.of(["hunter2hunter2"])))
    assert (shown["type"], shown["prompt"], shown["answer"]) == ("sample", f"what is {'*' * 14}?", f"it is {'*' * 14}")
    assert shown["wanted"] == "*" * 14
