"""How soon a browser shows the page of a job with a hundred thousand points, and how much it fetches for that."""

import statistics
import sys
import tempfile
from pathlib import Path

from bench.result import Result

POINTS, VISITS = 100_000, 7
MOST_SECONDS, MOST_BYTES = 1.0, 300_000
LONG = """
import sys
import runyard

for step in range(1, int(sys.argv[1]) + 1):
    runyard.metric(step, loss=2 / step**0.5, learning_rate=1e-4, grad_norm=1.0 + (step % 97) / 97)
"""
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
DRAWN = """() => new Promise((resolve) => {
  const drawn = () => document.querySelector('#charts canvas');
  const look = () => drawn() ? resolve(performance.now()) : requestAnimationFrame(look);
  look();
})"""


def run() -> Result:
    from playwright.sync_api import sync_playwright

    from runyard.testing.browser import chromium
    from runyard.testing.live import LiveYard

    paints, draws, weights = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "long.py"
        script.write_text(LONG)
        with LiveYard(Path(folder) / "home", {"RUNYARD_MIN_FREE": "0"}) as yard, sync_playwright() as playwright:
            command = [sys.executable, str(script), str(POINTS)]
            job = yard.client.submit({"kind": "script", "name": "long", "command": command})
            yard.wait_for_end(job.id)
            browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
            for _ in range(VISITS):
                context = browser.new_context(viewport={"width": 1440, "height": 900})  # with nothing kept from before
                page = context.new_page()
                sizes: list[int] = []
                page.on("requestfinished", lambda asked, sizes=sizes: sizes.append(asked.sizes()["responseBodySize"]))
                page.goto(f"{yard.url}/jobs/{job.id}")
                draws.append(page.evaluate(DRAWN) / 1000)
                paints.append(page.evaluate(PAINTED) / 1000)
                weights.append(sum(sizes))
                context.close()
            browser.close()
    paint, drawn, weight = statistics.median(paints), statistics.median(draws), max(weights)
    return Result(
        name="page of a long job",
        promise=f"first paint of {POINTS:,} points within {MOST_SECONDS:.0f} s, at most {MOST_BYTES // 1000} KB",
        found=f"{paint * 1000:.0f} ms, curves after {drawn * 1000:.0f} ms; {weight / 1000:.0f} KB",
        detail=(
            f"Chromium without a cache opens the page of a job that reported three values at each of {POINTS:,} steps,"
            f" {VISITS} times, on the machine of the server: medians from the click to the first contentful paint"
            f" ({paint * 1000:.0f} ms, most {max(paints) * 1000:.0f}) and to the first canvas with curves"
            f" ({drawn * 1000:.0f} ms, most {max(draws) * 1000:.0f}). {weight / 1000:.0f} KB come over the wire,"
            " curves and log among them."
        ),
        holds=drawn <= MOST_SECONDS and weight <= MOST_BYTES,
    )
