"""What the documents say is what the code does."""

import re
from pathlib import Path

from runyard.domain.lifecycle import MOVES

ROOT = Path(__file__).parents[2]


def test_the_drawn_state_machine_is_the_one_in_the_code() -> None:
    text = (ROOT / "docs" / "lifecycle.md").read_text()
    drawn = re.findall(r"^\| (\w+) \| (\w+) \| (\w+) \|$", text, flags=re.MULTILINE)
    assert {(before, cause, after) for before, cause, after in drawn if before != "state"} == {
        (str(before), str(cause), str(after)) for (before, cause), after in MOVES.items()
    }


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = sorted(int(p.name[:4]) for p in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert numbers == list(range(1, len(numbers) + 1))
