"""Keys of an outside issuer, fetched once however many ask."""

import asyncio
import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm

from runyard.services.tokens import KEPT_SECONDS, Issuer, Tokens

ISSUER = Issuer("https://issuer.example", "runyard", ("RS256",), jwks_url="https://issuer.example/keys")
NEVER = 2_000_000_000_000


class Keys:
    """What the issuer tells, once `open` is set."""

    def __init__(self) -> None:
        self.private: RSAPrivateKey = generate_private_key(65537, 2048)
        self.open = asyncio.Event()
        self.asked = 0

    async def fetch(self, _: str) -> bytes:
        self.asked += 1
        await self.open.wait()
        key = json.loads(RSAAlgorithm.to_jwk(self.private.public_key())) | {"kid": "one", "alg": "RS256"}
        return json.dumps({"keys": [key]}).encode()

    def token(self) -> str:
        claims = {"iss": ISSUER.name, "aud": ISSUER.audience, "sub": "ada", "exp": NEVER}
        return jwt.encode(claims, self.private, "RS256", headers={"kid": "one"})


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_all_who_ask_while_keys_are_fetched_wait_for_them() -> None:
    keys, now = Keys(), 1000.0
    tokens = Tokens(ISSUER, keys.fetch, lambda: now)
    asking = [asyncio.create_task(tokens.subject(keys.token())) for _ in range(4)]
    await turns()
    keys.open.set()
    assert {subject for subject, _ in await asyncio.gather(*asking)} == {"ada"}
    assert keys.asked == 1


async def test_one_who_goes_away_while_keys_are_fetched_locks_nobody_out() -> None:
    keys, now = Keys(), 1000.0
    tokens = Tokens(ISSUER, keys.fetch, lambda: now)
    gone = asyncio.create_task(tokens.subject(keys.token()))
    await turns()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    keys.open.set()
    assert (await tokens.subject(keys.token()))[0] == "ada"


async def test_a_known_key_is_good_while_another_asks_for_newer_ones() -> None:
    keys, now = Keys(), 1000.0
    tokens = Tokens(ISSUER, keys.fetch, lambda: now)
    keys.open.set()
    await tokens.subject(keys.token())
    keys.open.clear()
    now += KEPT_SECONDS + 1
    fetching = asyncio.create_task(tokens.subject(keys.token()))
    await turns()
    assert (await tokens.subject(keys.token()))[0] == "ada"
    keys.open.set()
    await fetching
    assert keys.asked == 2
