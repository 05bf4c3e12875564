"""The server with a clock beside it: `python -m bench.probe LAGS serve ...` is `runyard serve ...`.

Writes to the file LAGS, a line each, when a nap of 10 ms was to end and by how much the event loop was late.
"""

import asyncio
import sys
import time
from pathlib import Path

NAP_SECONDS = 0.01


async def nap(file: Path) -> None:
    now = asyncio.get_running_loop().time
    with file.open("w", buffering=1) as lags:
        while True:
            due = now() + NAP_SECONDS
            await asyncio.sleep(NAP_SECONDS)
            lags.write(f"{time.time()} {now() - due}\n")


def main() -> None:
    from runyard.cli.main import app
    from runyard.server import listening

    file = Path(sys.argv.pop(1))

    class Probed(listening.Server):
        async def serve(self, sockets: object = None) -> None:
            napping = asyncio.create_task(nap(file))
            await super().serve(sockets)  # type: ignore[arg-type]
            napping.cancel()

    listening.Server = Probed  # type: ignore[misc]
    app()


if __name__ == "__main__":
    main()
