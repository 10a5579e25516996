"""An asyncio event loop whose time is a number: what sleeps for an hour takes no time at all.

Coroutines that use only asyncio's own means (tasks, sleeps, timeouts, events, queues) run on it
unchanged. Its rules:

- The clock is an integer of nanoseconds that begins at 0. It moves only when no callback is ready,
  and then to the next deadline exactly.
- Callbacks with equal deadlines run in the order in which they were asked for.
- Tasks that are cancelled together are cancelled in the same order in every process.
- Nothing ready and no deadline is a `DeadlockError`, since it would be an endless wait.
- What would touch the real world is a `RealWorldError`: sockets, pipes, processes, threads, signals
  and name look-ups. Real work under a virtual clock ends late or never, and makes results depend
  on the machine.

So a program that draws its random numbers from seeds gives the same result on every machine.

A simulation has far more events than tasks can carry: a request is one of them. It may keep them in
a queue of its own, `SimulatedEvents`. Whenever no callback is ready, the loop lets it work through
that queue up to the next deadline.
"""

import asyncio
import contextlib
import contextvars
import heapq
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any, NoReturn, Protocol, Self, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

NANOSECONDS = 1_000_000_000


class VirtualTimeError(Exception):
    """Something that cannot be done in virtual time."""


class DeadlockError(VirtualTimeError):
    """Every task waits for another one, and no time will change that."""


class RealWorldError(VirtualTimeError):
    """A program in virtual time wanted something of the real world."""


class VirtualClock:
    """The time of a loop, shared with what has events of its own.

    Attributes:
        ns: nanoseconds since the loop began.
    """

    __slots__ = ("ns",)

    def __init__(self) -> None:
        self.ns = 0


class SimulatedEvents(Protocol):
    """A queue of events beside the loop's own timers."""

    def advance(self, until_ns: int | None, woken: Sequence[object]) -> bool:
        """Do what is due, in order, and set the clock to the instant of each event.

        Args:
            until_ns: the last instant that may be reached; None: there is no deadline, and events
                go on until one of them wakes a task.
            woken: the loop's callbacks that are ready; the work must stop after the event that
                fills it, since tasks then run at that instant.

        Returns:
            Whether it stopped because a callback became ready.
        """
        ...


class _Timer(asyncio.TimerHandle):
    """A callback with a deadline in integer nanoseconds; equal deadlines keep their order."""

    __slots__ = ("at_ns", "number")

    def __init__(  # noqa: PLR0917 - made in one place, where each has a name
        self,
        at_ns: int,
        number: int,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context | None,
    ) -> None:
        super().__init__(at_ns / NANOSECONDS, callback, args, loop, context)
        self.at_ns = at_ns
        self.number = number


class _Task(asyncio.Task[T]):
    """A task whose hash is its number.

    asyncio keeps tasks in sets (a task group cancels its set in the order of iteration), and the
    hash of an object is its address otherwise, which differs from process to process.
    """

    def __new__(
        cls,
        _coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        loop: asyncio.AbstractEventLoop,
        **_options: object,
    ) -> Self:
        task = super().__new__(cls)
        assert isinstance(loop, VirtualTimeLoop)  # noqa: S101 - which alone makes such tasks
        task._number = loop.count_task()
        return task

    _number: int

    def __hash__(self) -> int:
        return self._number


