"""All backends: which there are, and which of them takes the next request.

Pure: no clock, no socket, no task. Every method is synchronous, so a choice and its claim are one
step that nothing can come between, and a simulator can drive the same code.

A backend takes traffic when it is *routable*: up, with a weight above 0, and not ejected. An
ejected backend (see `balancer.outlier_detection`) counts again when no other is routable: passive
health never takes the last one.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from math import isfinite

from balancer.backend import DRAINING, TRANSITIONS, UP, Backend, State
from balancer.errors import ConflictError, IllegalTransitionError, UnknownBackendError
from balancer.statistics import Counters


@dataclass(frozen=True, slots=True)
class Change:
    """Something that the pool did, told to its listener right after.

    Attributes:
        what: `attached`, `up`, `down`, `weight`, `active`, `draining`, `idle_closed` (the idle
            connections of a draining backend take no more requests), `idle` (a draining backend
            has nothing left under way), `removed`, `ejected`, `restored`.
        backend: the one that it is about; None when it is about several.
        reason: why, for people.
        check: how the last health check ended, where that is why: `passed`, `failed`, `timed_out`,
            `refused` or `leaving`.
    """

    what: str
    backend: Backend | None = None
    reason: str | None = None
    check: str | None = None


def _ignore(change: Change) -> None:
    del change


def _has_none(backend: Backend) -> bool:
    del backend
    return False


class BackendPool:
    """All backends, and the choice of one for each request.

    Args:
        listener: told of each change, in order, after it is complete. It must not raise.
        limit: exchanges that one backend may have at once; 0 is no limit.
        has_idle: whether a backend has an idle connection.
    """

    def __init__(
        self,
        listener: Callable[[Change], None] = _ignore,
        *,
        limit: int = 0,
        has_idle: Callable[[Backend], bool] = _has_none,
        shuffle: Callable[[list[Backend]], None] | None = None,
    ) -> None:
        self._listener = listener
        self._shuffle = shuffle
        self._has_idle = has_idle
        self._limit = limit or 1 << 62
        self._backends: dict[str, Backend] = {}
        # The choice is made anew when it is next needed: ten thousand backends may drain at once.
        self._stale = False
        self._ring: tuple[Backend, ...] = ()
        self._keeping_idle: tuple[Backend, ...] = ()
        self._uniform = True
        self._next = 0
        self._retired: dict[str, Counters] = {}

    @property
    def backends(self) -> tuple[Backend, ...]:
        """All known backends, in the order in which they were attached."""
        return tuple(self._backends.values())

    @property
    def ring(self) -> tuple[Backend, ...]:
        """The backends that take new requests now."""
        if self._stale:
            self._rebuild()
        return self._ring

    @property
    def retired(self) -> Mapping[str, Counters]:
        """The counters of removed backends, summed by version."""
        return self._retired

    def get(self, backend_id: str) -> Backend:
        """Look a backend up.

        Raises:
            UnknownBackendError: there is none with this id.
        """
        try:
            return self._backends[backend_id]
        except KeyError:
            raise UnknownBackendError(f"there is no backend {backend_id!r}") from None

    # Membership

    def attach(
        self, backend_id: str, *, host: str, port: int, version: str, weight: float
    ) -> Backend:
        """Add a backend in the state `new`; or set the weight and version of a known one.

        Raises:
            ConflictError: the id belongs to another address, or is draining.
        """
        _check_weight(backend_id, weight)
        known = self._backends.get(backend_id)
        if known is None:
            backend = Backend(backend_id, host, port, version, weight)
            self._backends[backend_id] = backend
            self._tell("attached", backend)
            return backend
        if (known.host, known.port) != (host, port):
            raise ConflictError(
                f"backend {backend_id} is at {known.address}; drain and delete it before its id "
                "can have another address"
            )
        if known.state is DRAINING:
            raise ConflictError(f"backend {backend_id} is draining; that cannot be undone")
        if known.version != version:
            if known.in_flight or known.counters.requests:
                self._retired.setdefault(known.version, Counters()).add(known.counters)
                known.counters = Counters()
            known.version = version
        if known.weight != weight:
            known.weight = weight
            self._stale = True
            self._tell("weight", known)
        return known

    def mark(
        self,
        backend: Backend,
        state: State,
        reason: str | None = None,
        *,
        check: str | None = None,
    ) -> None:
        """Move a backend to another state, if the table allows that.

        Args:
            backend: which.
            state: where to.
            reason: why, for people.
            check: how the last health check ended, where that is why.

        Raises:
            IllegalTransitionError: the table has no such step; nothing is changed.
        """
        if state not in TRANSITIONS[backend.state]:
            raise IllegalTransitionError(
                f"backend {backend.id}: {backend.state} cannot become {state}"
            )
        chosen = State.UP in (backend.state, state) or backend.keeps_idle
        backend.state = state
        if state is UP:
            # Another process may listen there than the last time.
            backend.reuse.forget()
        if chosen and backend.weight > 0:
            self._stale = True
        self._tell(state.value, backend, reason, check)
        self._tell_if_calm(backend)

    def drain(
        self, backend_id: str, reason: str | None = None, *, close_idle: bool = True
    ) -> Backend:
        """Open no further connection to a backend, for good. Repeating this changes nothing.

        Args:
            backend_id: which.
            reason: why, for people.
            close_idle: send it no further requests either. Otherwise its idle connections take
                requests until `close_idle` is called, or until it is drained again without that.
        """
        backend = self.get(backend_id)
        if backend.state is not DRAINING:
            # Only what was up has connections that it was chosen for.
            backend.keeps_idle = not close_idle and backend.state is UP
            self.mark(backend, DRAINING, reason)
        elif close_idle:
            self.close_idle(backend)
        return backend

    def close_idle(self, backend: Backend) -> None:
        """Let the idle connections of a draining backend take no more requests."""
        if backend.keeps_idle:
            backend.keeps_idle = False
            self._stale = True
            self._tell("idle_closed", backend)
            self._tell_if_calm(backend)

    def remove(self, backend_id: str) -> Backend:
        """Forget a backend; if it is not draining, drain it in the same step."""
        backend = self.drain(backend_id)
        del self._backends[backend_id]
        self._retired.setdefault(backend.version, Counters()).add(backend.counters)
        self.mark(backend, State.REMOVED)
        return backend

    # Shares

    def set_weights(self, weights: Mapping[str, float]) -> None:
        """Set the weights of several backends in one step: all of them or none.

        Raises:
            UnknownBackendError: one of them is not known.
            ConflictError: a weight is negative or no finite number.
        """
        chosen = {self.get(backend_id): weight for backend_id, weight in weights.items()}
        for backend, weight in chosen.items():
            _check_weight(backend.id, weight)
        for backend, weight in chosen.items():
            backend.weight = weight
        self._stale = True
        self._tell("weight")

    def set_active(self, ids: Collection[str]) -> None:
        """Give weight 1 to these backends and 0 to all others, in one step.

        Raises:
            UnknownBackendError: one of them is not known.
            ConflictError: one of them is not up, or the set is empty; nothing is changed.
        """
        chosen = [self.get(backend_id) for backend_id in ids]
        if not chosen:
            raise ConflictError(
                "the active set must not be empty; weights of 0 take all traffic away"
            )
        late = [f"{one.id} is {one.state}" for one in chosen if one.state is not UP]
        if late:
            raise ConflictError(f"every member of the active set must be up: {', '.join(late)}")
        for backend in self._backends.values():
            backend.weight = 0.0
        for backend in chosen:
            backend.weight = 1.0
        self._stale = True
        self._tell("active")

    def eject(self, backend: Backend, reason: str) -> bool:
        """Take a backend out of the choice for a while, unless it is the last one in it."""
        if backend.ejected or not any(one is not backend for one in self.ring if not one.ejected):
            return False
        backend.ejected = True
        self._stale = True
        self._tell("ejected", backend, reason)
        return True

    def restore(self, backend: Backend) -> None:
        """End a backend's ejection."""
        if backend.ejected:
            backend.ejected = False
            self._stale = True
            self._tell("restored", backend)

    # The choice

    def acquire(
        self,
        tried: Collection[Backend] = (),
        version: str | None = None,
        *,
        fresh: bool = False,
    ) -> Backend | None:
        """Choose the backend of one exchange and claim it, in one step.

        Smooth weighted round robin (nginx, `ngx_http_upstream_round_robin.c`; Willy Tarreau's
        and Maxim Dounin's published description): of weights 5, 1, 1 the first is chosen five
        times in seven, and never five times in a row.

        Args:
            tried: backends that this exchange must not go to again.
            version: prefer backends of this version, when one is routable.
            fresh: the exchange needs a new connection, so that no draining backend will do.

        Returns:
            The backend, its `in_flight` already counted; None when there is none to choose.
        """
        if self._stale:
            self._rebuild()
        ring = self._ring
        if self._keeping_idle and not fresh:
            ring += tuple(one for one in self._keeping_idle if self._has_idle(one))
        elif not tried and version is None and self._uniform:
            if not ring:
                return None
            place = self._next
            if place >= len(ring):
                place = 0
                ring = self._next_round(ring)
            self._next = place + 1
            chosen = ring[place]
            if chosen.in_flight >= self._limit:
                fit = [one for one in ring if one.in_flight < self._limit]
                if not fit:
                    return None
                chosen = _smooth(fit)
            chosen.in_flight += 1
            return chosen
        fit = [one for one in ring if one not in tried and one.in_flight < self._limit]
        if version is not None:
            fit = [one for one in fit if one.version == version] or fit
        if not fit:
            return None
        chosen = _smooth(fit)
        chosen.in_flight += 1
        return chosen

    def _next_round(self, ring: tuple[Backend, ...]) -> tuple[Backend, ...]:
        """The order of the next round of equal weights."""
        if self._shuffle is not None:
            order = list(ring)
            self._shuffle(order)
            self._ring = ring = tuple(order)
        return ring

    @property
    def is_plain(self) -> bool:
        """Whether the next choices take the ring's backends in turn."""
        return bool(self.ring) and self._uniform and not self._keeping_idle

    def plain_place(self) -> int:
        """The place in the ring of the next plain choice; the following ones take the next places.

        A simulator of steady traffic makes many choices at once. Nothing is claimed.

        Raises:
            ConflictError: the next choices are not plain: see `is_plain`.
        """
        if not self.is_plain:
            raise ConflictError("the next choices are not plain round robin")
        return self._next if self._next < len(self._ring) else 0

    def chosen(self, place: int) -> None:
        """Note that the last plain choice was this place of the ring as it was then."""
        self._next = place + 1

    def release(self, backend: Backend) -> None:
        """End one exchange with a backend."""
        backend.in_flight -= 1
        if not backend.in_flight:
            self._tell_if_calm(backend)

    def to_tunnel(self, backend: Backend) -> None:
        """Turn one exchange with a backend into a tunnel."""
        backend.tunnels += 1
        self.release(backend)

    def end_tunnel(self, backend: Backend) -> None:
        """End one tunnel."""
        backend.tunnels -= 1
        if backend.state is DRAINING and not backend.tunnels:
            self._tell("idle", backend)

    def inherit(self, counts: Mapping[str, int]) -> None:
        """Note how many exchanges a predecessor still has under way with each backend."""
        for backend in self.backends:
            was_busy = backend.busy
            backend.inherited = counts.get(backend.id, 0)
            if was_busy:
                self._tell_if_calm(backend)

    def mirror(self, views: Iterable[Backend]) -> None:
        """Copy the states and weights of a successor, which decides from now on."""
        fresh = {one.id: one for one in views}
        for known in self.backends:
            view = fresh.pop(known.id, None)
            if view is None:
                self.remove(known.id)
                continue
            leaves = view.state is DRAINING and known.state is not DRAINING
            known.weight, known.state = view.weight, view.state
            known.ejected = view.ejected
            if leaves:
                self._tell("draining", known, "mirrored")
        self._backends.update(fresh)
        self._stale = True
        self._tell("mirrored")

    def adopt(self, backends: Iterable[Backend], retired: Mapping[str, Counters]) -> None:
        """Begin with the backends of a predecessor, in their states there."""
        self._backends = {one.id: one for one in backends}
        self._retired = dict(retired)
        self._stale = True
        self._tell("adopted")

    def _rebuild(self) -> None:
        self._stale = False
        routable = tuple(one for one in self._backends.values() if one.routable)
        ring = tuple(one for one in routable if not one.ejected) or routable
        if ring != self._ring:
            for one in set(ring) - set(self._ring):
                one.credit = 0.0
            self._ring = ring
        self._keeping_idle = tuple(
            one for one in self._backends.values() if one.keeps_idle and one.weight > 0
        )
        self._uniform = len({one.weight for one in ring}) <= 1

    def _tell_if_calm(self, backend: Backend) -> None:
        """Tell that a draining backend has nothing under way, and will get nothing."""
        if backend.state is DRAINING and not backend.busy and not backend.keeps_idle:
            self._tell("idle", backend)

    def _tell(
        self,
        what: str,
        backend: Backend | None = None,
        reason: str | None = None,
        check: str | None = None,
    ) -> None:
        self._listener(Change(what, backend, reason, check))


def _check_weight(backend_id: str, weight: float) -> None:
    if not isfinite(weight) or weight < 0:
        raise ConflictError(
            f"backend {backend_id}: a weight must be a number, 0 or more, not {weight}"
        )


def _smooth(fit: list[Backend]) -> Backend:
    total = 0.0
    best = fit[0]
    for one in fit:
        one.credit += one.weight
        total += one.weight
        if one.credit > best.credit:
            best = one
    best.credit -= total
    return best
