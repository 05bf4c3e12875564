"""Points in columns of bytes: a thousand values are read in the time of one that is written as text."""

import sys
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import isnan, nan
from typing import NamedTuple

from runyard.domain.rollups import Tally, Values, completed

POINTS = 1024
"""In one block. As many more are left loose, so that a late point seldom falls into a block."""
INTEGER, SINGLE, DOUBLE = "i", "f", "d"


@dataclass
class Line:
    """The points of one value: `numbers` has NaN where it was not finite."""

    steps: "array[int]" = field(default_factory=lambda: array(INTEGER))
    numbers: "array[float]" = field(default_factory=lambda: array(DOUBLE))
    clocks: list["Clock"] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.steps)

    def at(self, where: int) -> float:
        """When a point came. Few are asked for."""
        clock = self.clocks[bisect_right(self.clocks, where, key=lambda clock: clock.begins) - 1]
        return clock.since + clock.seconds[where - clock.begins]

    def add(self, step: int, at: float, value: float | None) -> None:
        if not self.clocks or self.clocks[-1].seconds.typecode != DOUBLE:
            self.clocks.append(Clock(len(self), 0.0, array(DOUBLE)))
        self.clocks[-1].seconds.append(at)
        self.steps.append(step)
        self.numbers.append(nan if value is None else value)


class Clock(NamedTuple):
    """When the points from one on came, counted from a time."""

    begins: int
    since: float
    seconds: "array[float]"


@dataclass(frozen=True)
class Packed:
    """A line as it is stored. `steps` is left out where they are `stride` apart, from the block's first on."""

    tally: Tally
    stride: int | None
    steps: bytes | None
    times: bytes
    """Seconds since `began_at`, in half the precision of the rest: a hundredth of a second in a day."""
    numbers: bytes
    began_at: float


@dataclass(frozen=True)
class Block:
    """All values of so many points, by name."""

    first_step: int
    last_step: int
    columns: dict[str, Packed]


def pack(points: Sequence[tuple[int, float, Values]]) -> Block:
    """Points in the order of their steps; at least one."""
    rows = [completed(values) for _, _, values in points]
    steps, times = [step for step, _, _ in points], [at for _, at, _ in points]
    first = steps[0]
    columns = {name: _packed(_line(name, rows, steps, times), first) for name in dict.fromkeys(chain(*rows))}
    return Block(first, steps[-1], columns)


def _line(name: str, rows: Sequence[Values], steps: Sequence[int], times: Sequence[float]) -> Line:
    if all(name in row for row in rows):
        numbers = array(DOUBLE, [nan if (value := row[name]) is None else value for row in rows])
        return Line(array(INTEGER, steps), numbers, [Clock(0, 0.0, array(DOUBLE, times))])
    line = Line()
    for step, at, row in zip(steps, times, rows, strict=True):
        if name in row:
            line.add(step, at, row[name])
    return line


def _packed(line: Line, first: int) -> Packed:
    stride = _stride(line.steps, first)
    times = line.clocks[0].seconds
    seconds = array(SINGLE, [at - times[0] for at in times])
    steps = None if stride else _bytes(line.steps)
    return Packed(tally(line), stride, steps, _bytes(seconds), _bytes(line.numbers), times[0])


def tally(line: Line) -> Tally:
    """What a line comes to."""
    steps, numbers = line.steps, line.numbers
    total = sum(numbers)
    if isnan(total):
        found = Tally()
        for step, number in zip(steps, numbers, strict=True):
            found.take(step, None if isnan(number) else number)
        return found
    low, high = min(numbers), max(numbers)
    ends = (low, steps[numbers.index(low)], high, steps[numbers.index(high)], numbers[0], steps[0])
    return Tally(len(numbers), 0, total, *ends, numbers[-1], steps[-1])


def _stride(steps: "array[int]", first: int) -> int | None:
    stride = steps[1] - steps[0] if len(steps) > 1 else 1
    is_even = steps[0] == first and list(steps) == list(range(first, first + stride * len(steps), stride))
    return stride if is_even else None


class Stored(NamedTuple):
    """A packed line as it is read."""

    first_step: int
    stride: int | None
    steps: bytes | None
    times: bytes
    numbers: bytes
    began_at: float


def extend(line: Line, stored: Stored) -> None:
    """Add a block that comes after what is there."""
    seconds: array[float] = array(SINGLE)
    _fill(seconds, stored.times)
    line.clocks.append(Clock(len(line), stored.began_at, seconds))
    if stored.steps is None:
        first, apart = stored.first_step, stored.stride or 1
        line.steps.extend(array(INTEGER, range(first, first + apart * len(seconds), apart)))
    else:
        _fill(line.steps, stored.steps)
    _fill(line.numbers, stored.numbers)


def _bytes(numbers: "array[int] | array[float]") -> bytes:
    """The smallest byte first, on any machine."""
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()


def _fill(numbers: "array[int] | array[float]", content: bytes) -> None:
    if sys.byteorder == "big":
        turned = array(numbers.typecode, content)
        turned.byteswap()
        content = turned.tobytes()
    numbers.frombytes(content)
