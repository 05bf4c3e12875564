"""What is typed about people and quotas, and words that two floors have to share."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import get_args

import pytest
import typer

from runyard.cli import audit, options, passwords, quotas, users
from runyard.domain.access import Role, Scope
from runyard.schemas.people import KeyMade, KeyRead
from runyard.sdk import credentials
from runyard.services import passwords as of_the_server


def test_what_can_be_typed_is_what_the_server_knows() -> None:
    """The command line starts too fast to look it up."""
    assert get_args(users.Role) == tuple(Role)
    assert get_args(get_args(options.Scope)[0]) == tuple(Scope)
    assert (passwords.SHORTEST, passwords.LONGEST) == (of_the_server.SHORTEST, of_the_server.LONGEST)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("waiting=20", ("waiting", 20)),
        (" gpu_hours = 1.5", ("gpu_hours", 1.5)),
        ("stored_bytes=50GB", ("stored_bytes", 50e9)),
        ("stored_bytes=1GiB", ("stored_bytes", 2**30)),
        ("stored_bytes=0", ("stored_bytes", 0)),
        ("money=None", ("money", None)),
    ],
)
def test_amounts(text: str, expected: tuple[str, float | None]) -> None:
    assert quotas._parse(text) == expected


@pytest.mark.parametrize("text", ["waiting=1GB", "stored_bytes=much", "gpus=1e999", "gpus=-0.1", "gpus", "=1", "gpu=1"])
def test_no_amounts(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        quotas._parse(text)


def test_times_are_local_or_ago() -> None:
    assert audit._moment("2026-12-01T02:00") == datetime(2026, 12, 1, 2).timestamp()  # noqa: DTZ001
    assert audit._moment("2026-12-01T02:00Z") == audit._moment("2026-12-01T03:00+01:00")
    assert time.time() - audit._moment("7d") == pytest.approx(7 * 86400, abs=5)
    for text in ("yesterday", "", "7", "7y", "2026-13-01", "0001-01-01"):
        with pytest.raises(typer.BadParameter):
            audit._moment(text)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"HOME": "/home/a"}, "/home/a/.config/runyard/credentials.json"),
        ({"HOME": "/home/a", "XDG_CONFIG_HOME": "/x"}, "/x/runyard/credentials.json"),
        ({"HOME": "/home/a", "XDG_CONFIG_HOME": "not/absolute"}, "/home/a/.config/runyard/credentials.json"),
        ({"HOME": "/home/a", "XDG_CONFIG_HOME": ""}, "/home/a/.config/runyard/credentials.json"),
    ],
)
def test_where_keys_are_kept(environment: Mapping[str, str], expected: str) -> None:
    assert str(credentials.path(environment)) == expected


@pytest.mark.parametrize("url", ["http://Yard:80/", "HTTP://yard", "http://yard/?a=b#c", " http://yard "])
def test_one_server_has_one_address(url: str) -> None:
    assert credentials.address(url) == "http://yard"


@pytest.mark.parametrize("url", ["https://yard", "http://yard:8000", "http://yard.org", "http://yard/below"])
def test_others_have_others(url: str) -> None:
    assert credentials.address(url) != "http://yard"


def test_a_key_is_not_shown_by_accident() -> None:
    assert "ry_secret" not in repr(credentials.Kept(key="ry_secret", user="anna"))
    assert set(KeyMade.model_fields) - set(KeyRead.model_fields) == {"key"}
