"""What the table of crashes calls right, and how it says what was seen."""

import pytest
from bench.crash_table import CASES, Case, Run, Seen, right, words
from bench.peer_sides import Told

UNDISTURBED, SERVICE, MEANWHILE, JOB, EVERYTHING = CASES
DONE, FAILED = Told("done", "completed", 0), Told("failed", "failed", 7)
RUNNING, LOST = Told("running", "running", None), Told("unknown", "no result", None)
WHOLE, CUT, AGAIN, BESIDE = Run(1, 0, 20), Run(1, 0, 2), Run(2, 30, 50), Run(2, 10, 30)


@pytest.mark.parametrize(
    ("case", "seen", "is_right", "said"),
    [
        (UNDISTURBED, Seen([Run(1, 0, 3)], FAILED, RUNNING, 0.2), True, "failed, exit code 7 after 0.2 s"),
        (UNDISTURBED, Seen([Run(1, 0, 3)], DONE, RUNNING, 0.2), False, "done after 0.2 s"),
        (SERVICE, Seen([WHOLE], DONE, RUNNING, 0.2), True, "went on; done after 0.2 s"),
        (SERVICE, Seen([WHOLE], RUNNING, RUNNING, None), False, "went on; “running” 60 s later"),
        (SERVICE, Seen([WHOLE], DONE, LOST, 0.2), False, "went on; “no result” while it ran; done after 0.2 s"),
        (SERVICE, Seen([WHOLE, AGAIN], DONE, RUNNING, 0.2), False, "went on; ran 2 times; done after 0.2 s"),
        (SERVICE, Seen([WHOLE, BESIDE], DONE, RUNNING, 0), False, "went on; ran 2 times at once; done after 0.0 s"),
        (SERVICE, Seen([CUT, AGAIN], DONE, RUNNING, 0.2), True, "died with it; ran 2 times; done after 0.2 s"),
        (SERVICE, Seen([CUT], DONE, None, 0.2), False, "died with it; done after 0.2 s"),
        (MEANWHILE, Seen([Run(1, 0, 6)], FAILED, None, 1), True, "went on; failed, exit code 7 after 1.0 s"),
        (JOB, Seen([CUT, AGAIN], DONE, RUNNING, 0.2), True, "ran 2 times; done after 0.2 s"),
        (JOB, Seen([CUT], FAILED, None, 0.2, early=True), False, None),
        (EVERYTHING, Seen([CUT], LOST, None, None), False, "“no result” 60 s later"),
    ],
)
def test_what_was_seen_is_judged_and_told(case: Case, seen: Seen, is_right: bool, said: str | None) -> None:
    assert right(case, seen) is is_right
    assert said is None or words(case, seen) == said
