"""Who reads the evidence: this process alone, or several processes at the same time."""

import os
import pickle
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, Final, Generic, Protocol, TypeVar

from scenarios.evidence.ndjson import Lines, Part
from scenarios.evidence.scratch import FileScratch, Scratch

T = TypeVar("T")
Found = TypeVar("Found")

MOST_PROCESSES: Final = 4
"""Each has some fifty megabytes of its own, and all of them wait for the same disk."""

_THREADS: Final = Path("/proc/self/task")
"""A folder for each thread of this process: proc(5)."""


class Workers(Protocol):
    """Reads records, as a whole or in parts, and does other work beside that of this process."""

    def read(
        self,
        records: Iterable[T],
        take: Callable[[Iterable[T], Scratch], Found],
        scratch: Scratch,
        shared: Sequence[object] = (),
    ) -> list[Found]:
        """Read all records.

        Args:
            records: what is read.
            take: reads all records that it is given, and may keep what it needs again later in the
                scratch that it is given. It must not change anything outside of what it returns,
                since it may run in another process.
            scratch: where that is kept, if it is kept by this process.
            shared: objects that what it returns may refer to, and that it does not change.

        Returns:
            what `take` has found in each part, in the order of the records.

        Raises:
            EvidenceError: the records come from a file, and that is damaged.
        """
        ...

    def beside(
        self, work: Callable[[Scratch], Found], scratch: Scratch, *, long: bool
    ) -> AbstractContextManager[Callable[[], Found]]:
        """Begin some work, which may go on in another process as long as the context is open.

        Args:
            work: may keep what it needs again later in the scratch that it is given. It must not
                change anything outside of what it returns.
            scratch: where that is kept, if it is kept by this process.
            long: whether the work takes longer than it takes to begin another process.

        Returns:
            what waits for the result; it may be asked once.
        """
        ...


@dataclass(frozen=True, slots=True)
class OneProcess:
    """Reads everything in this process, as one part."""

    def read(
        self,
        records: Iterable[T],
        take: Callable[[Iterable[T], Scratch], Found],
        scratch: Scratch,
        shared: Sequence[object] = (),
    ) -> list[Found]:
        """Read all records: see `Workers`."""
        del shared
        return [take(records, scratch)]

    @contextmanager
    def beside(
        self, work: Callable[[Scratch], Found], scratch: Scratch, *, long: bool
    ) -> Iterator[Callable[[], Found]]:
        """Do the work when it is asked for: see `Workers`."""
        del long
        yield partial(work, scratch)


@dataclass(frozen=True, slots=True)
class ForkedProcesses:
    """Reads long files in several processes at the same time, each a part of the file.

    The processes are copies of this one (`fork`), so that they know what it knows, and texts have
    the same hashes in all of them. What they keep is in files that this process has opened.

    Whatever goes wrong in one of them, this process reads everything itself, and says what it
    meets. It does so from the start where the file is short, where there is one processor, on other
    systems than Linux, and while other threads run: a copy has none of them, and a lock that one of
    them holds would be held for ever.

    Attributes:
        processes: so many at most.
    """

    processes: int = MOST_PROCESSES

    def read(
        self,
        records: Iterable[T],
        take: Callable[[Iterable[T], Scratch], Found],
        scratch: Scratch,
        shared: Sequence[object] = (),
    ) -> list[Found]:
        """Read all records: see `Workers`."""
        number = self._number()
        if isinstance(records, Lines) and number > 1:
            parts = records.parts(number)
            found = _in_copies(records, parts, take, shared) if parts else None
            if found is not None:
                return found
        return [take(records, scratch)]

    @contextmanager
    def beside(
        self, work: Callable[[Scratch], Found], scratch: Scratch, *, long: bool
    ) -> Iterator[Callable[[], Found]]:
        """Begin the work in a copy of this process: see `Workers`."""
        if not long or self._number() == 1:
            yield partial(work, scratch)
            return
        copy: _Copy[Found] | None = None
        try:
            with suppress(OSError):
                copy = _Copy(work, {})
                copy.start()

            def found() -> Found:
                well = copy is not None and copy.ended_well()
                return copy.found() if copy is not None and well else work(scratch)

            yield found
        finally:
            if copy is not None:
                copy.end()

    def _number(self) -> int:
        """How many processes can work at the same time."""
        return min(self.processes, len(os.sched_getaffinity(0))) if can_fork() else 1


