"""Tokens (JWT, RFC 7519) of an outside issuer: PyJWT's only home.

Which algorithms and whose keys are good is settled here, by the settings alone: nothing that the token says of itself
is taken for it, but the id of one of the issuer's own keys.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import jwt
from jwt import PyJWK, PyJWKSet
from jwt.exceptions import PyJWTError

from runyard.domain.errors import NotSignedInError

LEEWAY_SECONDS = 30
KEPT_SECONDS = 600.0
PAUSE_SECONDS = 30.0
"""Between two looks for a key that the issuer did not have a moment ago."""
LONGEST = 8192
REQUIRED = ("exp", "iss", "aud", "sub")

Fetch = Callable[[str], Awaitable[bytes]]


@dataclass(frozen=True)
class Issuer:
    """Whose tokens are good. Either `jwks_url`, or `key`: a public key in PEM, or for HS256 and its kin the secret."""

    name: str
    audience: str
    algorithms: tuple[str, ...]
    jwks_url: str | None = None
    key: str | None = None


def is_token(text: str) -> bool:
    return text.count(".") == 2 and len(text) <= LONGEST


class Tokens:
    def __init__(self, issuer: Issuer, fetch: Fetch, clock: Callable[[], float]) -> None:
        """`fetch` gets what is at the address of the issuer's keys; it raises OSError."""
        self._issuer, self._fetch, self._clock = issuer, fetch, clock
        self._keys: dict[str, PyJWK] = {}
        self._fetched = float("-inf")
        self._turn = asyncio.Lock()

    async def subject(self, token: str) -> tuple[str, float]:
        """Whose token it is, and until when. Raises NotSignedInError for one that is not good."""
        issuer = self._issuer
        try:
            key = issuer.key if issuer.key is not None else await self._key(token)
            claims = jwt.decode(
                token,
                key,
                algorithms=list(issuer.algorithms),
                audience=issuer.audience,
                issuer=issuer.name,
                leeway=LEEWAY_SECONDS,
                options={"require": list(REQUIRED), "verify_iat": True, "verify_nbf": True},
            )
        except (PyJWTError, ValueError) as error:
            raise NotSignedInError(f"the token is not good: {error}", hint="get a new one from its issuer") from None
        return _text(claims["sub"]), float(claims["exp"]) + LEEWAY_SECONDS

    async def _key(self, token: str) -> PyJWK:
        kid = jwt.get_unverified_header(token).get("kid")
        if not isinstance(kid, str):
            raise ValueError("it does not say which key of its issuer signed it")
        # Who knows the key already need not wait for those who are fetching.
        if self._is_due(kid) and not (kid in self._keys and self._turn.locked()):
            async with self._turn:
                if self._is_due(kid):
                    await self._renew()
        if kid not in self._keys:
            raise ValueError("its issuer has no such key")
        return self._keys[kid]

    def _is_due(self, kid: str) -> bool:
        age = self._clock() - self._fetched
        return age > KEPT_SECONDS or (kid not in self._keys and age > PAUSE_SECONDS)

    async def _renew(self) -> None:
        """An issuer that can't be reached has the keys that it had."""
        assert self._issuer.jwks_url is not None, "there is a key or an address of keys"
        with suppress(OSError, ValueError, PyJWTError):
            found = json.loads(await self._fetch(self._issuer.jwks_url))
            keys = PyJWKSet.from_dict(found).keys
            self._keys = {key.key_id: key for key in keys if key.key_id and _may_sign(key, self._issuer)}
        self._fetched = self._clock()


def _may_sign(key: PyJWK, issuer: Issuer) -> bool:
    return key.public_key_use in (None, "sig") and key.algorithm_name in issuer.algorithms


def _text(claim: Any) -> str:
    if not isinstance(claim, str) or not claim:
        raise NotSignedInError("the token is not good: it does not say for whom it is")
    return claim