class VirtualTimeLoop(asyncio.BaseEventLoop):
    """The event loop; `run` makes one, runs a coroutine on it, and closes it.

    Attributes:
        clock: its time.
        events: further events, beside its timers; absent: none.
    """

    # What asyncio's base class keeps, and its type information does not tell.
    _ready: deque[asyncio.Handle]
    _stopping: bool

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.events: SimulatedEvents | None = None
        self._timers: list[tuple[int, int, _Timer]] = []
        self._numbers = self._tasks = 0
        self.set_task_factory(_new_task)
        self._cancelled_timers = 0
        self._thread = threading.get_ident()

    def count_task(self) -> int:
        """The number of the next task, from 1."""
        self._tasks += 1
        return self._tasks

    def time_ns(self) -> int:
        """Nanoseconds since the loop began."""
        return self.clock.ns

    def time(self) -> float:
        """Seconds since the loop began."""
        return self.clock.ns / NANOSECONDS

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call something after so many seconds; a delay below 0 is none.

        Any other delay is at least a nanosecond, so that who waits for the rest of a time that is
        no whole number of nanoseconds does not wait at one instant for ever.
        """
        at_ns = self.clock.ns + max(int(delay > 0), round(delay * NANOSECONDS))
        return self._schedule(at_ns, callback, args, context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call something at an instant of `time`; one that has passed is now."""
        at_ns = max(self.clock.ns, round(when * NANOSECONDS))
        return self._schedule(at_ns, callback, args, context)

    def call_at_ns(
        self,
        at_ns: int,
        callback: Callable[[*Ts], object],
        *args: *Ts,
    ) -> asyncio.TimerHandle:
        """Call something at an instant of `time_ns`; one that has passed is now."""
        return self._schedule(max(self.clock.ns, at_ns), callback, args, None)

    def _schedule(
        self,
        at_ns: int,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> asyncio.TimerHandle:
        self._check_closed()  # type: ignore[attr-defined] # asyncio's base class has it
        self._numbers += 1
        timer = _Timer(at_ns, self._numbers, callback, args, self, context)
        timer._scheduled = True  # type: ignore[attr-defined]  # noqa: SLF001 - asks for the hook below
        heapq.heappush(self._timers, (at_ns, self._numbers, timer))
        return timer

    def _timer_handle_cancelled(self, _handle: asyncio.TimerHandle) -> None:
        """Forget cancelled timers once they are the greater part, so that memory stays bounded."""
        self._cancelled_timers += 1
        if self._cancelled_timers > 100 and 2 * self._cancelled_timers > len(self._timers):  # noqa: PLR2004
            self._timers = [entry for entry in self._timers if not entry[2].cancelled()]
            heapq.heapify(self._timers)
            self._cancelled_timers = 0

    def _run_once(self) -> None:
        """One turn of the loop: what is ready; without that, the next deadline."""
        if not self._ready:
            self._move_on()
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if not handle.cancelled():
                handle._run()  # noqa: SLF001 - what a loop does with its handles

    def _move_on(self) -> None:
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
            self._cancelled_timers -= 1
        due_ns = timers[0][0] if timers else None
        if self.events is not None and self.events.advance(due_ns, self._ready):
            return
        if due_ns is None:
            if self._stopping:
                return
            raise DeadlockError(self._waiting())
        timers = self._timers
        self.clock.ns = due_ns
        while timers and timers[0][0] == due_ns:
            timer = heapq.heappop(timers)[2]
            timer._scheduled = False  # type: ignore[attr-defined]  # noqa: SLF001 - it left the heap
            if timer.cancelled():
                self._cancelled_timers -= 1
            else:
                self._ready.append(timer)

    def _waiting(self) -> str:
        names = sorted(task.get_name() for task in asyncio.all_tasks(self))
        who = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")  # noqa: PLR2004
        who = who or "there is no task"
        return f"at {self.time():g} s every task waits, and nothing is due: {who}"

    def call_soon_threadsafe(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """Call something soon, from this thread only."""
        if threading.get_ident() != self._thread:
            raise RealWorldError("a thread wanted to call into virtual time")
        return self.call_soon(callback, *args, context=context)

    def _process_events(self, _event_list: object) -> None:
        """There are no events of the real world."""

    def _refuse(self, *_args: object, **_kwargs: object) -> NoReturn:
        raise RealWorldError(
            "a program in virtual time wanted a socket, a process, a thread, a signal or a look-up"
        )

    async def _refuse_later(self, *args: object, **kwargs: object) -> NoReturn:
        self._refuse(*args, **kwargs)

    run_in_executor = _refuse
    add_reader = remove_reader = add_writer = remove_writer = _refuse
    add_signal_handler = remove_signal_handler = _refuse
    getaddrinfo = getnameinfo = _refuse_later
    sock_recv = sock_recv_into = sock_recvfrom = sock_recvfrom_into = _refuse_later
    sock_sendall = sock_sendto = sock_sendfile = _refuse_later
    sock_connect = sock_accept = _refuse_later
    create_connection = create_server = create_datagram_endpoint = _refuse_later
    create_unix_connection = create_unix_server = _refuse_later
    connect_accepted_socket = connect_read_pipe = connect_write_pipe = _refuse_later
    subprocess_exec = subprocess_shell = start_tls = sendfile = _refuse_later


def _new_task(
    loop: asyncio.AbstractEventLoop,
    coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
    **options: Any,  # noqa: ANN401 - what the Python in use passes on
) -> "asyncio.Task[T]":
    return _Task(coro, loop=loop, **options)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time, from 0, and return what it returns.

    Raises:
        DeadlockError: everything waits for ever.
        RealWorldError: it wanted something of the real world.
    """
    with contextlib.closing(main), asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
