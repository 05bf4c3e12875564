"""`runyard top`: the overview in the terminal, live."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from runyard.cli import options, output

if TYPE_CHECKING:
    from rich.console import Console

    from runyard.cli.picture import Connection
    from runyard.schemas.jobs import EventRead
    from runyard.sdk.client import Client
    from runyard.sdk.overview import Overview

LOOK_SECONDS = 5.0
"""Between two looks at the machine, where nothing else asks for one."""
SETTLE_SECONDS = 0.3
"""After a change: what changes together is looked at once."""
DRAW_SECONDS = 0.5
FAULT = 500
"""From this status on, it is the server that has a fault, and may come over it."""


def top(
    ctx: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Print one picture, as is done in a pipe.")] = False,
) -> None:
    """Watch the yard: what runs, what waits and why, what failed. Ctrl-C leaves."""
    from rich.console import Console

    from runyard.cli import picture

    console = Console(highlight=False)
    with options.client(ctx) as client:
        yard = client.overview(time.time())
        if once or not output.on_terminal():
            console.print(picture.draw(yard, time.time(), width=console.width))
            return
        with suppress(KeyboardInterrupt):
            _live(client, yard, console)


class Watch:
    """What the threads tell the one that draws: entries of the feed, looks at the yard, and how the connection is."""

    def __init__(self, client: "Client", connection: "Connection") -> None:
        self.client = client
        self.connection = connection
        self.news: queue.SimpleQueue[Overview | EventRead | Exception] = queue.SimpleQueue()
        self.wanted = threading.Event()
        """Something changed that only the server can tell."""
        self.ended = threading.Event()

    def follow(self) -> None:
        for event in self.client.watch(after="latest", patience=None, heard=self._heard):
            self.news.put(event)

    def look(self) -> None:
        from runyard.sdk.errors import ApiError, NoServerError

        while not self.ended.is_set():
            self.wanted.wait(LOOK_SECONDS)
            self.ended.wait(SETTLE_SECONDS)
            self.wanted.clear()
            try:
                self.news.put(self.client.overview(time.time()))
                self._heard(None)
            except NoServerError as error:
                self._heard(error.cause)
            except ApiError as error:
                if error.status < FAULT:  # not allowed any more
                    raise
                self._heard(str(error))

    def _heard(self, lost: str | None) -> None:
        """A sign of life, or why there is none."""
        before = self.connection
        if lost is None and before.lost is not None:
            self.wanted.set()  # what happened meanwhile is not told again
        self.connection = replace(before, lost=lost) if lost else replace(before, heard=time.time(), lost=None)


@contextmanager
def _started(watch: Watch) -> Iterator[None]:
    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - told by the one who draws, unless it has left
            watch.news.put(error)

    for work in (watch.follow, watch.look):
        threading.Thread(target=guarded, args=(work,), daemon=True).start()
    try:
        yield
    finally:
        watch.ended.set()
        watch.wanted.set()


def _live(client: "Client", yard: "Overview", console: "Console") -> None:
    from rich.live import Live

    from runyard.cli import picture

    watch = Watch(client, picture.Connection(time.time()))
    with _started(watch), Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            size = console.size
            picture_now = picture.draw(
                yard, time.time(), width=size.width, height=size.height, connection=watch.connection
            )
            live.update(picture_now, refresh=True)
            yard = _moved_on(watch, yard, time.monotonic() + DRAW_SECONDS)


def _moved_on(watch: Watch, yard: "Overview", until: float) -> "Overview":
    """The yard with all that was told by then."""
    from runyard.schemas.jobs import EventRead

    while (left := until - time.monotonic()) > 0:
        try:
            news = watch.news.get(timeout=left)
        except queue.Empty:
            break
        if isinstance(news, Exception):
            raise news
        if not isinstance(news, EventRead):
            yard = news
        elif yard.take(news):
            watch.wanted.set()
    return yard
