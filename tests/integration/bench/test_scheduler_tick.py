from pathlib import Path

import pytest
from bench import scheduler_tick


async def test_a_line_is_made_and_its_ticks_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler_tick, "WAITING", 30)
    monkeypatch.setattr(scheduler_tick, "TICKS", 2)
    monkeypatch.setattr(scheduler_tick, "_collect_seldom", lambda: None)
    assert min(await scheduler_tick.measure(tmp_path)) > 0
