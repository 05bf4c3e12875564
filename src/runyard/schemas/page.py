"""One page of a list."""

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """`next_cursor` is null on the last page; pass it as `cursor` for the next."""

    model_config = ConfigDict(from_attributes=True)

    items: list[Item]
    next_cursor: str | None = None
