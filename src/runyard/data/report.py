"""What a check found."""

from pydantic import BaseModel, Field

from runyard.data.errors import DataError
from runyard.data.lengths import Lengths
from runyard.protocol.problems import Problem

NO_MEMORY = 71
"""Exit status of a check that came to no report for want of it."""


class CheckReport(BaseModel):
    """What a data set holds. It can be used for `kinds`; none when it can't be used as it is."""

    source: str
    format: str
    kinds: list[str] = Field(default_factory=list)
    shape: str | None = None
    rows: int = 0
    """All rows, the bad ones among them."""
    bad: int = 0
    conversations: bool = False
    """The rows are messages, which need the model's chat template; else plain text."""
    duplicates: int = 0
    """Good rows that say the same as an earlier one."""
    lengths: Lengths | None = None
    """None where no row is good, and in reports from before lengths were counted."""
    columns: list[str] = Field(default_factory=list)
    size_bytes: int | None = None
    sha256: str | None = None
    """Of the file; of what the rows say, for a hub name."""
    problems: list[Problem] = Field(default_factory=list)
    """The first twenty kinds of problem, each with the first line it was found in."""

    @property
    def good(self) -> int:
        return self.rows - self.bad

    def require(self, *, drop_bad_rows: bool = False) -> None:
        """Raise DataError unless the set can be used; bad rows may be left out when that was asked for."""
        hopeless = not self.good or any(problem.line is None for problem in self.problems)
        if self.problems and (hopeless or not drop_bad_rows):
            raise DataError(self.problems)
