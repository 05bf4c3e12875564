"""Following a job's output: pieces after an offset, so that an outage costs nothing."""

from collections.abc import Generator
from typing import Any

from runyard.sdk import calls


class Tail:
    """`pause` is how many seconds to wait before the next read."""

    def __init__(self, job_id: str, stream: str, lines: int) -> None:
        self.job_id = job_id
        self.lines = lines
        self.ended = False
        self.pause = 0.5
        self._offsets: dict[str, int | None] = dict.fromkeys(("stdout", "stderr") if stream == "all" else (stream,))

    def read(self) -> Generator[calls.Call[Any], Any, list[str]]:
        found: list[str] = []
        done = True
        for stream, offset in self._offsets.items():
            tail = self.lines if offset is None else None
            piece = yield from calls.logs(self.job_id, stream=stream, tail=tail, offset=offset)
            self._offsets[stream] = piece.next_offset
            found += piece.lines
            done = done and piece.ended
        self.ended = done
        self.pause = 0.0 if found else 0.5
        return found
