"""How bad data is reported: a row at a time, or as a whole."""

from collections.abc import Sequence

from runyard.protocol.problems import Problem

SHOWN = 3


class RowError(ValueError):
    """One row can't be used. `field` is the place in the row, such as `messages[2].content`."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class DataError(ValueError):
    """A data set can't be used; `problems` say why, with file and line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        shown = [str(problem) for problem in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            shown.append(f"and {len(self.problems) - SHOWN} more problems")
        super().__init__("\n".join(shown))


def refuse(file: str, message: str) -> DataError:
    """The error for a source that can't be used as a whole."""
    return DataError([Problem(message=message, file=file)])
