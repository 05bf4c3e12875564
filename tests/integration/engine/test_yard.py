"""What tests start must not outlive them, whatever they did to the engine."""

from dataclasses import replace
from pathlib import Path

import pytest

from runyard.db.database import Database
from runyard.engine.engine import Engine
from runyard.testing.yard import STUBBORN, Yard, appears

CHILD = "import subprocess\nsubprocess.Popen(['sleep', '600'], start_new_session=True)\nopen('began', 'w')\n"


@pytest.fixture
def backend() -> str:
    return "sqlite"


@pytest.mark.parametrize("ended", [False, True], ids=["never claimed", "ended, but for a child"])
async def test_nothing_is_left(database: Database, tmp_path: Path, ended: bool) -> None:
    yard = Yard(database, tmp_path / "runs", grace_seconds=0.3)
    yard.start()
    await yard.submit("a", f"{STUBBORN}{CHILD}" + ("" if ended else "until('never')"))
    await appears(yard.run("a") / "began")
    if ended:
        await yard.reaches("a", "completed")
    await yard.stop()
    yard.context = replace(yard.context, token="another")  # an engine that has claimed nothing yet
    yard.engine = Engine(yard.context)
    await yard.clean()
    ours = {attempt.id for attempt in await yard.attempts("a")}
    assert not ours & await yard.context.executor.running()
