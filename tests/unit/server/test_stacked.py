"""Blocks of a lane lie in rows so that none covers another."""

from hypothesis import given
from hypothesis import strategies as st

from runyard.domain.lifecycle import State
from runyard.server.web.shown import spark
from runyard.services.yard import Block, stacked

NOW = 1000.0
TIMES = st.floats(0, 2000)
BLOCKS = st.builds(
    Block,
    job_id=st.text("ab", min_size=1, max_size=6),
    name=st.just("x"),
    state=st.sampled_from([State.QUEUED, State.RUNNING, State.COMPLETED]),
    start=TIMES,
    end=st.none() | TIMES,
)


@given(st.lists(BLOCKS, max_size=12))
def test_no_two_blocks_of_a_row_overlap(blocks: list[Block]) -> None:
    placed, rows = stacked(blocks, NOW)
    assert len(placed) == len(blocks)
    assert all(0 <= block.row < rows for block in placed)
    for row in range(rows):
        ends = 0.0
        for block in (one for one in placed if one.row == row):
            assert block.start >= ends
            end = float("inf") if block.end is None else block.end
            ends = max(ends, end, NOW if block.state == State.RUNNING else 0.0)


def test_a_lane_without_overlap_has_one_row() -> None:
    placed, rows = stacked([Block("a", "a", State.COMPLETED, 0, 10), Block("b", "b", State.RUNNING, 10, None)], NOW)
    assert (rows, [block.row for block in placed]) == (1, [0, 0])


def test_a_curve_of_one_value_is_a_line_and_one_point_is_none() -> None:
    assert spark([(1, 2.0)], None) is None
    flat = spark([(1, 2.0), (2, 2.0)], None)
    assert flat is not None
    assert flat.path.startswith("M0.0 ")
    half = spark([(0, 1.0), (10, 0.0)], 0.5)
    assert half is not None
    assert (half.x, half.y) == ("44.0", "28.0")
