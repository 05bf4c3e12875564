"""How fast somebody may ask, and how long one waits after wrong passwords."""

from hypothesis import given
from hypothesis import strategies as st

from runyard.domain.throttle import MOST_KNOWN, Failures, Patience, Rates

NAME = Patience(free=5)
ADDRESS = Patience(free=50)


def test_a_burst_passes_and_then_a_steady_stream() -> None:
    rates = Rates(per_second=2, burst=10)
    assert [rates.take("a", 0.0) for _ in range(10)] == [0.0] * 10
    assert rates.take("a", 0.0) == 0.5, "the seconds until the next"
    assert rates.take("b", 0.0) == 0.0, "each has a bucket of its own"
    assert rates.take("a", 0.5) == 0.0
    assert rates.take("a", 0.5) > 0.0


@given(st.lists(st.floats(0, 3), max_size=60))
def test_nobody_gets_more_than_the_burst_and_the_rate(pauses: list[float]) -> None:
    rates, now, passed = Rates(per_second=2, burst=5), 0.0, 0
    for pause in pauses:
        now += pause
        passed += rates.take("a", now) == 0.0
    assert passed <= 5 + 2 * now + 1e-6


def test_a_clock_that_is_set_back_gives_nothing_away() -> None:
    rates = Rates(per_second=1, burst=1)
    assert rates.take("a", 100.0) == 0.0
    assert rates.take("a", 0.0) > 0.0


def test_those_not_heard_of_for_longest_are_forgotten() -> None:
    rates = Rates(per_second=0.001, burst=1)
    for number in range(MOST_KNOWN + 1):
        assert rates.take(number, 0.0) == 0.0
    assert rates.take(MOST_KNOWN, 0.0) > 0.0
    assert rates.take(0, 0.0) == 0.0


def attempt(failures: Failures, name: str, address: str, now: float) -> float:
    tried = [((name, address), NAME), (("address", address), ADDRESS)]
    if wait := failures.wait(tried, now):
        return wait
    failures.failed(tried, now)
    return 0.0


def test_after_five_wrong_ones_each_waits_twice_as_long() -> None:
    failures, now, waits = Failures(), 0.0, []
    for _ in range(9):
        if wait := attempt(failures, "anna", "1.1.1.1", now):
            waits.append(wait)
            now += wait
            assert attempt(failures, "anna", "1.1.1.1", now) == 0.0
    assert waits == [1.0, 2.0, 4.0, 8.0]
    assert failures.wait([(("anna", "1.1.1.1"), Patience(free=0))], now) <= Patience(free=0).most


def test_nobody_locks_out_somebody_elsewhere() -> None:
    failures = Failures()
    for second in range(1000):
        attempt(failures, "anna", "6.6.6.6", float(second))
    assert attempt(failures, "anna", "1.1.1.1", 1000.0) == 0.0, "anna, at home"
    assert attempt(failures, "max", "1.1.1.1", 1000.0) == 0.0


def test_one_address_that_tries_many_names_has_to_wait() -> None:
    failures = Failures()
    assert any(attempt(failures, f"name{number}", "6.6.6.6", 0.0) for number in range(100))


def test_what_was_right_is_taken_back() -> None:
    failures = Failures()
    tried = [(("anna", "1.1.1.1"), NAME), (("address", "1.1.1.1"), ADDRESS)]
    for _ in range(200):
        assert failures.wait(tried, 0.0) == 0.0
        failures.failed(tried, 0.0)
        failures.take_back(tried)


def test_old_failures_are_forgotten() -> None:
    failures = Failures()
    for _ in range(6):
        failures.failed([("anna", NAME)], 0.0)
    assert failures.wait([("anna", NAME)], 0.0) > 0
    failures.failed([("anna", NAME)], NAME.forgotten_after + 10)
    assert failures.wait([("anna", NAME)], NAME.forgotten_after + 10) == 0.0
