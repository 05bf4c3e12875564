"""What the environment may say."""

from pathlib import Path
from typing import Any

import pytest

from runyard.settings import Settings, SettingsError


def test_the_defaults_need_nothing() -> None:
    settings = Settings.from_environment({})
    assert settings.home == Path.home() / ".runyard"
    assert settings.database == f"sqlite:///{settings.home}/runyard.db"
    assert (settings.host, settings.port, settings.max_waiting) == ("127.0.0.1", 8000, 10)


def test_the_environment_and_options_that_win_over_it() -> None:
    environment = {
        "RUNYARD_HOME": "relative",
        "RUNYARD_PORT": "9000",
        "RUNYARD_SLOTS": " ",
        "RUNYARD_ALLOWED_PATHS": "/data:~/models:",
        "RUNYARD_UPLOAD_LIMIT": "500MB",
        "RUNYARD_MIN_FREE": "2GiB",
        "RUNYARD_DATABASE_URL": "postgresql://somewhere/runyard",
        "RUNYARD_URL": "http://127.0.0.1:1",
    }
    settings = Settings.from_environment(environment, port=7000, host=None)
    assert settings.home == Path.cwd() / "relative"
    assert settings.port == 7000
    assert settings.slots == 1
    assert settings.allowed_paths == (Path("/data"), Path.home() / "models")
    assert (settings.upload_limit, settings.min_free) == (500_000_000, 2 << 30)
    assert settings.database == "postgresql://somewhere/runyard"


ISSUER = {"RUNYARD_JWT_ISSUER": "i", "RUNYARD_JWT_AUDIENCE": "a", "RUNYARD_JWT_JWKS_URL": "https://i.example/keys"}
ISSUER_WITH_KEY = {**ISSUER, "RUNYARD_JWT_JWKS_URL": "", "RUNYARD_JWT_KEY": __file__}


@pytest.mark.parametrize(
    ("environment", "beginning", "part"),
    [
        ({"RUNYARD_PORT": "http"}, "RUNYARD_PORT: ", "'http'"),
        ({"RUNYARD_PORT": "70000"}, "RUNYARD_PORT: ", "65535"),
        ({"RUNYARD_SLOTS": "0"}, "RUNYARD_SLOTS: ", "1"),
        ({"RUNYARD_GPUS": "2"}, "RUNYARD_GPUS: ", "0:24GB,1:24GB"),
        ({"RUNYARD_GPUS": "0:24GB,0:24GB"}, "RUNYARD_GPUS: ", "number and memory"),
        ({"RUNYARD_GPUS": "0:much"}, "RUNYARD_GPUS", ""),
        ({"RUNYARD_GPUS": "-1:24GB"}, "RUNYARD_GPUS", "greater than or equal to 0"),
        ({"RUNYARD_TENANT_USERS": "runyard-ml"}, "RUNYARD_TENANT_USERS: ", "ml=runyard-ml"),
        ({"RUNYARD_TENANT_USERS": "ml=a,ml=b"}, "RUNYARD_TENANT_USERS: ", "ml=runyard-ml"),
        ({"RUNYARD_UPLOAD_LIMIT": "much"}, "RUNYARD_UPLOAD_LIMIT: ", ""),
        ({"RUNYARD_TLS_CERT": "/no/such/file"}, "RUNYARD_TLS_CERT: ", "no file"),
        ({"RUNYARD_TLS_CERT": __file__}, "RUNYARD_TLS_CERT and RUNYARD_TLS_KEY", "belong together"),
        ({"RUNYARD_JWT_ISSUER": "x"}, "RUNYARD_JWT_ISSUER", "RUNYARD_JWT_AUDIENCE"),
        ({**ISSUER, "RUNYARD_JWT_ALGORITHMS": "none"}, "RUNYARD_JWT_ALGORITHMS", "RS256"),
        ({**ISSUER, "RUNYARD_JWT_ALGORITHMS": ","}, "RUNYARD_JWT_ALGORITHMS", "RS256"),
        ({**ISSUER, "RUNYARD_JWT_ALGORITHMS": "HS256"}, "HS256", "shared secret"),
        ({**ISSUER, "RUNYARD_JWT_KEY": __file__}, "RUNYARD_JWT_ISSUER", "one of"),
        ({**ISSUER_WITH_KEY, "RUNYARD_JWT_ALGORITHMS": "RS256,HS256"}, "HS256", "whoever has the public key"),
    ],
)
def test_a_setting_that_is_wrong_is_named(environment: dict[str, str], beginning: str, part: str) -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_environment(environment)
    assert str(error.value).startswith(beginning)
    assert part in str(error.value)


def test_every_wrong_setting_is_named() -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_environment({"RUNYARD_PORT": "x", "RUNYARD_SLOTS": "y"})
    assert len(str(error.value).splitlines()) == 2


def test_settings_are_for_reading() -> None:
    settings: Any = Settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", None), ("none", []), ("0:24GB", [(0, 24_000_000_000)]),
        (" 0:24GiB, 3:500MB ", [(0, 24 << 30), (3, 500_000_000)]),
    ],
)  # fmt: skip
def test_gpus_can_be_declared(value: str, expected: list[tuple[int, int]] | None) -> None:
    found = Settings.from_environment({"RUNYARD_GPUS": value}).gpus
    assert (None if found is None else [(gpu.index, gpu.memory) for gpu in found]) == expected


def test_days_to_keep_and_the_size_of_the_cache_can_be_set() -> None:
    environment = {"RUNYARD_KEEP_COMPLETED_DAYS": "0", "RUNYARD_KEEP_LOGS_DAYS": "0.5", "RUNYARD_CACHE_LIMIT": "5GB"}
    settings = Settings.from_environment(environment)
    assert (settings.keep_completed_days, settings.keep_failed_days, settings.keep_logs_days) == (0, 30, 0.5)
    assert settings.cache_limit == 5_000_000_000
    with pytest.raises(SettingsError, match="RUNYARD_KEEP_LOGS_DAYS"):
        Settings.from_environment({"RUNYARD_KEEP_LOGS_DAYS": "-1"})
