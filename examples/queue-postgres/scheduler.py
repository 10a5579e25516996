"""Asks for a digest every two seconds, as cron would every minute."""

import os
import signal
import threading
import time

from queue_table import ask, connect, is_first

EVERY_SECONDS = 2
stopping = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopping.set())
asks_once = os.environ.get("ASKS_ONCE", "yes") == "yes"

print("ready", flush=True)
with connect() as connection:
    while not stopping.is_set():
        due = int(time.time() // EVERY_SECONDS * EVERY_SECONDS)
        if not asks_once or is_first(connection, "send_digest", str(due)):
            ask(connection, "send_digest", {}, due=str(due))
        stopping.wait(due + EVERY_SECONDS - time.time())
