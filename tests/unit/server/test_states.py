"""No state and no failure without words."""

from runyard.domain.lifecycle import State
from runyard.domain.reasons import Reason
from runyard.protocol.specs import SPEC_CLASSES
from runyard.server.web import states


def test_every_state_failure_and_kind_has_words() -> None:
    assert all(states.word(state) for state in State)
    assert set(states.CAUSES) == set(Reason)
    assert set(SPEC_CLASSES) <= set(states.KINDS)
    assert states.cause("from a later version") == states.cause(None) == "an unknown cause"