def can_fork() -> bool:
    """Whether a copy of this process could go on: nothing in it waits for another thread."""
    if sys.platform != "linux":
        return False
    try:
        return len(os.listdir(_THREADS)) == 1  # noqa: PTH208 - names are enough
    except OSError:
        return threading.active_count() == 1


def _in_copies(
    lines: Lines[T],
    parts: Sequence[Part[T]],
    take: Callable[[Iterable[T], Scratch], Found],
    shared: Sequence[object],
) -> list[Found] | None:
    """What was found in each part; None if anything went wrong."""
    known = dict(enumerate(shared))
    parent = os.getpid()
    copies: list[_Copy[Found]] = []
    try:
        for part in parts:
            copies.append(_Copy(partial(_read, part, parent, take), known))
            copies[-1].start()
        intact = lines.intact()  # this process has nothing else to do meanwhile
        ended = [one.ended_well() for one in copies]
        return [one.found() for one in copies] if intact and all(ended) else None
    except (OSError, pickle.UnpicklingError):
        return None
    finally:
        for one in copies:
            one.end()


def _read(
    part: Part[T], parent: int, take: Callable[[Iterable[T], Scratch], Found], scratch: Scratch
) -> Found:
    """Read a part, in a copy of the process with that number."""
    return take(chain.from_iterable(_while_alive(parent, part.blocks())), scratch)


class _Copy(Generic[Found]):
    """A copy of this process that does some work, and writes what it has found into a file."""

    def __init__(self, work: Callable[[Scratch], Found], shared: dict[int, object]) -> None:
        self._work = work
        self._scratch = FileScratch(0)
        self._shared = {**shared, -1: self._scratch}
        self._result = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        self._process: int | None = None

    def start(self) -> None:
        """Begin to work."""
        self._process = os.fork()
        if self._process:
            return
        status = 1
        try:
            signal.set_wakeup_fd(-1)  # it belongs to the parent's event loop
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            found = self._work(self._scratch)
            _Pickler(self._result, self._shared).dump((self._scratch.ends, found))
            self._result.flush()
            status = 0
        finally:
            os._exit(status)  # nothing of the parent's is flushed, closed or run twice

    def ended_well(self) -> bool:
        """Wait until it has ended; whether it has done its work."""
        if self._process is None:
            return False
        _, status = os.waitpid(self._process, 0)
        self._process = None
        return status == 0

    def found(self) -> Found:
        """What it has found."""
        self._result.seek(0)
        found: Found
        ends, found = _Unpickler(self._result, self._shared).load()
        self._scratch.ends = ends
        return found

    def end(self) -> None:
        """See that nothing of it is left but what was found."""
        self._result.close()
        if self._process is not None:
            os.kill(self._process, signal.SIGKILL)
            os.waitpid(self._process, 0)
            self._process = None


def _while_alive(parent: int, blocks: Iterator[list[T]]) -> Iterator[list[T]]:
    """The same blocks, as long as there is somebody who waits for them."""
    for block in blocks:
        if os.getppid() != parent:
            raise SystemExit
        yield block


class _Pickler(pickle.Pickler):
    """Writes objects that both processes have by their numbers."""

    def __init__(self, file: IO[bytes], shared: dict[int, object]) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._numbers = {id(one): number for number, one in shared.items()}

    def persistent_id(self, obj: object) -> int | None:
        return self._numbers.get(id(obj))


class _Unpickler(pickle.Unpickler):
    """Reads what `_Pickler` has written, which nobody else can write."""

    def __init__(self, file: IO[bytes], shared: dict[int, object]) -> None:
        super().__init__(file)
        self._shared = shared

    def persistent_load(self, number: int) -> object:
        return self._shared[number]
