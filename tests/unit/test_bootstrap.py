"""What runs beside the server is not lost in silence."""

import asyncio

import pytest

from runyard import bootstrap


async def test_what_dies_beside_the_server_is_told_of_when_it_dies(caplog: pytest.LogCaptureFixture) -> None:
    ended = False

    async def dies() -> None:
        raise ZeroDivisionError("a mistake of ours")

    async def lives() -> None:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            ended = True

    async with bootstrap._beside(dies(), lives()):
        for _ in range(3):
            await asyncio.sleep(0)
        assert "dies" in caplog.text
        assert "a mistake of ours" in caplog.text
        assert not ended
    assert ended
    assert caplog.text.count("has crashed") == 1
