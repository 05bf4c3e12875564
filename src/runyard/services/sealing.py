"""What is kept so that only this installation can read it again: cryptography's only home.

AES-256-GCM under a key that is derived from the installation's own. Each sealed text is bound to its place, such as a
tenant and a name: taken to another, it can't be opened.
"""

import json
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

VERSION = b"\x01"
KEY_BYTES, MARK_BYTES, NONCE_BYTES = 32, 4, 12
"""The mark tells with which key a text was sealed."""
HEAD_BYTES = len(VERSION) + MARK_BYTES


class SealError(Exception):
    """The message says why a sealed text can't be opened."""


def seal(private_key: bytes, text: str, *place: str) -> bytes:
    """Version, mark of the key, nonce, and the encrypted text with its tag."""
    nonce = os.urandom(NONCE_BYTES)
    return _head(private_key) + nonce + _cipher(private_key).encrypt(nonce, text.encode(), _bound_to(place))


def unseal(private_key: bytes, sealed: bytes, *place: str) -> str:
    """Raises SealError."""
    if not sealed.startswith(VERSION):
        raise SealError("it is in a form that this version doesn't know")
    if sealed[:HEAD_BYTES] != _head(private_key):
        raise SealError("it was sealed with another key than that in secret.key of the data folder")
    nonce, encrypted = sealed[HEAD_BYTES:][:NONCE_BYTES], sealed[HEAD_BYTES + NONCE_BYTES :]
    try:
        return _cipher(private_key).decrypt(nonce, encrypted, _bound_to(place)).decode()
    except (InvalidTag, ValueError):
        raise SealError("it was changed, or was sealed for another place") from None


def _head(private_key: bytes) -> bytes:
    return VERSION + _derived(private_key, b"runyard mark of sealed texts", MARK_BYTES)


def _cipher(private_key: bytes) -> AESGCM:
    return AESGCM(_derived(private_key, b"runyard sealed texts", KEY_BYTES))


def _derived(private_key: bytes, purpose: bytes, length: int) -> bytes:
    if len(private_key) < KEY_BYTES:
        raise SealError("the key in secret.key of the data folder is too short")
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=purpose).derive(private_key)


def _bound_to(place: tuple[str, ...]) -> bytes:
    return json.dumps(place).encode()
