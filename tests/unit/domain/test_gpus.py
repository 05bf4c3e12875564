"""When a GPU is free, and when it is somebody else's."""

import pytest

from runyard.domain.gpus import Claim, Holder, Usage, still_held, used_by_others

OURS = {"ended", "other"}
MINE = Claim("ended", 100.0)
STRANGER = Holder(77, 4000.0, "python")


@pytest.mark.parametrize(
    ("usage", "claim", "alive", "words"),
    [
        (Usage(100.0), MINE, set(), None),
        (Usage(350.0), MINE, set(), None),
        (Usage(400.0), MINE, set(), "300 MB of its memory did not come back"),
        (Usage(100.0), MINE, {"ended"}, "still there"),
        (Usage(100.0, (Holder(5, None, "python", "ended"),)), MINE, set(), "process 5 (python)"),
        (Usage(9000.0), Claim("ended", 100.0, shared=True), set(), None),
        (Usage(9000.0, (Holder(5, 10.0, "", "ended"),)), Claim("ended", 100.0, shared=True), set(), "process 5 "),
        (Usage(4100.0, (STRANGER,)), MINE, set(), None),
        (Usage(4100.0, (Holder(78, 4000.0, "x", "of another server"),)), MINE, set(), None),
        (Usage(8000.0, (STRANGER,)), MINE, set(), "3900 MB"),
        (None, MINE, set(), None),
        (None, MINE, {"ended"}, "still there"),
        (Usage(9000.0), Claim("ended"), set(), None),
    ],
)
def test_a_gpu_is_free_when_nobody_is_left_and_its_memory_is_back(
    usage: Usage | None, claim: Claim, alive: set[str], words: str | None
) -> None:
    found = still_held(usage, claim, OURS, alive)
    assert found is None if words is None else words in (found or "")


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (Usage(0.0), None),
        (Usage(4100.0, (STRANGER,)), "in use by somebody else: process 77 (python)"),
        (Usage(400.0, (Holder(1, 300.0, "Xorg"),)), None),
        (Usage(4100.0, (Holder(77),)), "in use by somebody else: process 77"),
        (Usage(4100.0, (Holder(5, 4000.0, "python", "other"),)), None),
        (Usage(8100.0, (Holder(5, 4000.0, "python", "other"), STRANGER)),
         "in use by somebody else: process 77 (python)"),
        (Usage(4100.0, (Holder(5, None, "python", "other"), Holder(77))), None),
        (Usage(500.0, (Holder(1, 300.0, "Xorg"),)), None),
        (Usage(4100.0, (Holder(1, 300.0, "Xorg"),)), "in use by somebody else: process 1 (Xorg)"),
        (Usage(500.0), None),
        (Usage(600.0), "in use by somebody who can't be seen from here"),
    ],
)  # fmt: skip
def test_a_gpu_that_somebody_else_uses_is_seen(usage: Usage, expected: str | None) -> None:
    assert used_by_others(usage, OURS, is_held=False) == expected


def test_memory_on_a_gpu_of_ours_that_nobody_is_named_for_is_ours() -> None:
    assert used_by_others(Usage(9000.0), OURS, is_held=True) is None
    assert used_by_others(Usage(9000.0, (STRANGER,)), OURS, is_held=True) is not None
