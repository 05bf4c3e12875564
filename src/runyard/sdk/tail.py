"""Following a job's output: pieces after an offset, so that an outage costs nothing."""

from collections.abc import Generator
from typing import Any

from runyard.sdk import calls


class Tail:
    """`pause` is how many seconds to wait before the next read."""

    def __init__(self, job_id: str, stream: str, lines: int) -> None:
        self.job_id = job_id
        self.stream = stream
        self.lines = lines
        self.offset: int | None = None
        self.ended = False
        self.pause = 0.0

    def read(self) -> Generator[calls.Call[Any], Any, list[str]]:
        first = self.offset is None
        piece = yield from calls.logs(
            self.job_id, stream=self.stream, tail=self.lines if first else None, offset=self.offset
        )
        self.offset, self.ended = piece.next_offset, piece.ended
        self.pause = 0.0 if piece.lines and not first else 0.5
        return piece.lines
