"""Faults that strike a live yard: kills, freezes, torn files, a full disk."""

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from runyard.executors import launcher
from runyard.executors.wrapper import stat_fields
from runyard.testing.live import LiveYard


@dataclass
class Faults:
    yard: LiveYard
    random: random.Random
    disk: Path | None
    done: Counter[str] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)
    """Faults that hit a job's own processes."""

    def strike(self) -> None:
        """One fault; counted only when there was something to hit."""
        fault = self.random.choice(self.choices())
        if fault():
            self.done[fault.__name__] += 1

    def choices(self) -> list[Callable[[], bool]]:
        return [
            self.kill_server, self.kill_server, self.kill_trainer, self.kill_trainer, self.kill_wrapper, self.kill_both,
            self.kill_launcher, self.freeze_server, self.freeze_trainer, self.freeze_launcher, self.tear_events,
            self.fill_disk,
        ]  # fmt: skip

    def kill_server(self) -> bool:
        self.yard.kill()
        time.sleep(self.random.choice([0, 0, 0.5, 2]))
        self.yard.start()
        return True

    def kill_trainer(self) -> bool:
        return self._hit(signal.SIGKILL, "trainer")

    def kill_wrapper(self) -> bool:
        return self._hit(signal.SIGKILL, "wrapper")

    def kill_both(self) -> bool:
        return self._hit(signal.SIGKILL, "wrapper", "trainer")

    def kill_launcher(self) -> bool:
        """In the middle of a start, it may be."""
        return self._signal_launcher(signal.SIGKILL)

    def freeze_launcher(self) -> bool:
        """For good: the server must find that out."""
        return self._signal_launcher(signal.SIGSTOP)

    def freeze_server(self) -> bool:
        os.kill(self.yard.pid, signal.SIGSTOP)
        time.sleep(self.random.uniform(0.5, 4))
        os.kill(self.yard.pid, signal.SIGCONT)
        return True

    def freeze_trainer(self) -> bool:
        if not (victim := self._victim()):
            return False
        _, record, _ = victim
        with suppress(ProcessLookupError):
            os.kill(record["trainer"]["pid"], signal.SIGSTOP)
            time.sleep(self.random.uniform(0.2, 2))
            os.kill(record["trainer"]["pid"], signal.SIGCONT)
        return True

    def tear_events(self) -> bool:
        """As a power cut may: the trainer is gone and so is the end of what it had written."""
        if not (victim := self._victim()):
            return False
        job_id, record, folder = victim
        self.hits[job_id] += 1
        for which in ("wrapper", "trainer"):
            with suppress(ProcessLookupError):
                os.kill(record[which]["pid"], signal.SIGKILL)
        events = folder.parents[1] / "events.jsonl"
        size = events.stat().st_size if events.exists() else 0
        with suppress(OSError):
            os.truncate(events, max(0, size - self.random.randint(1, 200)))
        return True

    def fill_disk(self) -> bool:
        if self.disk is None:
            return False
        filler = self.disk / "filler"
        try:
            with filler.open("wb", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(bytes(1 << 16))
            time.sleep(self.random.uniform(0.2, 2))
        finally:
            filler.unlink(missing_ok=True)
        return True

    def _hit(self, number: signal.Signals, *which: str) -> bool:
        if not (victim := self._victim()):
            return False
        job_id, record, _ = victim
        self.hits[job_id] += 1
        for name in which:
            with suppress(ProcessLookupError):
                os.kill(record[name]["pid"], number)
        return True

    def _signal_launcher(self, number: signal.Signals) -> bool:
        for pid in self._launchers():
            with suppress(ProcessLookupError):
                os.kill(pid, number)
                return True
        return False

    def _launchers(self) -> list[int]:
        """The children of the server that start wrappers; such a child of a server that is gone leaves by itself."""
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.yard.pid).children()
            return [child.pid for child in children if launcher.__file__ in child.cmdline()]
        return []

    def _victim(self) -> tuple[str, dict[str, Any], Path] | None:
        """A job, its process record and the folder of its attempt, chosen among those that run."""
        found = []
        for path in sorted(self.yard.home.glob("runs/*/attempts/*/process.json")):
            with suppress(OSError, ValueError):
                record = json.loads(path.read_text())
                if not (path.parent / "exit.json").exists() and _is(record["trainer"]):
                    found.append((path.parents[2].name, record, path.parent))
        return self.random.choice(found) if found else None


def _is(identity: dict[str, Any]) -> bool:
    fields = stat_fields(identity["pid"])
    return fields is not None and int(fields[19]) == identity["start_ticks"] and fields[0] not in "ZX"
