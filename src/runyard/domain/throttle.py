"""How fast somebody may ask, and how long to wait after wrong passwords. Times are arguments."""

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

MOST_KNOWN = 10_000
"""So many are remembered; those not heard of for longest are forgotten first."""


class Rates:
    """A token bucket for each who asks: `burst` at once, `per_second` in the long run."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second, self._burst = per_second, burst
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, who: Hashable, now: float) -> float:
        """0 if it may, else the seconds until it might."""
        level, at = self._buckets.pop(who, (self._burst, now))
        level = min(self._burst, level + max(0.0, now - at) * self._per_second)
        wait = 0.0 if level >= 1 else (1 - level) / self._per_second
        self._buckets[who] = (level - 1 if wait == 0 else level, now)
        if len(self._buckets) > MOST_KNOWN:
            self._buckets.popitem(last=False)
        return wait


@dataclass(frozen=True)
class Patience:
    """After `free` wrong tries each further one has to wait twice as long, up to `most` seconds."""

    free: int
    most: float = 900.0
    forgotten_after: float = 3600.0

    def wait(self, failures: int) -> float:
        beyond = failures - self.free
        return 0.0 if beyond < 0 else min(self.most, 2.0 ** min(beyond, 30))


class Failures:
    """Wrong tries, by what they have in common. Each of these waits for itself, so that nobody locks out another."""

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, tuple[int, float]] = OrderedDict()

    def wait(self, tried: Iterable[tuple[Hashable, Patience]], now: float) -> float:
        """Seconds until another try is looked at; 0 for at once."""
        waits = [0.0]
        for what, patience in tried:
            count, at = self._known.get(what, (0, now))
            waits.append(at + patience.wait(count) - now)
        return max(waits)

    def failed(self, tried: Iterable[tuple[Hashable, Patience]], now: float) -> None:
        for what, patience in tried:
            count, at = self._known.pop(what, (0, now))
            if now - at > patience.forgotten_after:
                count = 0
            self._known[what] = (count + 1, now)
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)

    def take_back(self, tried: Iterable[tuple[Hashable, Patience]]) -> None:
        """It was right after all: what is for this alone starts anew, and the rest is as it was."""
        for position, (what, _) in enumerate(tried):
            count, at = self._known.pop(what, (0, 0.0))
            if position > 0 and count > 1:
                self._known[what] = (count - 1, at)
