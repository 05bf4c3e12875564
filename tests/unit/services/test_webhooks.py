"""Signatures, as the reference library of Standard Webhooks reads them."""

import json
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from runyard.services import webhooks

BODY = json.dumps({"type": "job.failed", "data": {"name": "Bestellungen für März"}}, ensure_ascii=False).encode()


def test_the_example_of_the_specification() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    found = webhooks.signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_reference_library_takes_it_and_refuses_what_was_changed() -> None:
    secret = webhooks.new_secret(bytes(range(32)))
    found = webhooks.headers([secret], "msg1", int(time.time()), BODY)
    assert Webhook(secret).verify(BODY, found)["type"] == "job.failed"
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY + b" ", found)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY, found | {"webhook-id": "msg2"})
    with pytest.raises(WebhookVerificationError):
        Webhook(webhooks.new_secret(bytes(32))).verify(BODY, found)


def test_while_a_secret_is_changed_both_are_good() -> None:
    old, new = webhooks.new_secret(b"o" * 32), webhooks.new_secret(b"n" * 32)
    found = webhooks.headers([new, old], "msg1", int(time.time()), BODY)
    for secret in (old, new):
        Webhook(secret).verify(BODY, found)
