from runyard.db.tables import Channel, Delivery
from runyard.domain.notices import Outcome
from runyard.services import deliveries

OLD, NEW = b"sealed: the old address", b"sealed: the new address"
GONE = Outcome(delivered=False, code=410, error="the answer is 410", gone=True)


def test_a_channel_that_nobody_listens_to_is_switched_off() -> None:
    channel, delivery = Channel(enabled=True, sealed=OLD), Delivery(tries=0)
    deliveries.note(delivery, channel, OLD, GONE, 100.0, 0.5)
    assert (channel.enabled, delivery.status, delivery.next_at) == (False, "failed", None)


def test_one_that_leads_somewhere_else_by_now_stays_on_and_is_tried_there() -> None:
    channel, delivery = Channel(enabled=True, sealed=NEW), Delivery(tries=0)
    deliveries.note(delivery, channel, OLD, GONE, 100.0, 0.5)
    assert (channel.enabled, delivery.status, delivery.tries) == (True, "pending", 1)
    assert delivery.next_at is not None
    assert delivery.next_at > 100
