"""One watch: where it is in the feed, and how it gets over outages."""

import random
from typing import Literal

from runyard.schemas.jobs import EventRead
from runyard.sdk import calls
from runyard.sdk.errors import NoServerError

LONGEST_PAUSE = 5.0


class Feed:
    """Server-sent events in, feed entries out, each once and in order.

    `patience` is how many seconds in a row the server may be away before NoServerError; None waits forever.
    """

    def __init__(self, url: str, job_id: str | None, after: int | Literal["latest"], patience: float | None) -> None:
        self.url = url
        self.job_id = job_id
        self.cursor: int | str = after
        self.patience = patience
        self.ended = False
        self._type, self._id = "", ""
        self._data: list[str] = []
        self._failures = 0
        self._lost_at: float | None = None

    def call(self) -> calls.Call[None]:
        self._type, self._id, self._data = "", "", []
        return calls.stream(self.job_id, self.cursor)

    def take(self, line: str) -> EventRead | None:
        """The entry that this line completes."""
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._type = value
        elif name == "id":
            self._id = value
        elif name == "data":
            self._data.append(value)
        elif not line:
            return self._complete()
        # A comment is the server's sign of life.
        self._failures, self._lost_at = 0, None
        return None

    def pause(self, cause: str, now: float) -> float:
        """Seconds to wait before asking again. Raises NoServerError when the patience is at an end."""
        if self._lost_at is None:
            self._lost_at = now
        if self.patience is not None and now - self._lost_at >= self.patience:
            raise NoServerError(self.url, f"{cause}; tried for {self.patience:g} s")
        self._failures += 1
        # Spread, so that all who watched do not come back in the same moment.
        return min(LONGEST_PAUSE, 0.1 * 2.0**self._failures) * random.uniform(0.5, 1.0)

    def _complete(self) -> EventRead | None:
        type_, id_, data = self._type, self._id, "\n".join(self._data)
        self._type, self._id, self._data = "", "", []
        if type_ == "end":
            self.ended = True
        elif id_ and not data:
            self.cursor = int(id_)  # where the feed begins, if that was left to the server
        if type_ == "end" or not data:
            return None
        event = EventRead.model_validate_json(data)
        if isinstance(self.cursor, int) and event.id <= self.cursor:
            return None
        self.cursor = event.id
        return event
