"""The order of rows when like lengths go together."""

import random

from hypothesis import given
from hypothesis import strategies as st

from runyard.trainers.language.grouping import order


@given(lengths=st.lists(st.integers(1, 500), max_size=400), batch=st.integers(1, 20), epoch=st.integers(0, 5))
def test_every_row_comes_once_and_always_in_the_same_order(lengths, batch, epoch):
    found = order(lengths, batch, 7, epoch)
    assert sorted(found) == list(range(len(lengths)))
    assert order(lengths, batch, 7, epoch) == found


def test_batches_need_little_padding():
    rng = random.Random(0)
    lengths = [int(rng.lognormvariate(4, 0.8)) + 1 for _ in range(1000)]
    assert padded(lengths, order(lengths, 8, 1, 0), 8) < 1.15 * sum(lengths)
    assert padded(lengths, range(1000), 8) > 1.7 * sum(lengths), "the same rows as they come"


def test_every_epoch_and_seed_mixes_anew():
    lengths = list(range(10, 50))
    orders = [order(lengths, 4, seed, epoch) for seed in (1, 2) for epoch in (0, 1)]
    batches = [{frozenset(found[at : at + 4]) for at in range(0, 40, 4)} for found in orders]
    assert all(one != other for at, one in enumerate(batches) for other in batches[:at])


def test_the_longest_row_comes_in_the_first_batch_that_is_whole():
    for seed in range(20):
        lengths = [10] * 99 + [500, 10]
        found = order(lengths, 4, seed, 0)
        assert 99 in found[:4] or 99 in found[-1:]


def padded(lengths, rows, batch):
    """Tokens with padding, when rows are cut into batches as they come."""
    rows = list(rows)
    parts = [rows[at : at + batch] for at in range(0, len(rows), batch)]
    return sum(len(part) * max(lengths[row] for row in part) for part in parts)
