"""Signed webhooks in the form of Standard Webhooks: https://www.standardwebhooks.com."""

import asyncio
import hashlib
import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from typing import Any

from runyard.domain.notices import Outcome
from runyard.services.outbound import Outbound, OutboundError

PREFIX = "whsec_"
SECRET_BYTES = 32
SECONDS = 20.0
GONE = 410


def new_secret(random: bytes) -> str:
    return PREFIX + b64encode(random).decode()


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """`v1,` and the HMAC-SHA256 of id, time and body, in base64."""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    key = b64decode(secret.removeprefix(PREFIX))
    return "v1," + b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def headers(secrets: Iterable[str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """While a secret is being changed, there is one signature for the old and one for the new."""
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signature(secret, message_id, timestamp, body) for secret in secrets),
    }


async def send(
    outbound: Outbound, url: str, secrets: Iterable[str], message_id: str, body: Mapping[str, Any], at: float
) -> Outcome:
    """Never raises. A redirect is not followed: what is signed for one is sent to no other."""
    content = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    try:
        async with asyncio.timeout(SECONDS):
            answer = await outbound.post(url, content, headers(secrets, message_id, int(at), content))
    except TimeoutError:
        return Outcome(delivered=False, error=f"did not answer within {SECONDS:.0f} seconds")
    except OutboundError as error:
        return Outcome(delivered=False, error=str(error))
    if 200 <= answer.code < 300:
        return Outcome(delivered=True, code=answer.code)
    why = "the answer is a redirect, which is not followed: name the address that it leads to"
    error_text = why if 300 <= answer.code < 400 else f"the answer is {answer.code}"
    return Outcome(
        delivered=False,
        code=answer.code,
        error=error_text,
        retry_after=answer.retry_after,
        gone=answer.code == GONE,
    )
