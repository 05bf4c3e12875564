"""What is measured of the server, and of the yard behind it, for Prometheus: prometheus-client's only home.

Each application has a registry of its own. Labels have few values, whatever users do: no names, no ids, no addresses.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from runyard import __version__
from runyard.db.queries.figures import Change
from runyard.domain.lifecycle import ACTIVE, Cause, State
from runyard.domain.reasons import Reason
from runyard.protocol.specs.run import Priority
from runyard.schemas.system import GpuRead

LAG_SECONDS = 0.25
"""Between two looks at how late the event loop is."""
MEGABYTE = 1 << 20
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
ENDS = frozenset({Cause.COMPLETED, Cause.STOPPED, Cause.FAILED, Cause.RETRIED, Cause.YIELDED})
KNOWN_REASONS = frozenset({*Reason, *Cause})
LAGS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
ANSWERS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
WAITS = (1, 5, 15, 60, 300, 900, 3600, 14_400, 43_200, 86_400, 259_200)


class Meters:
    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()

        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return Gauge(f"runyard_{name}", what, labels, registry=registry)

        def histogram(name: str, what: str, labels: Sequence[str], buckets: Sequence[float]) -> Histogram:
            return Histogram(f"runyard_{name}", what, labels, registry=registry, buckets=buckets)

        gauge("info", "Always 1; which version answers.", "version").labels(__version__).set(1)
        ProcessCollector(registry=registry)
        self.requests = histogram(
            "request_seconds",
            "From a request to the beginning of its answer.",
            ("method", "route", "status"),
            ANSWERS,
        )
        self.feeds = gauge("open_feeds", "Clients that follow what happens.", "kind")
        for kind in ("websocket", "sse"):
            self.feeds.labels(kind)
        self._lag = histogram("event_loop_lag_seconds", "How late the server's event loop is.", (), LAGS)
        self.database_up = gauge("database_up", "1 if the database answered the last time it was asked.")
        self.engine_alive = gauge("engine_alive", "1 if an engine leads: without one no job moves.")
        self.disk_free = gauge("disk_free_bytes", "Free on the disk of the data folder.")
        self.disk_total = gauge("disk_total_bytes", "Size of the disk of the data folder.")
        self._jobs = gauge("jobs", "Jobs by state.", "state")
        self._queue = gauge("queue_length", "Jobs that wait.")
        self._oldest = gauge(
            "queue_oldest_seconds", "For how long the one has waited that waits for longest; 0 if none."
        )
        self.undelivered = gauge("deliveries_pending", "Messages to channels that are still to be sent.")
        self._waits = histogram("wait_seconds", "From the queue to the start of an attempt.", ("priority",), WAITS)
        self._ended = Counter(
            "runyard_attempts_ended", "Attempts by how they ended, or why they failed.", ("reason",),
            registry=registry,
        )  # fmt: skip
        for reason in (*Reason, *ENDS - {Cause.FAILED, Cause.RETRIED}):  # those have a reason; rates begin at 0
            self._ended.labels(reason.value)
        for priority in get_args(Priority):
            self._waits.labels(priority)
        self._gpus = {
            name: gauge(f"gpu_{name}", what, "gpu")
            for name, what in (
                ("usable", "1 if jobs may be started on it."),
                ("utilization_ratio", "How much of the time it computes, from 0 to 1."),
                ("memory_used_bytes", "In use, by whomever."),
                ("memory_total_bytes", "What it has."),
                ("temperature_celsius", "Of the GPU."),
                ("power_watts", "What it draws."),
            )
        }

    async def run(self) -> None:
        """Look how late the event loop is, until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + LAG_SECONDS
            await asyncio.sleep(LAG_SECONDS)
            self._lag.observe(max(0.0, clock() - due))

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        known = method if method in METHODS else "other"
        self.requests.labels(known, route, f"{status // 100}xx").observe(seconds)

    def count_jobs(self, by_state: dict[str, int], oldest_seconds: float) -> None:
        for state in State:
            self._jobs.labels(state.value).set(by_state.get(state.value, 0))
        self._queue.set(by_state.get(State.QUEUED.value, 0))
        self._oldest.set(oldest_seconds)

    def count_changes(self, changes: Iterable[Change]) -> None:
        for change in changes:
            if change.cause == Cause.PLACED and change.since is not None:
                self._waits.labels(change.priority).observe(max(0.0, change.since))
            elif change.before in ACTIVE and change.cause in ENDS:
                reason = change.reason or change.cause
                self._ended.labels(reason if reason in KNOWN_REASONS else "other").inc()

    def read_gpus(self, gpus: Iterable[GpuRead]) -> None:
        """As they are now; of what can't be known there is no figure."""
        for gauge in self._gpus.values():
            gauge.clear()
        for gpu in gpus:
            figures = {
                "usable": float(gpu.unusable is None),
                "utilization_ratio": None if gpu.utilization_percent is None else gpu.utilization_percent / 100,
                "memory_used_bytes": gpu.memory_used_mb * MEGABYTE,
                "memory_total_bytes": gpu.memory_total_mb * MEGABYTE,
                "temperature_celsius": gpu.temperature_celsius,
                "power_watts": gpu.power_watts,
            }
            for name, value in figures.items():
                if value is not None:
                    self._gpus[name].labels(str(gpu.index)).set(value)

    def text(self) -> bytes:
        """In Prometheus's text form."""
        return generate_latest(self.registry)
