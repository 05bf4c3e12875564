"""What processes are doing, asked of those who take their time."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from runyard.executors import stacks

SPINS = """
import faulthandler, signal, sys
def spins_for_ever():
    print("ready", flush=True)
    while True: pass
faulthandler.register(signal.SIGUSR1, open(sys.argv[1], "a"))
spins_for_ever()
"""


def test_one_that_gets_no_processor_for_a_while_is_waited_for(tmp_path: Path) -> None:
    told = tmp_path / "stacks.txt"
    command = [sys.executable, "-c", SPINS, str(told)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            os.kill(process.pid, signal.SIGSTOP)
            later = threading.Timer(3 * stacks.QUIET_SECONDS, os.kill, (process.pid, signal.SIGCONT))
            later.start()
            assert stacks.dump(told, lambda: [process.pid])
            said = told.read_text()
            later.join()
            assert "in spins_for_ever" in said
        finally:
            process.kill()
