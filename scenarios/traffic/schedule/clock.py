"""Waking up on time: the loop's own timers count whole milliseconds, a schedule does not.

At some thousand requests a second a millisecond is several requests, which a timer of that
grain sends in bursts. Linux has timers that are files (`timerfd_create(2)`), exact to
microseconds and on the same clock as `time.monotonic_ns()`. Elsewhere the loop's timer serves.
Whatever wakes us, truth is the planned time, and how late we were is recorded.
"""

import asyncio
import ctypes
import os
import time
from collections.abc import Callable

_TFD_TIMER_ABSTIME = 1
_CLOCK_MONOTONIC = 1
_SECOND = 1_000_000_000


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Alarm:
    """Calls back once when a time has come; setting it again replaces what was set.

    Args:
        loop: the running loop.
        callback: what to call.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._timer: asyncio.TimerHandle | None = None
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._spec = _Itimerspec()
        self._fd = -1
        if hasattr(self._libc, "timerfd_create"):
            self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd >= 0:
            loop.add_reader(self._fd, self._expired)

    @property
    def exact(self) -> bool:
        """Whether it is finer than the loop's timers."""
        return self._fd >= 0

    def set(self, at_ns: int) -> None:
        """Call back at this time of `time.monotonic_ns()`; at once when it is past."""
        if self._fd >= 0:
            value = self._spec.value
            # A time of zero would switch the timer off.
            value.seconds, value.nanoseconds = divmod(max(at_ns, 1), _SECOND)
            self._libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, ctypes.byref(self._spec), None)
            return
        if self._timer is not None:
            self._timer.cancel()
        delay = max(0.0, (at_ns - time.monotonic_ns()) / 1e9)
        self._timer = self._loop.call_later(delay, self._callback)

    def close(self) -> None:
        """Switch it off for good."""
        if self._timer is not None:
            self._timer.cancel()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _expired(self) -> None:
        try:
            os.read(self._fd, 8)  # else it would stay readable
        except BlockingIOError:
            return  # it was set anew between the loop's look and this call
        self._callback()
