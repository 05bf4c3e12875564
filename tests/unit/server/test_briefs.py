"""What runs are called side by side."""

import pytest

from runyard.db.tables import Job
from runyard.server.web.compare import briefs


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["support-sft-r32", "support-sft-r8"], ["r32", "r8"]),
        (["sft r8", "sft r8 long"], ["r8", "r8 long"]),
        (["sft-", "sft-r8"], ["sft-", "sft-r8"]),  # nothing would be left of the first
        (["orders-1", "orders-2"], ["orders-1", "orders-2"]),  # a number alone says nothing
        (["one"], ["one"]),
        (["a-x", "b-x"], ["a-x", "b-x"]),
        (["same", "same", "other"], ["same 0run", "same 1run", "other"]),
        ([], []),
    ],
)
def test_what_all_begin_with_is_left_out_while_they_can_be_told_apart(names: list[str], expected: list[str]) -> None:
    assert briefs([Job(id=f"{number}run", name=name) for number, name in enumerate(names)]) == expected
