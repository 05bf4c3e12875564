"""How long the rows of a data set are, in characters: tokens are known only to a model."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from pydantic import BaseModel

from runyard.data.rows import Pair, Plain, Row

BUCKETS = 24
HALF, MOST = 0.5, 0.95


class Bucket(BaseModel):
    """So many rows have at least `shortest` characters, and fewer than the next bucket begins with."""

    shortest: int
    rows: int


class Lengths(BaseModel):
    """Of the good rows, in characters: half have at most `median`, 95 % at most `most`.

    The buckets grow by a constant factor, so that a few long rows don't hide how the others differ.
    """

    shortest: int
    median: int
    most: int
    longest: int
    buckets: list[Bucket]


def of_row(row: Row) -> int:
    """Characters of what is said in it; of a pair, with the longer answer."""
    if isinstance(row, Pair):
        return max(of_row(row.chosen), of_row(row.rejected))
    if isinstance(row, Plain):
        return len(row.prompt) + len(row.completion)
    return sum(_characters(part) for message in row.messages for name, part in message.items() if name != "role")


def summed_up(rows: Counter[int]) -> Lengths | None:
    """From the number of rows by length; None where there are none."""
    if not rows:
        return None
    lengths = sorted(rows)
    until = list(accumulate(rows[length] for length in lengths))

    def reached(part: float) -> int:
        return next(length for length, count in zip(lengths, until, strict=True) if count >= part * until[-1])

    starts = _starts(lengths[0], lengths[-1])
    counts = [0] * len(starts)
    for length in lengths:
        counts[bisect_right(starts, length) - 1] += rows[length]
    return Lengths(
        shortest=lengths[0],
        median=reached(HALF),
        most=reached(MOST),
        longest=lengths[-1],
        buckets=[Bucket(shortest=start, rows=count) for start, count in zip(starts, counts, strict=True)],
    )


def _starts(shortest: int, longest: int) -> list[int]:
    first = max(1, shortest)
    factor = ((longest + 1) / first) ** (1 / BUCKETS)
    return sorted({shortest, *(round(first * factor**number) for number in range(1, BUCKETS))} - {longest + 1})


def _characters(value: Any) -> int:
    """Of all text in it, however deep."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_characters, value.values()))
    return sum(map(_characters, value)) if isinstance(value, list) else 0
