"""What the load generator remembers: its memory over millions of requests.

    python -m benchmarks.memory [--rate 2500] [--minutes 25]

Journeys of two steps with a value captured in between, users who stay with their cookies, and
connections of both kinds, against an origin that answers at once. The outcomes go to /dev/null:
what counts is what stays in the process. Its resident memory is read from /proc every minute.

The promise: in the second half of that time it grows by less than 1 MB a million of requests;
the first half fills pools and buffers, for the busiest moment too. (Once mails come, each journey
costs four bytes more.)
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import sys
from pathlib import Path

PROMISE_MB = 1.0
BODY = b'{"id": "7"}'
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nSet-Cookie: seen=1\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
)
JOURNEYS = [
    {
        "name": "two-steps",
        "steps": [
            {"method": "POST", "path": "/", "form": {"user": "{user}"}, "subject": "{user}",
             "capture": {"id": {"json": "id"}}},
            {"path": "/{id}", "connection": "any", "subject": "{user}"},
        ],
    },
    {"name": "stays", "users": 100, "every_seconds": 1.0, "steps": [{"path": "/"}]},
]  # fmt: skip


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request of a connection at once."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if length := re.search(rb"(?i)content-length: (\d+)", head):
                await reader.readexactly(int(length[1]))
            writer.write(ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def resident_mb(pid: int) -> float:
    """The memory of a process that is not swapped out, in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def measure(rate: float, minutes: int) -> bool:
    """Send for so long; print each minute, and whether the promise is kept."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    plan = {
        "host": "127.0.0.1",
        "port": server.sockets[0].getsockname()[1],
        "rate": rate / 2,  # each arrival sends two requests
        "seed": 1,
        "requests_path": os.devnull,
        "mails_path": os.devnull,
        "tick_seconds": 1.0,
        "journeys": JOURNEYS,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "scenarios.traffic"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a generator without pipes")
    try:
        for line in (plan, {"do": "start"}):
            process.stdin.write(json.dumps(line).encode() + b"\n")
        seconds = requests = failed = 0
        seen: list[tuple[int, float]] = []
        print(f"{'minute':>6}{'requests':>12}{'failed':>8}{'MB':>9}")
        async for raw in process.stdout:
            tick = json.loads(raw)
            if tick["event"] != "tick":
                continue
            seconds, requests = seconds + 1, requests + tick["ok"] + tick["failed"]
            failed += tick["failed"]
            if seconds % 60 == 0:
                seen.append((requests, resident_mb(process.pid)))
                print(
                    f"{seconds // 60:>6}{requests:>12,}{failed:>8,}{seen[-1][1]:>9.1f}", flush=True
                )
            if seconds == 60 * minutes:
                break
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            process.kill()
        await process.wait()
        server.close()
    if len(seen) < minutes:
        raise SystemExit(f"the generator ended after {seconds} s, with status {process.returncode}")
    (first, before), (last, after) = seen[len(seen) // 2 - 1], seen[-1]
    growth = (after - before) / (last - first) * 1e6
    print(f"{growth:.2f} MB for each million of requests (promise: below {PROMISE_MB:g})")
    return growth < PROMISE_MB and failed == 0


def main() -> int:
    """Exit status 1 if the promise is broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rate", type=float, default=2500.0, help="requests a second")
    parser.add_argument("--minutes", type=int, default=25, help="at least 2")
    given = parser.parse_args()
    if given.minutes < 2:
        parser.error("--minutes must be at least 2")
    return 0 if asyncio.run(measure(given.rate, given.minutes)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
