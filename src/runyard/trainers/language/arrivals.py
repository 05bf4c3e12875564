"""Tells how much of a model has come from the hub while it is fetched: hours may pass in which nothing else moves."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

EVERY_SECONDS = 2.0


@contextmanager
def told(name: str, tell: Callable[[int], None]) -> Iterator[None]:
    """Call `tell`, from a thread of its own, with the kilobytes that are here of a model of the hub whenever there are
    more; never once the block is left."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=name, repo_type="model"), "blobs")
    left = threading.Event()

    def watch() -> None:
        before = _kilobytes(folder)
        while not left.wait(EVERY_SECONDS):
            if (here := _kilobytes(folder)) > before:
                before = here
                with suppress(OSError):  # as on a full disk: the next one tells, too
                    tell(here)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        left.set()
        watcher.join()


def _kilobytes(folder: Path) -> int:
    """Of files that are complete, and of those that are still coming."""
    size = 0
    with suppress(OSError):  # not there yet, or one was renamed while we looked
        for entry in os.scandir(folder):
            size += entry.stat().st_size
    return size >> 10
