"""Wrong passwords for a known and for an unknown name: does the time that the answer takes tell which is which?"""

import json
import random
import statistics
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path

from bench.result import Result

TRIES = 100
"""For each of the two."""
SHUFFLES = 2000
PASSWORD = "correct horse battery"


def run() -> Result:
    from runyard.testing.live import LiveYard

    times: dict[str, list[float]] = {"anna": [], "nobody": []}
    with tempfile.TemporaryDirectory() as folder, LiveYard(Path(folder) / "home") as yard:
        assert _post(yard.port, "users", {"name": "anna", "password": PASSWORD, "role": "admin"}, 1)[0] == 201
        for number in range(TRIES + 5):
            for name in random.Random(number).sample(sorted(times), 2):
                # Each from an address of its own, so that none has to wait for those before it.
                status, seconds = _post(yard.port, "session", {"name": name, "password": "wrong one"}, 2 + number)
                assert status == 401, status
                if number >= 5:
                    times[name].append(seconds)
    known, unknown = times["anna"], times["nobody"]
    found, noise = _apart(known, unknown), _noise([*known, *unknown])
    return Result(
        name="sign-in, known or unknown name",
        promise="the times can't be told apart by more than noise",
        found=f"medians {found * 1000:.2f} ms apart, noise {noise * 1000:.2f} ms",
        detail=f"{TRIES} wrong passwords for a known and as many for an unknown name, in random order: medians "
        f"{statistics.median(known) * 1000:.1f} and {statistics.median(unknown) * 1000:.1f} ms. Noise: 99 in 100 "
        "random divisions of all these times into two halves stay below.",
        holds=found <= noise,
    )


def _post(port: int, path: str, body: dict[str, str], number: int) -> tuple[int, float]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60, source_address=(f"127.0.1.{number}", 0))
    connection.connect()
    began = time.perf_counter()
    connection.request("POST", f"/api/v1/{path}", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    seconds = time.perf_counter() - began
    connection.close()
    return answer.status, seconds


def _apart(one: list[float], other: list[float]) -> float:
    return abs(statistics.median(one) - statistics.median(other))


def _noise(times: list[float]) -> float:
    chance, half, found = random.Random(1), len(times) // 2, []
    for _ in range(SHUFFLES):
        chance.shuffle(times)
        found.append(_apart(times[:half], times[half:]))
    return sorted(found)[int(SHUFFLES * 0.99)]
