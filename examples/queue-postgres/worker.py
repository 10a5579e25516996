"""Does the jobs, one after the other; at SIGTERM it ends the job in hand and takes no more."""

import os
import signal
import threading
import traceback

from queue_table import connect, fail, finish, take
from release import JOBS
from tell import tell

stopping = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopping.set())


def do(connection, job, name, arguments):
    tell("begun", job, name=name)
    try:
        JOBS[name](**arguments)
    except Exception as error:
        print(f"job {job} ({name}) failed", flush=True)
        traceback.print_exc()
        said = f"{type(error).__name__}: {error}"
        fail(connection, job, said)
        tell("failed", job, name=name, error=said)
        return
    finish(connection, job)
    tell("ended", job, name=name)


def main():
    worker = os.environ.get("HITLESS_REPLICA", "worker")
    print("ready", flush=True)
    with connect() as connection:
        while not stopping.is_set():
            taken = take(connection, worker)
            for job in taken:
                do(connection, *job)
            if not taken:
                stopping.wait(0.05)


main()
