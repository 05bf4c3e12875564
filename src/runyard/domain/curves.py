"""Curves as a screen can show them: few enough points, with every spike and every gap, and smoothed before that."""

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from runyard.domain.packing import DOUBLE, Line

FORGOTTEN = 1e-9
"""What a point weighs in the average after which it is left out of it."""
Number = float | None


@dataclass
class Thinned:
    """By bucket: its lowest, highest and last value at its last step, and when that was.

    A bucket with values that are not finite gives one entry more, with null, at the last of them.
    """

    step: list[int] = field(default_factory=list)
    min: list[Number] = field(default_factory=list)
    max: list[Number] = field(default_factory=list)
    last: list[Number] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    smooth: list[Number] = field(default_factory=list)
    """Empty unless it was asked for."""

    def add(self, line: Line, where: int, low: Number, high: Number, smooth: "array[float] | None") -> None:
        self.step.append(line.steps[where])
        self.at.append(round(line.at(where), 3))
        self.min.append(low)
        self.max.append(high)
        self.last.append(_number(line.numbers[where]))
        if smooth is not None:
            self.smooth.append(_number(smooth[where]))


def thinned(line: Line, buckets: int, span: slice | None = None, smooth: "array[float] | None" = None) -> Thinned:
    """At most so many buckets, each as many steps wide, of all or of some places."""
    result = Thinned()
    for begin, end in ranges(line.steps, buckets, span):
        numbers = line.numbers[begin:end]
        if not math.isnan(sum(numbers)):
            result.add(line, end - 1, min(numbers), max(numbers), smooth)
            continue
        finite = [where for where in range(begin, end) if not math.isnan(line.numbers[where])]
        gap = max(where for where in range(begin, end) if math.isnan(line.numbers[where]))
        entries: list[tuple[int, Number, Number]] = [(gap, None, None)]
        if finite:
            some = [line.numbers[where] for where in finite]
            entries.append((finite[-1], min(some), max(some)))
        for where, low, high in sorted(entries, key=lambda entry: entry[0]):
            result.add(line, where, low, high, smooth)
    return result


def chosen(line: Line, points: int) -> list[int]:
    """At most so many places of a line that show all of it: the lowest, highest and last of each bucket, and a gap."""
    if len(line) <= points:
        return list(range(len(line)))
    found: list[int] = []
    for begin, end in ranges(line.steps, max(1, points // 4)):
        here = range(begin, end)
        finite = [where for where in here if not math.isnan(line.numbers[where])]
        gaps = [where for where in here if math.isnan(line.numbers[where])]
        low = min(finite, key=line.numbers.__getitem__, default=None)
        high = max(finite, key=line.numbers.__getitem__, default=None)
        found += sorted({end - 1, *gaps[-1:], *(where for where in (low, high) if where is not None)})
    return found


def ranges(steps: Sequence[int], buckets: int, span: slice | None = None) -> Iterator[tuple[int, int]]:
    """From where to where each bucket goes that is not empty; one for each point where there are no more than that."""
    begin, stop = (span.start, span.stop) if span else (0, len(steps))
    if stop - begin <= buckets:
        yield from ((where, where + 1) for where in range(begin, stop))
        return
    first, width = steps[begin], (steps[stop - 1] - steps[begin] + 1) / buckets
    for bucket in range(1, buckets + 1):
        end = bisect_left(steps, first + bucket * width, begin, stop) if bucket < buckets else stop
        if end > begin:
            yield begin, end
        begin = end


def smoothed(line: Line, weight: float, apart: float) -> "array[float]":
    """Exponential moving average without the bias of its beginning (Kingma and Ba, 2015, arXiv:1412.6980, section 3).

    `weight` of what was before counts for steps that are `apart`; of those farther away less, and of nearer ones more.
    A value that is not finite stays a gap and weighs nothing.
    """
    result: array[float] = array(DOUBLE)
    average, known, before = 0.0, 0.0, None
    for step, number in zip(line.steps, line.numbers, strict=True):
        if number == number:  # not NaN, in the shortest way: there may be a million
            kept = weight if before is None or step - before == apart else weight ** ((step - before) / apart)
            average = kept * average + (1 - kept) * number
            known = kept * known + (1 - kept)
            before = step
            result.append(average / known)
        else:
            result.append(number)
    return result


def memory(weight: float) -> int:
    """So many points back, nothing is seen in the average any more."""
    return math.ceil(math.log(FORGOTTEN) / math.log(weight)) if weight > 0 else 0


def cut(line: Line, first: int, last: int) -> slice:
    """Where the steps are from first to last, both included."""
    return slice(bisect_left(line.steps, first), bisect_right(line.steps, last))


@dataclass(frozen=True)
class Stay:
    """When an attempt held its machine."""

    began: float
    ended: float | None


def running_seconds(stays: Sequence[Stay], at: float) -> float:
    """How long the job had been at work by then: what lies between its attempts is cut out."""
    return sum(max(0.0, min(at, math.inf if stay.ended is None else stay.ended) - stay.began) for stay in stays)


def _number(value: float) -> Number:
    return None if math.isnan(value) else value
