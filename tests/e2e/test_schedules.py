"""A schedule across a server that is killed: what it missed is made up for, once."""

import time
from datetime import UTC, datetime

from runyard.testing.live import LiveYard


def test_a_time_that_passes_while_the_server_is_dead_is_made_up_for_once(yard: LiveYard) -> None:
    moment = time.time() + 6
    job = {"kind": "script", "command": ["true"]}
    yard.client.schedule_job(job, at=datetime.fromtimestamp(moment, UTC).isoformat(), name="once")
    yard.kill()
    yard.wait_for(lambda: time.time() > moment, "the time to pass")
    yard.start()
    yard.wait_for(lambda: yard.client.schedule("once").last_job_id is not None, "the job that was missed")
    yard.kill()
    yard.start()
    [submitted] = yard.client.jobs().items
    assert yard.wait_for_end(submitted.id).state == "completed"
    assert (submitted.schedule_id, yard.client.schedule("once").next_at) == (yard.client.schedule("once").id, None)
    assert len(yard.client.jobs().items) == 1
