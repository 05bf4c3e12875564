"""Where things lie, and how much of everything there may be."""

import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from runyard.domain.errors import NoRoomError
from runyard.domain.quotas import Quota
from runyard.domain.retention import Policy
from runyard.protocol.rundir import RunDir
from runyard.services.outbound import Outbound


@dataclass(frozen=True)
class Context:
    """The data folder and its limits."""

    home: Path
    allowed_paths: tuple[Path, ...] = ()
    trusted_models: tuple[str, ...] = ()
    """Whose own code may be run: owner/name@commit, or owner/name for whatever it comes to hold."""
    outbound: Outbound = field(default_factory=Outbound)
    each_user: Mapping[Quota, float | None] = field(default_factory=lambda: {Quota.WAITING: 10})
    """What a user may have where nothing else was set for the user or the tenant."""
    upload_limit: int = 4 << 30
    check_memory: int = 4 << 30
    preview_seconds: float = 120.0
    min_free: int = 1 << 30
    retention: Policy = field(default_factory=Policy)
    trainer_environment: dict[str, str] | None = field(default_factory=dict, repr=False)
    """What a trainer gets of the server's environment; None where each tenant's have a system user of their own."""
    private_key: bytes = field(default_factory=partial(secrets.token_bytes, 32), repr=False)
    """The installation's own, with which secrets are sealed; unless given, nothing that is sealed outlives this."""

    @property
    def runs(self) -> Path:
        return self.home / "runs"

    @property
    def datasets(self) -> Path:
        return self.home / "datasets"

    @property
    def models(self) -> Path:
        return self.home / "models"

    @property
    def cache(self) -> Path:
        return self.home / "cache"

    def rundir(self, job_id: str) -> RunDir:
        return RunDir(self.runs / job_id)

    def require_room(self, extra: int = 0) -> None:
        """Raise NoRoomError when the disk is nearly full, or would be after `extra` bytes."""
        if shortage := self.shortage(extra):
            hint = "delete what is no longer needed (`runyard retention`), or set RUNYARD_MIN_FREE lower"
            raise NoRoomError(shortage, hint=hint)

    def shortage(self, extra: int = 0) -> str | None:
        """Says so when the disk is nearly full, or would be after `extra` bytes: then no job is taken or started."""
        if shutil.disk_usage(self.home).free - extra >= self.min_free:
            return None
        return f"the server's disk is nearly full: {_size(self.min_free)} must stay free"


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
