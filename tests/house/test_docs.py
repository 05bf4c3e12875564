"""What the documents say is what the code does."""

import re
from pathlib import Path

from pydantic import ByteSize

from runyard.domain import gpus, retries, stalls
from runyard.domain.lifecycle import MOVES
from runyard.domain.reasons import Reason
from runyard.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]


def test_the_drawn_state_machine_is_the_one_in_the_code() -> None:
    text = (ROOT / "docs" / "lifecycle.md").read_text()
    drawn = re.findall(r"^\| (\w+) \| (\w+) \| (\w+) \|$", text, flags=re.MULTILINE)
    assert {(before, cause, after) for before, cause, after in drawn if before != "state"} == {
        (str(before), str(cause), str(after)) for (before, cause), after in MOVES.items()
    }


def test_every_reason_of_a_failure_is_explained_with_what_follows() -> None:
    text = (ROOT / "docs" / "failures.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| (never|twice|if asked) \| [^|]+ \|$", text, flags=re.MULTILINE)
    policy = {reason.value: "twice" if reason in retries.OURS else "if asked" for reason in Reason}
    assert dict(rows) == policy | dict.fromkeys(retries.HOPELESS, "never")
    assert retries.DEFAULT == 2


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = sorted(int(p.name[:4]) for p in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_time_that_each_phase_has_is_the_one_in_the_code() -> None:
    text = (ROOT / "docs" / "supervision.md").read_text()
    minutes = {name: float(value) for name, value in re.findall(r"^\| ([\w ]+) \| (\d+) \|$", text, flags=re.MULTILINE)}
    budgets = stalls.PHASE_SECONDS | {"training": stalls.TRAINING_SECONDS, "before the first": stalls.STARTING_SECONDS}
    assert {name: 60 * value for name, value in minutes.items()} == budgets
    assert f"{gpus.MARGIN_MB:.0f} MB" in text
    assert f"{gpus.OTHERS_MB:.0f} MB" in text


def test_every_test_that_the_table_of_faults_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "faults.md").read_text()))
    tests = [*(ROOT / "tests").rglob("test_*.py"), *(ROOT / "src" / "runyard" / "testing").glob("*.py")]
    written = {name for path in tests for name in re.findall(r"def (test_\w+)\(", path.read_text())}
    assert named - written == set()


def test_every_setting_is_listed_with_its_default() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    rows = re.findall(r"^\| `(RUNYARD_\w+)` \| ([^|]*) \| ([^|]*) \|$", text, flags=re.MULTILINE)
    assert rows == [
        (PREFIX + name.upper(), _default(field.default), " ".join((field.description or "").split()))
        for name, field in Settings.model_fields.items()
    ]


def _default(value: object) -> str:
    match value:
        case None | "" | ():
            return ""
        case dict() if not value:
            return ""
        case bool():
            return "1" if value else "0"
        case tuple():
            return ",".join(map(str, value))
        case float():
            return f"{value:g}"
        case ByteSize():
            return value.human_readable(decimal=value % 1000 == 0)
    return str(value)
