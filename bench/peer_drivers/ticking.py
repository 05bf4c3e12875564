"""A job of so many seconds: FOLDER SECONDS EXIT_CODE. Each process of it leaves a file with a time a line."""

import os
import sys
import time

folder, seconds, code = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
end = time.time() + seconds
with open(os.path.join(folder, f"{os.getpid()}.run"), "w", buffering=1) as file:
    while True:
        print(time.time(), file=file)
        print("still at it", flush=True)
        if time.time() >= end:
            break
        time.sleep(min(1.0, max(0.0, end - time.time())))
sys.exit(code)
