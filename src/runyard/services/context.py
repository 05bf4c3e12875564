"""Where things lie, and how much of everything there may be."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from runyard.domain.errors import NoRoomError
from runyard.domain.retention import Policy
from runyard.protocol.rundir import RunDir


@dataclass(frozen=True)
class Context:
    """The data folder and its limits."""

    home: Path
    allowed_paths: tuple[Path, ...] = ()
    max_waiting: int = 10
    upload_limit: int = 4 << 30
    min_free: int = 1 << 30
    retention: Policy = field(default_factory=Policy)

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
        return f"the disk of {self.home} is nearly full: {_size(self.min_free)} must stay free"


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
