"""Training data: read row by row from files and the hub, checked, brought into one form per shape."""

from runyard.data.errors import DataError, RowError

__all__ = ["DataError", "RowError"]
