"""Rows of like length side by side, so that batches need little padding."""

import random
from collections.abc import Sequence

BATCHES_TOGETHER = 64
"""Rows are sorted within so many batches at a time: a random part of a large set, never all of it."""
JITTER = 0.1
"""Lengths are blurred by up to this share before sorting, so that small sets too are mixed anew every epoch."""


def order(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[int]:
    """Every row's index once; follows from the arguments alone, which a resumed run relies on.

    Batches come in random order, but the one with the longest row first: memory that runs out does so at once.
    """
    rng = random.Random(seed * 1_000_003 + epoch)
    rows = list(range(len(lengths)))
    rng.shuffle(rows)
    whole = len(rows) - len(rows) % batch_size
    batches: list[list[int]] = []
    size = BATCHES_TOGETHER * batch_size
    for start in range(0, whole, size):
        part = rows[start : min(start + size, whole)]
        blurred = {row: lengths[row] * rng.uniform(1 - JITTER, 1 + JITTER) for row in part}
        part.sort(key=blurred.__getitem__)
        batches += [part[at : at + batch_size] for at in range(0, len(part), batch_size)]
    rng.shuffle(batches)
    longest = max(batches, key=lambda batch: max(lengths[row] for row in batch), default=None)
    batches.sort(key=lambda batch: batch is not longest)
    return [row for batch in batches for row in batch] + rows[whole:]
