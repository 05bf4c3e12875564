"""The trainer's voice: appends events, keeps `progress.json` up to date."""

import errno
import fcntl
import json
import math
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from runyard.protocol.events import (
    LONGEST_SAMPLE,
    ArtifactKind,
    FailureReason,
    Outcome,
    Phase,
    Snapshot,
    any_event,
)
from runyard.protocol.rundir import RunDir, read_lines_backwards, write_atomically

SUMMARY_SECONDS = 0.1
"""Between two writes of `progress.json`, however much happens."""


class AlreadyRunningError(RuntimeError):
    """Another process writes to this run folder."""


class Emitter:
    """Writes the events of one attempt. Holds a lock on the run folder, so that no second trainer can run there.

    Raises AlreadyRunningError when another process holds it. Numbers go on from the last complete line; half a line
    left by a crash is cut off.
    """

    def __init__(self, rundir: RunDir, attempt: int, clock: Callable[[], float]) -> None:
        self.rundir = rundir
        self.attempt = attempt
        self._clock = clock
        self._lock = threading.RLock()
        self._file = rundir.events.open("ab", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise AlreadyRunningError(f"another trainer is running in {rundir.root}") from None
        self._cut_half_line()
        self.snapshot = self._last_snapshot()
        self._summed_up, self._summed_up_at = self.snapshot.n, self.snapshot.at
        self.snapshot.attempt, self.snapshot.outcome = attempt, None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def phase(self, phase: Phase) -> None:
        self._emit("phase", phase=phase)

    def progress(
        self,
        phase: Phase,
        step: int,
        total_steps: int | None = None,
        *,
        epoch: float | None = None,
        eta_seconds: float | None = None,
        batch: int | None = None,
    ) -> None:
        fields = {"step": step, "total_steps": total_steps, "epoch": epoch, "eta_seconds": eta_seconds, "batch": batch}
        self._emit("progress", phase=phase, **fields)

    def metric(self, step: int, values: Mapping[str, float], split: str = "train") -> None:
        """Report values at an optimizer step; those that are not finite become null."""
        finite = {name: _finite(value) for name, value in values.items()}
        self._emit("metric", step=step, split=split, values=finite)

    def checkpoint(
        self,
        step: int,
        path: str,
        size_bytes: int,
        metrics: Mapping[str, float],
        *,
        best: bool,
        files: Mapping[str, str],
    ) -> None:
        finite = {name: _finite(value) for name, value in metrics.items()}
        self._emit(
            "checkpoint", step=step, path=path, size_bytes=size_bytes, metrics=finite, best=best, files=dict(files)
        )

    def checkpoint_removed(self, step: int) -> None:
        self._emit("checkpoint_removed", step=step)

    def resumed(self, step: int, checkpoint: str | None) -> None:
        self._emit("resumed", step=step, checkpoint=checkpoint)

    def artifact(
        self,
        path: str,
        kind: ArtifactKind,
        size_bytes: int,
        sha256: str,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self._emit(
            "artifact",
            path=path,
            kind=kind,
            size_bytes=size_bytes,
            sha256=sha256,
            metadata=dict(metadata or {}),
        )

    def sample(
        self, step: int, index: int, prompt: str, answer: str, *, wanted: str | None = None, truncated: bool = False
    ) -> None:
        """An answer to one of a run's prompts; step 0 is the base model's. Long texts are cut."""
        texts = {"prompt": prompt, "answer": answer, "wanted": wanted}
        cut = {name: text[:LONGEST_SAMPLE] if text else text for name, text in texts.items()}
        truncated = truncated or len(answer) > LONGEST_SAMPLE
        self._emit("sample", step=step, index=index, **cut, truncated=truncated)

    def message(self, text: str, level: str = "info", **data: Any) -> None:
        self._emit("message", level=level, text=text, data=data)

    def finished(self, outcome: Outcome, reason: FailureReason | None = None, message: str = "") -> None:
        self._emit("finished", outcome=outcome, reason=reason, message=message)
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Once the summary is as new as the history."""
        if self.snapshot.n != self._summed_up and not self._file.closed:
            self._sum_up()
        self._file.close()

    def let_go(self) -> None:
        """In a forked process: the history stays its parent's."""
        self._file.close()

    def _emit(self, type_: str, **fields: Any) -> None:
        with self._lock:  # no two lines have one number, whichever threads write them
            event = {"n": self.snapshot.n + 1, "at": self._clock(), "attempt": self.attempt, "type": type_, **fields}
            self._append(json.dumps(event, allow_nan=False, separators=(",", ":")).encode() + b"\n")
            self.snapshot.take(event)
            if abs(event["at"] - self._summed_up_at) >= SUMMARY_SECONDS or type_ == "finished":
                self._sum_up()

    def _sum_up(self) -> None:
        self._summed_up, self._summed_up_at = self.snapshot.n, self.snapshot.at
        with suppress(OSError):  # the history holds it all; a run must not fail for want of its summary
            write_atomically(self.rundir.progress, self.snapshot.model_dump_json(), durable=False)

    def _append(self, line: bytes) -> None:
        """Write the whole line or, when the disk is full, nothing of it."""
        before = os.fstat(self._file.fileno()).st_size
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.rundir.events))
        except OSError:
            with suppress(OSError):
                self._file.truncate(before)
            raise

    def _cut_half_line(self) -> None:
        size = self.rundir.events.stat().st_size
        with self.rundir.events.open("rb+") as file:
            keep = size
            while keep > 0:
                start = max(0, keep - 65536)
                file.seek(start)
                newline = file.read(keep - start).rfind(b"\n")
                if newline >= 0:
                    keep = start + newline + 1
                    break
                keep = start
            if keep < size:
                file.truncate(keep)

    def _last_snapshot(self) -> Snapshot:
        """The snapshot of the run so far; its number is taken from the history, which is written first."""
        try:
            snapshot = Snapshot.model_validate_json(self.rundir.progress.read_bytes())
        except (FileNotFoundError, ValueError):
            snapshot = Snapshot()
        for line in read_lines_backwards(self.rundir.events):
            snapshot.n = any_event.validate_json(line).n
            break
        else:
            snapshot.n = 0
        return snapshot


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
