"""The simulated users: who sends what, and when. They do not wait for answers (an open loop)."""

from collections.abc import Callable, Iterator
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Any

from orchestrator.simulated.chance import Distribution, stream
from orchestrator.simulated.events import NEVER
from orchestrator.simulated.request import Request
from orchestrator.simulated.world_settings import Endpoint

if TYPE_CHECKING:
    import random

_NS = 1_000_000_000
_LEAST_CHUNK, _MOST_CHUNK = 4096, 1 << 16


class Users:
    """Users who come once, each with one request.

    Attributes:
        next_ns: when the next one comes; `NEVER` before `begin` and after `end`.
        planned: how many have come.
        patience_ns: after how long they give up.
    """

    def __init__(
        self,
        rate: float,
        endpoints: tuple[Endpoint, ...],
        *,
        seed: int,
        timeout_seconds: float,
        even: bool,
        send: Callable[[Request], None],
        offsets: Iterator[int] | None = None,
    ) -> None:
        """Prepare them.

        Args:
            rate: how many come a second; 0: nobody does.
            endpoints: what they ask for.
            seed: the run's.
            timeout_seconds: after how long they give up.
            even: whether the gaps between them are equal; else they are exponential.
            send: takes their requests.
            offsets: when they come instead, in ns from the begin, in order.
        """
        self._offsets = offsets
        self._begun_ns = 0
        self._nobody = not rate and offsets is None
        rate = rate or 1.0
        self._gap = Distribution.constant(1 / rate) if even else Distribution.exponential(1 / rate)
        total = sum(one.weight for one in endpoints) or 1.0
        self._bounds = [*accumulate(one.weight / total for one in endpoints)]
        begun = max((n for n, one in enumerate(endpoints) if one.weight), default=0)
        self._bounds[begun:] = [1.0] * (len(endpoints) - begun)
        # One draw of each kind for a user, whatever becomes of the others.
        self._draw = _Draws(seed, min(max(_LEAST_CHUNK, round(rate / 2)), _MOST_CHUNK))
        self._send = send
        self.next_ns = NEVER
        self.planned = 0
        self.patience_ns = round(timeout_seconds * _NS)
        self._last_ns = 0
        self._place = self._drawn = 0
        self._at: list[int] = []
        self._kinds: list[int] = []
        self._shares: list[float] = []
        self._arrays: tuple[Any, Any, Any] | None = None

    def begin(self, at_ns: int) -> None:
        """Let them come from now on."""
        self._last_ns = self._begun_ns = at_ns
        if not self._nobody:
            self._refill()

    def end(self) -> None:
        """Let nobody come any more."""
        self.next_ns = NEVER

    def arrive(self) -> None:
        """The next one comes, and sends a request."""
        place, at_ns = self._place, self.next_ns
        if not self._kinds:
            self._list()
        self.planned = number = self.planned + 1
        request = Request(
            number, self._kinds[place], at_ns, self._shares[place], at_ns + self.patience_ns, None
        )
        self._place = place = place + 1
        if place < self._drawn:
            self.next_ns = self._at[place]
        else:
            self._refill()
        self._send(request)

    # Many at once, for steady stretches

    def due(self, until_ns: int) -> int:
        """How many of those that are drawn already come up to an instant."""
        if self._arrays is None or self.next_ns > until_ns:
            return 0
        return int(self._arrays[0].searchsorted(until_ns, side="right")) - self._place

    @property
    def drawn_until_ns(self) -> int:
        """When the last one of those that are drawn already comes."""
        return int(self._arrays[0][-1]) if self._arrays is not None else -NEVER

    @property
    def drawn(self) -> int:
        """How many are drawn already, and have not come."""
        return self._drawn - self._place

    def peek(self, count: int) -> tuple[int, Any, Any, Any]:
        """The next ones, at most as many as are `due`.

        Returns:
            The number of the first one; and, as arrays, the instants in ns, the kinds, and the
            shares.
        """
        assert self._arrays is not None  # noqa: S101 - `due` said that there are some
        begin = self._place
        at, kinds, shares = (one[begin : begin + count] for one in self._arrays)
        return self.planned + 1, at, kinds, shares

    def take(self, count: int) -> None:
        """Let the next ones come, without sending anything."""
        assert self._arrays is not None  # noqa: S101 - `due` said that there are some
        end = self._place = self._place + count
        self.planned += count
        if end < self._drawn:
            self.next_ns = int(self._arrays[0][end])
        else:
            self._refill()

    def _refill(self) -> None:
        if self._offsets is not None:
            self._refill_from(self._offsets)
            return
        found = self._draw.chunk(self._last_ns, self._gap, self._bounds)
        self._drawn, self._place = len(found[0]), 0
        self._last_ns, self.next_ns = int(found[0][-1]), int(found[0][0])
        if isinstance(found[0], list):
            self._at, self._kinds, self._shares = found
        else:
            self._arrays = found
            self._at, self._kinds, self._shares = [], [], []

    def _refill_from(self, offsets: Iterator[int]) -> None:
        at = [self._begun_ns + one for one in islice(offsets, _LEAST_CHUNK)]
        _, kinds, shares = self._draw.chunk(self._begun_ns, self._gap, self._bounds)
        self._at = at
        self._kinds, self._shares = (
            one if isinstance(one, list) else one.tolist() for one in (kinds, shares)
        )
        self._arrays = None
        self._drawn, self._place = len(at), 0
        self.next_ns = at[0] if at else NEVER

    def _list(self) -> None:
        """Turn the arrays into lists, which single users take less time to read."""
        assert self._arrays is not None  # noqa: S101 - otherwise there are lists already
        self._at, self._kinds, self._shares = (one.tolist() for one in self._arrays)


class _Draws:
    """Draws for many users at once; with numpy if it is there, and the same numbers without it."""

    def __init__(self, seed: int, size: int) -> None:
        self._size = size
        self._streams = [stream(seed, name) for name in ("arrivals", "endpoints", "service")]
        self._fast: list[Any] | None = None
        try:
            from orchestrator.simulated import arrays  # noqa: PLC0415 - numpy is an extra
        except ImportError:
            self._arrays = None
        else:
            self._arrays = arrays
            self._fast = [arrays.generator(one) for one in self._streams]

    def chunk(self, last_ns: int, gap: Distribution, bounds: list[float]) -> tuple[Any, Any, Any]:
        """The instants, kinds and shares of the next users; arrays with numpy, else lists."""
        if self._arrays is not None and self._fast is not None:
            arrivals, endpoints, service = (one.random(self._size) for one in self._fast)
            at = last_ns + self._arrays.at_many(gap, arrivals).cumsum()
            kinds = self._arrays.kinds(endpoints, bounds)
            return at, kinds, service
        arrivals_, endpoints_, service_ = (_some(one, self._size) for one in self._streams)
        instants = list(accumulate((gap.at(one) for one in arrivals_), initial=last_ns))[1:]
        numbers = [next(n for n, bound in enumerate(bounds) if one < bound) for one in endpoints_]
        return instants, numbers, service_


def _some(chance: "random.Random", size: int) -> list[float]:
    return [chance.random() for _ in range(size)]
