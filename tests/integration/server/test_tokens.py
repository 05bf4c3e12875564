"""Tokens of an outside issuer: good ones are their account's, and no other gets anybody in."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from runyard.domain.access import LOCAL, Role
from runyard.domain.errors import NotSignedInError
from runyard.server.deps import Yard
from runyard.services import accounts, tokens
from runyard.services.tokens import Issuer, Tokens

NAME, AUDIENCE, SUBJECT = "https://issuer.example", "runyard", "user-4711"
JWKS_URL = "https://issuer.example/keys"


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """One for each name."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def public_pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    all_ = {"iss": NAME, "aud": AUDIENCE, "sub": SUBJECT, "iat": now, "exp": now + 600, **changes}
    return {name: value for name, value in all_.items() if value is not None}


def signed(key: Any = None, algorithm: str = "RS256", kid: str | None = "first", **changes: Any) -> str:
    headers = {"kid": kid} if kid is not None else {}
    return jwt.encode(claims(**changes), key or rsa_key("first"), algorithm, headers=headers)


def by_hand(header: dict[str, Any], body: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    """A token as no library would make it."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, body)]
    signature = base64.urlsafe_b64encode(sign(b".".join(parts))).rstrip(b"=")
    return b".".join([*parts, signature]).decode()


def nothing(_: bytes) -> bytes:
    return b""


def with_public_key(content: bytes) -> bytes:
    """As a shared secret, which everybody knows (CVE-2022-29217)."""
    return hmac.new(public_pem(rsa_key("first")), content, hashlib.sha256).digest()


class Keys:
    """The issuer's keys, and how often they were asked for."""

    def __init__(self) -> None:
        self.known: list[str] = ["first"]
        self.asked = 0
        self.is_down = False

    async def fetch(self, url: str) -> bytes:
        assert url == JWKS_URL
        self.asked += 1
        if self.is_down:
            raise OSError("no answer")
        found = [
            {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key(name).public_key())), "kid": name, "use": "sig",
             "alg": "RS256"}
            for name in self.known
        ]  # fmt: skip
        secret = {"kty": "oct", "kid": "shared", "alg": "HS256", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"}
        return json.dumps({"keys": [*found, secret, {"kty": "nonsense", "kid": "odd"}]}).encode()


@pytest.fixture
def issuer_keys() -> Keys:
    return Keys()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def checked(issuer_keys: Keys, clock: Clock) -> Tokens:
    return Tokens(Issuer(NAME, AUDIENCE, ("RS256",), jwks_url=JWKS_URL), issuer_keys.fetch, clock)


async def test_a_good_one_says_whose_it_is_and_until_when(checked: Tokens) -> None:
    expires = int(time.time()) + 100
    assert await checked.subject(signed(exp=expires)) == (SUBJECT, expires + tokens.LEEWAY_SECONDS)


def bad_tokens() -> Iterator[tuple[str, str]]:
    now = int(time.time())
    none = {"typ": "JWT", "kid": "first"}
    for name in ("none", "None", "nOnE", "NONE", ""):
        yield f"alg {name}", by_hand({"alg": name, **none}, claims(), nothing)
    yield "public key as secret", by_hand({"alg": "HS256", **none}, claims(), with_public_key)
    yield "public key as secret, said to be RS256", by_hand({"alg": "RS256", **none}, claims(), with_public_key)
    yield "the issuer's shared secret", signed(b"secret-secret-secret-secret-secret", "HS256", "shared")
    yield "another algorithm of the same key", signed(algorithm="RS512")
    yield "another algorithm, another key", signed(ec_key("x"), "ES256")
    yield "another key under a known id", signed(rsa_key("other"))
    yield "unknown id of a key", signed(kid="unknown")
    yield "no id of a key", signed(kid=None)
    yield "an id that is a path", signed(kid="../../../../dev/null")
    yield "an id that is a statement", signed(kid="x' UNION SELECT 'secret")
    yield "a key brought along", jwt.encode(
        claims(), rsa_key("other"), "RS256",
        headers={"kid": "other", "jwk": json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key("other").public_key()))},
    )  # fmt: skip
    yield (
        "an address of keys brought along",
        jwt.encode(claims(), rsa_key("other"), "RS256", headers={"kid": "other", "jku": "https://evil.example/keys"}),
    )
    yield "for others", signed(aud="something else")
    yield "for nobody", signed(aud=None)
    yield "of another issuer", signed(iss="https://evil.example")
    yield "of nobody", signed(iss=None)
    yield "expired", signed(exp=now - 60)
    yield "without an end", signed(exp=None)
    yield "an end that is no time", signed(exp="tomorrow")
    yield "not good yet", signed(nbf=now + 600)
    yield "made in the future", signed(iat=now + 600)
    yield "about nobody", signed(sub=None)
    yield "about a number", by_hand({"alg": "RS256", **none}, claims(sub=7), nothing)
    good = signed()
    yield "signature cut off", good.rpartition(".")[0] + "."
    yield "signature of another", good.rpartition(".")[0] + "." + signed(sub="x").rpartition(".")[2]
    yield "changed content", ".".join([good.split(".")[0], signed(sub="admin").split(".")[1], good.split(".")[2]])
    yield (
        "critical extension",
        jwt.encode(claims(), rsa_key("first"), "RS256", headers={"kid": "first", "crit": ["x"], "x": 1}),
    )
    yield "no token", "a.b.c"
    yield "nothing in it", ".."


