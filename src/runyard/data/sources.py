"""Where rows come from: what a job file says, told apart into files and hub names."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from runyard.data import files, hub
from runyard.data.errors import refuse
from runyard.data.lines import RawRow
from runyard.protocol.specs.language import DataSpec

HUB_NAME = re.compile(r"(?P<name>[\w-][\w.-]*(/[\w.-]+)?)(:(?P<split>[\w.-]+))?")


@dataclass(frozen=True)
class Source:
    """A file, or a hub name (`owner/name` or `owner/name:split`), and how to read it."""

    name: str
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our column name to the source's."""
    split: str | None = "train"
    subset: str | None = None
    max_rows: int | None = None

    @property
    def path(self) -> Path | None:
        """The file, or None for a hub name."""
        path = Path(self.name).expanduser()
        looks_like_path = path.suffix.lower() in files.BY_ENDING or self.name[:1] in "./~\\"
        return path if looks_like_path or path.exists() else None

    def rows(self) -> Iterator[RawRow]:
        """The first `max_rows` rows. Raises DataError when the source as a whole can't be used."""
        return islice(self._all_rows(), self.max_rows)

    def _all_rows(self) -> Iterator[RawRow]:
        if self.name.startswith("dataset:"):
            raise refuse(self.name, "is an upload, which only a job on its server can use: name a file")
        if self.path is not None:
            return files.read(self.path)
        match = HUB_NAME.fullmatch(self.name)
        if match is None:
            raise refuse(self.name, f"is neither a file ({files.ENDINGS}) nor a hub name (owner/name)")
        split = match["split"] or self.split
        if split is None:
            raise refuse(self.name, f"say which split to evaluate on, such as {self.name}:test")
        return hub.read(match["name"], self.subset, split)


def train_source(spec: DataSpec) -> Source:
    return Source(spec.train, spec.columns, spec.split, spec.subset, spec.max_rows)


def eval_source(spec: DataSpec) -> Source | None:
    """The second source. A hub name there names its own split: the training split would evaluate on trained rows."""
    if spec.eval is None:
        return None
    return Source(spec.eval, spec.columns, None, spec.subset, spec.max_rows)
