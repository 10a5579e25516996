"""A run while it happens, as plain lines: for pipes, logs and screen readers."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.text import Text

from scenarios.evidence.event import Event
from scenarios.evidence.locks import LockWait
from scenarios.evidence.progress import ReplicaView, RunHeader
from scenarios.evidence.tick import Tick
from scenarios.reports import words
from scenarios.reports.cause_words import id_text
from scenarios.reports.live.state import LiveState, waited_for
from scenarios.verdict.timeline import describe

LONG_SECONDS = 0.5
"""A wait for a lock that is worth a line."""
SILENT_SECONDS = 5.0
"""After so long without a line, one line says what is still under way."""


class PlainProgress:
    """Prints one line for each phase, each verb that ended, and each second with failures.

    Where none of these comes for some time, a line says what is still under way.

    Args:
        console: where the lines go.
        header: what is run.
        clock: seconds that never go back.
    """

    def __init__(
        self, console: Console, header: RunHeader, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.state = LiveState(header)
        self._console = console
        self._second = -1
        self._waiting = False
        self._answered = 0
        self._failures: Counter[str] = Counter()
        self._clock = clock
        self._said_at = self._began_at = clock()
        self._under_way = ""

    def __enter__(self) -> Self:
        header = self.state.header
        self._say(
            f"{header.scenario} · {header.strategy}, seed {header.seed}, {header.replicas} "
            f"replicas, {words.traffic_text(header.rate, header.users)}"
            + (" (predicted, in virtual time)" if header.predicted else "")
        )
        if platform := words.platform_text(header):
            self._say(platform)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._say_failures()

    def on_probe(self, version: str, line: str) -> None:
        """One line of the probe of a version's server, before the run."""
        self._say(f"probe of {version}: {line}")

    def on_stage(self, text: str) -> None:
        """What is done now, before there is traffic or after it."""
        self._begin(text)
        self._say(text)

    def on_wait(self) -> None:
        """Time passes: after a long silence, say what is still under way, and for how long."""
        now = self._clock()
        if not self._under_way or now - self._said_at < SILENT_SECONDS:
            return
        doing = self.state.doing
        self._say(
            f"            {self._under_way if doing is None else doing.text}: "
            f"not over yet, for {words.duration(now - self._began_at)}"
        )

    def on_tick(self, tick: Tick) -> None:
        """The load generator's account of the last fraction of a second."""
        self.state.tick(tick)
        second = int(self.state.elapsed)
        if second != self._second:
            self._say_failures()
            self._second = second
        self._answered += tick.ok + tick.failed
        self._failures.update(tick.failures)

    def on_event(self, event: Event) -> None:
        """One line of the journal."""
        self.state.event(event)
        if event.verb == "phase":
            if event.state == "started":
                self._begin(f"phase {self.state.phase}")
                self._at(f"phase {self.state.phase}")
            return
        if event.verb == "keep_alive":
            self._at(f"warning: {event.error}")
            return
        if event.state == "started" or event.verb == "step":  # its deployment or migration said it
            return
        took = "" if event.seconds is None else f"  {words.duration(event.seconds)}"
        ended = "" if event.state == "completed" else f"  {event.state}"
        error = f": {event.error}" if event.error else ""
        self._at(f"{describe(event)}{took}{ended}{error}")

    def on_replicas(self, replicas: Sequence[ReplicaView]) -> None:
        """All replicas as they are now; the events tell what matters of them."""
        self.state.replicas = tuple(replicas)

    def on_waits(self, waits: Sequence[LockWait]) -> None:
        """All sessions of the database that wait for a lock now; said once they wait long."""
        self.state.wait(waits)
        long = [wait for wait in waits if wait.seconds >= LONG_SECONDS]
        if long and not self._waiting:
            number = len(long)
            sessions = "1 session waits" if number == 1 else f"{number} sessions wait"
            self._at(f"{sessions} for a lock of {waited_for(long[0])}")
        self._waiting = bool(long)

    def _say_failures(self) -> None:
        failed = self._failures.total()
        if failed:
            told = {id_text(cause): count for cause, count in self._failures.most_common()}
            self._at(f"failed {failed:,} of {self._answered:,} requests: {words.counted(told)}")
        self._failures.clear()
        self._answered = 0

    def _at(self, text: str) -> None:
        self._say(f"{self.state.elapsed:7.1f} s  {text}")

    def _begin(self, text: str) -> None:
        self._under_way = text
        self._began_at = self._clock()

    def _say(self, text: str) -> None:
        self._said_at = self._clock()
        self._console.print(Text(words.clean(text)), soft_wrap=True)
