"""The server and its machine."""

from pydantic import BaseModel


class Health(BaseModel):
    status: str
    version: str


class GpuRead(BaseModel):
    index: int
    uuid: str
    name: str
    memory_total_mb: float
    memory_used_mb: float
    utilization_percent: float | None
    temperature_celsius: float | None
    power_watts: float | None
    unusable: str | None = None
    """Why nothing is started on it now."""


class EngineRead(BaseModel):
    """The engine that moves the jobs. `alive` is false when it has not been heard of for longer than its lease."""

    name: str
    since: float
    alive: bool


class SystemRead(BaseModel):
    version: str
    host: str
    database: str
    cpu_count: int
    memory_total_mb: float
    memory_available_mb: float
    disk_total_bytes: int
    disk_free_bytes: int
    gpus: list[GpuRead]
    engine: EngineRead | None = None
    jobs: dict[str, int]
    """How many jobs are in each state."""
    slots: int
    """Jobs that may run at once without a GPU."""
    cgroup_missing: str | None = None
    """Why jobs have no cgroup of their own, so that what they start is found by parents and environment alone; null
    where they have one."""
    warnings: list[str] = []
