"""The only reader of the environment: what a server is told before it starts."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, ValidationError, field_validator

from runyard.domain import retries
from runyard.protocol.problems import problems

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PREFIX = "RUNYARD_"


class SettingsError(ValueError):
    """Each line names a setting, what is wrong with it, and what to do."""


def _folders(value: Any) -> Any:
    """A list as in PATH."""
    return [part for part in value.split(os.pathsep) if part] if isinstance(value, str) else value


def _gpus(value: Any) -> Any:
    """Such as `0:24GB,1:24GB`, or `none`."""
    if not isinstance(value, str):
        return value
    if value.strip() == "none":
        return ()
    pairs = [part.partition(":") for part in value.split(",") if part.strip()]
    if not all(sign for _, sign, _ in pairs) or len({index.strip() for index, _, _ in pairs}) < len(pairs):
        raise ValueError("must be each GPU's number and memory, such as 0:24GB,1:24GB, or none")
    return tuple({"index": index.strip(), "memory": memory.strip()} for index, _, memory in pairs)


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


class DeclaredGpu(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int = Field(ge=0)
    memory: ByteSize = Field(gt=0)


class Settings(BaseModel):
    """Each field is set by the environment variable RUNYARD_FIELD; sizes may be written as 500MB or 4GiB."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True)

    home: Path = Path("~/.runyard")
    """The data folder: database, runs, uploaded data sets, models."""
    database_url: str = ""
    """sqlite:///FILE or postgresql://...; a file in the data folder unless set."""
    host: str = "127.0.0.1"
    """The address to listen on, which only programs of the same machine can reach."""
    port: int = Field(default=8000, ge=0, le=65535)
    """0 takes any free port."""
    engine: bool = True
    """Whether this server moves jobs, or leaves that to others on the same PostgreSQL."""
    slots: int = Field(default=1, ge=1)
    """Jobs at once on a machine without GPUs."""
    gpus: Annotated[tuple[DeclaredGpu, ...] | None, BeforeValidator(_gpus)] = None
    """GPUs with their memory, such as 0:24GB,1:24GB, or none; those that NVIDIA's driver tells of unless set. Nobody
    looks whether the memory of declared ones is free."""
    max_waiting: int = Field(default=10, ge=1)
    """Jobs that may wait in the queue, those of all users counted together."""
    max_running_per_user: int | None = Field(default=None, ge=1)
    """Jobs of one user that may run at once."""
    max_gpus_per_user: int | None = Field(default=None, ge=1)
    """GPUs that one user may have at once; a share of one counts as one."""
    allowed_paths: Annotated[tuple[Path, ...], BeforeValidator(_folders)] = ()
    """Folders, beside the data folder's own, from which jobs may name data and models; separated as in PATH."""
    upload_limit: ByteSize = ByteSize(4 << 30)
    """The largest data set that may be uploaded."""
    min_free: ByteSize = ByteSize(1 << 30)
    """Bytes on the data folder's disk that stay free: no job is accepted or started below."""
    keep_completed_days: float = Field(default=90, ge=0)
    """Days after its end that a completed job is removed; 0 keeps it for ever."""
    keep_failed_days: float = Field(default=30, ge=0)
    """The same for failed and cancelled jobs."""
    keep_logs_days: float = Field(default=7, ge=0)
    """The same for what an ended job's trainer wrote to its output and errors."""
    keep_checkpoints_days: float = Field(default=1, ge=0)
    """After so many days only the best and the last checkpoint of an ended job stay; 0 keeps them all."""
    cache_limit: ByteSize = ByteSize(20 * 10**9)
    """Size of the cache of prepared data and unpacked models; 0 for no limit."""
    grace_seconds: float = Field(default=30.0, ge=0, le=3600)
    """Time to leave, for a trainer that was told to stop."""
    retry_seconds: float = Field(default=retries.FIRST_SECONDS, ge=0, le=retries.MOST_SECONDS)
    """Pause before a failed job is tried again; it doubles with each failure that follows."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], **options: Any) -> Self:
        """Options that are None leave the environment's value in place. Raises SettingsError."""
        given = {
            name: environment[PREFIX + name.upper()]
            for name in cls.model_fields
            if environment.get(PREFIX + name.upper(), "").strip()
        }
        given |= {name: value for name, value in options.items() if value is not None}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            found = problems(error.errors(include_url=False))
            raise SettingsError("\n".join(f"{PREFIX}{(p.field or '').upper()}: {p.message}" for p in found)) from None

    @field_validator("home")
    @classmethod
    def absolute(cls, value: Path) -> Path:
        return _absolute(value)

    @field_validator("allowed_paths")
    @classmethod
    def all_absolute(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(_absolute(path) for path in value)

    @field_validator("host")
    @classmethod
    def loopback_only(cls, value: str) -> str:
        if value not in LOOPBACK:
            raise ValueError(
                f"{value} is not an address of this machine alone; there is no sign-in, so the server listens on "
                "127.0.0.1 only. From another machine: ssh -L 8000:127.0.0.1:8000 THIS_MACHINE"
            )
        return value

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.home / 'runyard.db'}"
