"""From where a server can be reached, under which names, by https, and through a proxy."""

import asyncio
import datetime
import ipaddress
import json
import os
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.integration.server.people import PASSWORD, quickly_hashed
from tests.integration.server.test_serve import serving

from runyard.db.database import Database
from runyard.domain.access import LOCAL, Role
from runyard.server import instance
from runyard.server.instance import make_private
from runyard.services import accounts

SIGN_IN = {"name": "ada", "password": PASSWORD}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data folder with one account."""
    folder = tmp_path / "home"
    make_private(folder)
    asyncio.run(make_account(folder))
    return folder


async def make_account(folder: Path) -> None:
    database = Database(f"sqlite:///{folder / 'runyard.db'}")
    await database.migrate()
    asked = accounts.Asked(role=Role.ADMIN, operator=True, password=quickly_hashed(PASSWORD))
    async with database.write() as session:
        await accounts.create(session, LOCAL, "ada", "main", asked, time.time())
    await database.close()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """For this machine, signed by itself; and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, private = tmp_path / "cert.pem", tmp_path / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, private


@contextmanager
def reached(url: str, **options: object) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=30, trust_env=False, **options) as client:  # type: ignore[arg-type]
        yield client


def test_where_others_can_reach_it_everybody_has_to_sign_in(home: Path) -> None:
    with serving(home, "--host", "0.0.0.0") as (process, url), reached(url) as client:
        assert process.stdout is not None
        assert "in the open" in process.stdout.readline()
        assert client.get("/api/v1/jobs").status_code == 401
        assert client.get("/health").status_code == 200
        port = url.rpartition(":")[2]
        for host, status in (
            *((f"127.0.0.1:{port}", 401), (f"192.168.7.7:{port}", 401), ("[::1]", 401), (socket.gethostname(), 401)),
            *((f"evil.example:{port}", 403), ("", 400), ("127.0.0.1.evil.example", 403), ("evil.example", 403)),
        ):
            answer = client.get("/api/v1/jobs", headers={"Host": host})
            assert answer.status_code in (status, 403 if status == 400 else status), host
        assert client.post("/api/v1/session", json=SIGN_IN).status_code == 200


def test_accounts_are_asked_for_on_loopback_too_once_there_are_any(home: Path) -> None:
    with serving(home) as (_, url), reached(url) as client:
        assert client.get("/api/v1/jobs").status_code == 401


def test_a_name_has_to_be_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNYARD_HOSTS", "yard.example, other.example")
    with serving(home) as (_, url), reached(url) as client:
        assert client.get("/api/v1/jobs", headers={"Host": "yard.example"}).status_code == 401
        assert client.get("/api/v1/jobs", headers={"Host": "third.example"}).status_code == 403
        assert client.get("/api/v1/jobs", headers={"Host": "192.168.7.7"}).status_code == 403, "loopback alone"


def test_by_https_nothing_goes_over_the_line_in_the_open(
    home: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, private = certificate
    monkeypatch.setenv("RUNYARD_TLS_CERT", str(chain))
    monkeypatch.setenv("RUNYARD_TLS_KEY", str(private))
    with serving(home) as (_, url):
        assert url.startswith("https://")
        assert json.loads((home / "server.json").read_bytes())["url"] == url
        with reached(url, verify=ssl.create_default_context(cafile=str(chain))) as client:
            answer = client.post("/api/v1/session", json=SIGN_IN)
            assert answer.status_code == 200
            assert "__Host-runyard_session" in client.cookies
            assert client.get("/api/v1/session").json()["user"] == "ada"
        with reached(url.replace("https", "http")) as client, pytest.raises(httpx.TransportError):
            client.get("/health")


def test_a_proxy_is_believed_only_where_it_was_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
    for proxies, address, cookie in (("", "127.0.0.1", "runyard_session"), ("127.0.0.1", "203.0.113.9", "__Host-")):
        monkeypatch.setenv("RUNYARD_TRUSTED_PROXIES", proxies)
        with serving(home) as (_, url), reached(url) as client:
            answer = client.post("/api/v1/session", json=SIGN_IN, headers=told)
            assert answer.status_code == 200
            assert answer.headers["set-cookie"].startswith(cookie)
            name = "__Host-runyard_session" if proxies else "runyard_session"
            headers = {**told, "Cookie": f"{name}={answer.cookies[name]}"}
            last = client.get("/api/v1/audit?limit=1", headers=headers).json()["items"][0]
            assert (last["action"], last["address"]) == ("sign_in", address)


@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_the_secret_of_the_installation_is_made_once_and_for_the_owner_alone(home: Path, umask: int) -> None:
    with serving(home):
        first = (home / "secret.key").read_bytes()
    assert (len(first), (home / "secret.key").stat().st_mode & 0o777) == (32, 0o600)
    with serving(home):
        assert (home / "secret.key").read_bytes() == first
    assert not list(home.glob(".secret.key.*"))


def test_of_two_that_make_the_secret_at_once_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may have the same number of process, each in a container of its own."""
    path, link = tmp_path / "secret.key", os.link

    def meanwhile(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        instance.write_once(path, b"of the second")
        link(source, target)

    monkeypatch.setattr(os, "link", meanwhile)
    with pytest.raises(FileExistsError):
        instance.write_once(path, b"of the first")
    assert path.read_bytes() == b"of the second"
    assert list(tmp_path.iterdir()) == [path]