@pytest.mark.parametrize("what", [what for what, _ in bad_tokens()])
async def test_no_other_is_good(checked: Tokens, what: str) -> None:
    token = dict(bad_tokens())[what]  # made now: what is wrong with some is a time
    with pytest.raises(NotSignedInError):
        await checked.subject(token)


async def test_keys_are_fetched_seldom_and_new_ones_are_found(checked: Tokens, issuer_keys: Keys, clock: Clock) -> None:
    for _ in range(5):
        await checked.subject(signed())
    assert issuer_keys.asked == 1
    issuer_keys.known = ["second"]
    new = signed(rsa_key("second"), kid="second")
    for _ in range(5):
        with pytest.raises(NotSignedInError):
            await checked.subject(new)
    assert issuer_keys.asked == 1, "whoever makes up ids of keys does not make us ask for them"
    clock.now += tokens.PAUSE_SECONDS + 1
    await checked.subject(new)
    with pytest.raises(NotSignedInError):
        await checked.subject(signed())
    assert issuer_keys.asked == 2, "the old key is gone with the issuer's word"


async def test_an_issuer_that_is_down_has_the_keys_that_it_had(
    checked: Tokens, issuer_keys: Keys, clock: Clock
) -> None:
    await checked.subject(signed())
    issuer_keys.is_down = True
    clock.now += tokens.KEPT_SECONDS + 1
    await checked.subject(signed())
    assert issuer_keys.asked == 2


async def test_a_key_in_a_file_is_good_as_well() -> None:
    async def never(_: str) -> bytes:
        raise AssertionError("there is nothing to fetch")

    pem = public_pem(rsa_key("first")).decode()
    checked = Tokens(Issuer(NAME, AUDIENCE, ("RS256",), key=pem), never, time.monotonic)
    assert (await checked.subject(signed()))[0] == SUBJECT
    for bad in (by_hand({"alg": "HS256"}, claims(), with_public_key), signed(rsa_key("other"))):
        with pytest.raises(NotSignedInError):
            await checked.subject(bad)
    secret = "a shared secret of enough characters for it"
    shared = Tokens(Issuer(NAME, AUDIENCE, ("HS256",), key=secret), never, time.monotonic)
    assert (await shared.subject(signed(secret, "HS256", None)))[0] == SUBJECT
    with pytest.raises(NotSignedInError):
        await shared.subject(signed())


@pytest.fixture
async def account(yard: Yard, checked: Tokens) -> str:
    """Who the token is about."""
    yard.gate.tokens = checked
    async with yard.database.write() as session:
        await accounts.create(session, LOCAL, "first", "main", accounts.Asked(), time.time())
        asked = accounts.Asked(role=Role.MEMBER, subject=SUBJECT)
        await accounts.create(session, LOCAL, "ina", "main", asked, time.time())
    yard.gate.forget()
    return "ina"


async def test_a_token_signs_its_account_in(api: Any, yard: Yard, account: str) -> None:
    headers = {"Authorization": f"Bearer {signed()}"}
    found = (await api.get("/api/v1/session", headers=headers)).json()
    assert (found["user"], found["role"], found["via"]) == (account, "member", "token")
    assert (await api.post("/api/v1/users", json={"name": "x"}, headers=headers)).status_code == 403
    other = {"Authorization": f"Bearer {signed(sub='somebody else')}"}
    refused = await api.get("/api/v1/session", headers=other)
    assert refused.status_code == 401
    assert "--subject" in refused.json()["hint"]
    for what, token in bad_tokens():
        answer = await api.get("/api/v1/session", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401, what
    async with yard.database.write() as session:
        await accounts.change(session, LOCAL, account, accounts.Asked(enabled=False))
    yard.gate.forget()
    assert (await api.get("/api/v1/session", headers=headers)).status_code == 401, "the account was disabled"
