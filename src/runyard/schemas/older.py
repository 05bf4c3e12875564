"""What clients of the older paths send and expect."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from runyard.domain.lifecycle import ACTIVE, State
from runyard.protocol.events import Snapshot
from runyard.protocol.specs.run import Priority
from runyard.schemas.artifacts import ArtifactRead
from runyard.schemas.jobs import JobRead
from runyard.schemas.system import GpuRead, SystemRead


class OlderModel(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True, protected_namespaces=())


class OlderSubmission(OlderModel):
    """A job: its fields as in a job file, here or below `config`."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True, protected_namespaces=())

    model_type: str | None = Field(default=None, max_length=100)
    """The kind of job, where `kind` does not say it."""
    job_name: str | None = Field(default=None, max_length=100)
    """Where `name` does not say it."""
    tenant_id: str | None = Field(default=None, max_length=100)
    """One's own."""
    config: dict[str, Any] | None = None

    def fields(self) -> dict[str, Any]:
        """Of the job's spec."""
        own = {name: value for name, value in (self.model_extra or {}).items() if value is not None}
        named = {"kind": self.model_type, "name": self.job_name}
        return {name: value for name, value in named.items() if value is not None} | (self.config or {}) | own


class OlderJob(OlderModel):
    job_id: str
    status: State
    job_name: str
    model_type: str
    """The kind of job."""
    tenant_id: str
    user_id: str
    priority: Priority
    progress: float | None
    """Per cent; null where it is not known how far it goes."""
    phase: str | None
    current_step: int | None
    total_steps: int | None
    current_loss: float | None
    eta_seconds: float | None
    queue_position: int | None
    message: str | None
    """Why it waits, or why it failed."""
    error: str | None
    """Why it failed, as a word for programs."""
    attempts: int
    created_at: float
    started_at: float | None
    completed_at: float | None
    updated_at: float

    @classmethod
    def of(cls, job: JobRead, tenant: str) -> Self:
        shot = job.snapshot
        total = shot.total_steps if shot else None
        known = {name: getattr(job, name) for name in cls.model_fields.keys() & JobRead.model_fields.keys()}
        return cls(
            **known
            | {"job_id": job.id, "status": job.state, "job_name": job.name, "model_type": job.kind}
            | {"tenant_id": tenant, "user_id": job.user, "completed_at": job.finished_at, "error": job.reason}
            | {"message": job.message or job.wait_cause, "phase": shot.phase if shot else None}
            | {"progress": 100.0 if job.state == State.COMPLETED else _percent(shot)}
            | {"current_step": shot.step if shot else None, "total_steps": total}
            | {"current_loss": shot.loss if shot else None, "eta_seconds": shot.eta_seconds if shot else None}
        )


def _percent(shot: Snapshot | None) -> float | None:
    return round(100 * min(1.0, shot.step / shot.total_steps), 2) if shot and shot.total_steps else None


class OlderQuery(OlderModel):
    tenant_id: str | None = Field(default=None, max_length=100)
    """One's own; others have no jobs."""
    status: list[State] | None = None
    """Any of these; may be repeated."""
    model_type: str | None = Field(default=None, max_length=100)
    """The kind of job."""
    priority: Priority | None = None
    page: int = Field(default=1, ge=1, le=1_000_000)
    page_size: int = Field(default=50, ge=1, le=500)


class OlderList(OlderModel):
    jobs: list[OlderJob]
    total: int
    page: int
    """Counted from 1."""
    page_size: int
    total_pages: int


class OlderLogs(OlderModel):
    job_id: str
    logs: list[str]


class OlderArtifactAsk(OlderModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    artifact_id: str | None = Field(default=None, max_length=100)
    path: str | None = Field(default=None, max_length=1000)
    """As the list of artifacts has it. Unless either is named, it is the first file of the model."""


class OlderArtifact(ArtifactRead):
    download_url: str
    """Where its content is."""


class OlderQueue(OlderModel):
    queued: int
    running: int
    by_status: dict[str, int]


class OlderDisk(OlderModel):
    total_bytes: int
    free_bytes: int


class OlderHost(OlderModel):
    name: str
    cpu_count: int
    memory_total_mb: float
    memory_available_mb: float


class OlderSystem(OlderModel):
    status: str
    """`ok`, or `degraded` where `warnings` say why."""
    version: str
    gpus: list[GpuRead]
    queue: OlderQueue
    disk: OlderDisk
    hosts: list[OlderHost]
    warnings: list[str]

    @classmethod
    def of(cls, system: SystemRead) -> Self:
        active = sum(count for state, count in system.jobs.items() if State(state) in ACTIVE)
        memory = {"memory_total_mb": system.memory_total_mb, "memory_available_mb": system.memory_available_mb}
        return cls(
            status="degraded" if system.warnings else "ok",
            version=system.version,
            gpus=system.gpus,
            queue=OlderQueue(queued=system.jobs.get(State.QUEUED, 0), running=active, by_status=system.jobs),
            disk=OlderDisk(total_bytes=system.disk_total_bytes, free_bytes=system.disk_free_bytes),
            hosts=[OlderHost(name=system.host, cpu_count=system.cpu_count, **memory)],
            warnings=system.warnings,
        )
