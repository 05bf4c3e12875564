"""The only reader of the environment: what a server is told before it starts."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from runyard.domain import retries
from runyard.protocol.problems import problems

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PREFIX = "RUNYARD_"
ELSEWHERE = {"otlp_endpoint": "OTEL_EXPORTER_OTLP_ENDPOINT", "otlp_headers": "OTEL_EXPORTER_OTLP_HEADERS"}
"""What others read, too, and so is set under their name already."""
SIGNATURES = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
SHARED_SECRETS = ("HS256", "HS384", "HS512")


class SettingsError(ValueError):
    """Each line names a setting, what is wrong with it, and what to do."""


def _folders(value: Any) -> Any:
    """A list as in PATH."""
    return [part for part in value.split(os.pathsep) if part] if isinstance(value, str) else value


def _words(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _users(value: Any) -> Any:
    """Such as `ml=runyard-ml,ops=runyard-ops`."""
    if not isinstance(value, str):
        return value
    pairs = [[part.strip() for part in pair.split("=")] for pair in value.split(",") if pair.strip()]
    users = {pair[0]: pair[-1] for pair in pairs}
    if not all(len(pair) == 2 and all(pair) for pair in pairs) or len(users) < len(pairs):
        raise ValueError("must be each tenant's system user, such as ml=runyard-ml,ops=runyard-ops")
    return users


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
    """The address to listen on. Others than this machine's own can reach any but 127.0.0.1, so that one asks for
    accounts."""
    port: int = Field(default=8000, ge=0, le=65535)
    """0 takes any free port."""
    hosts: Annotated[tuple[str, ...], BeforeValidator(_words)] = ()
    """Names under which the server is spoken to, beside its addresses; separated by commas."""
    trusted_proxies: Annotated[tuple[str, ...], BeforeValidator(_words)] = ()
    """Addresses of proxies that are believed when they say for whom they ask, and whether by https."""
    tls_cert: Path | None = None
    """Certificate for https, in PEM; with `tls_key`."""
    tls_key: Path | None = None
    requests_per_second: float = Field(default=100.0, ge=0, le=1e6, allow_inf_nan=False)
    """Of one key or session in the long run, ten times as many at once; 0 for no limit."""
    jwt_issuer: str = ""
    """Tokens of this outside issuer are good, for accounts that have its `sub` as their subject."""
    jwt_audience: str = ""
    """What the tokens have to be for."""
    jwt_jwks_url: str = ""
    """Where the issuer's public keys are."""
    jwt_key: Path | None = None
    """A file with its public key in PEM, instead; for HS256 and its kin, with the shared secret."""
    jwt_algorithms: Annotated[tuple[str, ...], BeforeValidator(_words)] = ("RS256", "ES256")
    """Which signatures are good, whatever a token says."""
    engine: bool = True
    """Whether this server moves jobs, or leaves that to others on the same PostgreSQL."""
    slots: int = Field(default=1, ge=1)
    """Jobs at once on a machine without GPUs."""
    gpus: Annotated[tuple[DeclaredGpu, ...] | None, BeforeValidator(_gpus)] = None
    """GPUs with their memory, such as 0:24GB,1:24GB, or none; those that NVIDIA's driver tells of unless set. Nobody
    looks whether the memory of declared ones is free."""
    max_waiting: int = Field(default=10, ge=1)
    """Jobs of one user that may wait in the queue. This and the next two hold where `runyard quotas` sets nothing."""
    max_running_per_user: int | None = Field(default=None, ge=1)
    """Jobs of one user that may run at once."""
    max_gpus_per_user: int | None = Field(default=None, ge=1)
    """GPUs that one user may have at once; a share of one counts as one."""
    allowed_paths: Annotated[tuple[Path, ...], BeforeValidator(_folders)] = ()
    """Folders, beside the data folder's own, from which jobs may name data and models; separated as in PATH."""
    trusted_models: Annotated[tuple[str, ...], BeforeValidator(_words)] = ()
    """Models whose own code jobs may run (`trust_remote_code`), such as owner/name@commit; separated by commas."""
    tenant_users: Annotated[dict[str, str], BeforeValidator(_users)] = {}
    """The system user that runs a tenant's trainers, by name or number, such as ml=runyard-ml,ops=runyard-ops; the
    server's own for the others. Needs a server that is root."""
    enforce_limits: bool = False
    """Whether a job gets no more main memory and processors than its `resources` say, where it says so, by its cgroup
    (version 2); announced alone otherwise."""
    outbound_hosts: Annotated[tuple[str, ...], BeforeValidator(_words)] = ()
    """Names, addresses and networks that are not public, from which data sets may be fetched, and where channels may
    lead to, all the same; separated by commas."""
    upload_limit: ByteSize = ByteSize(4 << 30)
    """The largest data set that may be uploaded."""
    check_memory: ByteSize = Field(default=ByteSize(4 << 30), ge=512 << 20)
    """The most main memory that checking a data set may take."""
    preview_seconds: float = Field(default=120.0, ge=1, le=3600)
    """How long reading a model's tokenizer and the first rows of data for a preview may take."""
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

    otlp_endpoint: str = ""
    """Where traces go, by OTLP over http, such as http://127.0.0.1:4318; OTEL_EXPORTER_OTLP_ENDPOINT unless set."""
    otlp_headers: str = Field(default="", repr=False)
    """Sent with them, as name=value, separated by commas; OTEL_EXPORTER_OTLP_HEADERS unless set."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], **options: Any) -> Self:
        """Options that are None leave the environment's value in place. Raises SettingsError."""
        given = {name: environment[variable] for name, variable in ELSEWHERE.items() if environment.get(variable)}
        given |= {
            name: environment[PREFIX + name.upper()]
            for name in cls.model_fields
            if environment.get(PREFIX + name.upper(), "").strip()
        }
        given |= {name: value for name, value in options.items() if value is not None}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            found = problems(error.errors(include_url=False))
            told = (f"{PREFIX}{p.field.upper()}: {p.message}" if p.field else p.message for p in found)
            raise SettingsError("\n".join(told)) from None

    @field_validator("home")
    @classmethod
    def absolute(cls, value: Path) -> Path:
        return _absolute(value)

    @field_validator("allowed_paths")
    @classmethod
    def all_absolute(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(_absolute(path) for path in value)

    @field_validator("tls_cert", "tls_key", "jwt_key")
    @classmethod
    def readable(cls, value: Path | None) -> Path | None:
        if value is not None and not (value := _absolute(value)).is_file():
            raise ValueError(f"there is no file {value}")
        return value

    @field_validator("otlp_endpoint")
    @classmethod
    def over_http(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://: traces are sent by OTLP over http, not gRPC")
        return value.rstrip("/")

    @model_validator(mode="after")
    def complete(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("RUNYARD_TLS_CERT and RUNYARD_TLS_KEY belong together")
        if self.jwt_issuer:
            self._check_issuer()
        return self

    def _check_issuer(self) -> None:
        if not self.jwt_audience or bool(self.jwt_jwks_url) == bool(self.jwt_key):
            raise ValueError("RUNYARD_JWT_ISSUER needs RUNYARD_JWT_AUDIENCE, and one of _JWKS_URL and _KEY")
        unknown = set(self.jwt_algorithms) - {*SIGNATURES, *SHARED_SECRETS}
        if unknown or not self.jwt_algorithms:
            raise ValueError(f"RUNYARD_JWT_ALGORITHMS may have {', '.join((*SIGNATURES, *SHARED_SECRETS))}")
        shared = set(self.jwt_algorithms) & set(SHARED_SECRETS)
        if shared and (self.jwt_jwks_url or shared != set(self.jwt_algorithms)):
            raise ValueError(
                f"{', '.join(sorted(shared))} need a shared secret in RUNYARD_JWT_KEY, and can't be mixed with others: "
                "whoever has the public key could sign with it"
            )

    @property
    def is_loopback(self) -> bool:
        """Can programs of this machine alone reach it?"""
        return self.host in LOOPBACK

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.home / 'runyard.db'}"
