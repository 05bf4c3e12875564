"""How a run is asked to stop, and where it obeys."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


class Stopped(BaseException):
    """The run leaves because it was asked to. Not an Exception, so that no library swallows it."""


class Stop:
    """Turns SIGTERM and SIGINT into a wish that the training loop sees between two steps.

    Work that can be thrown away (loading, preparing, merging) is marked `interruptible` and left at once.
    `request` is the file that says `discard` when nothing is to be saved; whoever starts the run removes that of an
    earlier one, before it can be asked anything.
    """

    def __init__(self, request: Path) -> None:
        self._request = request
        self.requested = False
        self._interruptible = False

    @property
    def discard(self) -> bool:
        """True when the run shall leave without saving."""
        if not self.requested:
            return False
        try:
            return "discard" in self._request.read_text()
        except OSError:
            return False

    def check(self) -> None:
        if self.requested:
            raise Stopped

    @contextmanager
    def listening(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def interruptible(self, *, on: bool = True) -> Iterator[None]:
        """A request inside raises Stopped on the spot; `on=False` shields a part that must not be torn."""
        if on:
            self.check()
        before, self._interruptible = self._interruptible, on
        try:
            yield
        finally:
            self._interruptible = before
        if before:
            self.check()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt  # the second Ctrl-C: somebody is in a hurry
        self.requested = True
        if self._interruptible:
            raise Stopped
