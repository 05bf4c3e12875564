"""How long rows are: counted by hand."""

from collections import Counter

import pytest

from runyard.data import lengths
from runyard.data.rows import Chat, Pair, Plain, Row

ASKED = {"role": "user", "content": "Where is it?"}  # 12
ANSWERED = {"role": "assistant", "content": "Here."}  # 5
CALLED = {"role": "assistant", "tool_calls": [{"function": {"name": "find", "arguments": {"what": "it"}}}]}  # 4 and 2


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (Plain("ask ", "tell"), 8),
        (Chat([ASKED, ANSWERED], [None, 1]), 17),
        (Chat([ASKED, CALLED], [None, 1]), 18),
        (Pair(Plain("ask ", "tell"), Plain("ask ", "tell more")), 13),
    ],
)
def test_what_is_said_counts_and_of_a_pair_the_longer_answer(row: Row, expected: int) -> None:
    assert lengths.of_row(row) == expected


def test_of_a_hundred_rows_the_fiftieth_is_the_median_and_the_ninety_fifth_what_most_stay_under() -> None:
    found = lengths.summed_up(Counter(range(1, 101)))
    assert found is not None
    assert (found.shortest, found.median, found.most, found.longest) == (1, 50, 95, 100)


@pytest.mark.parametrize(
    "rows", [{7: 3}, {0: 1}, {0: 2, 3: 1}, {1: 5, 2: 5}, {10: 900, 100_000: 1}, {n: n for n in range(1, 400)}]
)
def test_every_row_is_in_one_bucket(rows: dict[int, int]) -> None:
    found = lengths.summed_up(Counter(rows))
    assert found is not None
    starts = [bucket.shortest for bucket in found.buckets]
    assert starts == sorted(set(starts))
    assert starts[0] == found.shortest
    assert starts[-1] <= found.longest
    for bucket, end in zip(found.buckets, [*starts[1:], found.longest + 1], strict=True):
        assert bucket.rows == sum(count for length, count in rows.items() if bucket.shortest <= length < end)


def test_nothing_has_no_length() -> None:
    assert lengths.summed_up(Counter()) is None
