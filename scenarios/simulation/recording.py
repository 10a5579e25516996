"""What became of simulated requests, written down as the evidence of a real run."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import count
from types import TracebackType
from typing import Any, Self

import msgspec

from balancer.backend import Backend
from balancer.backend_pool import Change
from balancer.proxy.error_responses import ErrorResponse
from orchestrator.model import JournalEvent
from orchestrator.simulated.chance import derived
from orchestrator.simulated.journeys import Mailed
from orchestrator.simulated.request import AnsweredMany, LockedOut, Origin, Request
from scenarios.evidence.backend import BackendChange
from scenarios.evidence.event import Event
from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.locks import DatabaseSession, LockWait
from scenarios.evidence.mail import Mail
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.progress import Progress
from scenarios.evidence.request_id import id_of
from scenarios.evidence.run_folder import RunFolder
from scenarios.evidence.tick import Tick
from scenarios.simulation.counting import CountedAnswers, Counting
from scenarios.simulation.model import Model, StepMeaning

_OK = 200
_HELD_NS = 50_000_000
_CONNECTION = 11
_HALF = 0.5
_HOLDER_PID = 1  # of whoever holds a lock; each wait is a session of its own
_MOST_NAMED = 100
"""Up to so many replicas a tick names those that answered."""


class Recording:
    """Takes what became of each request, and all else that a run records.

    It is a context manager, which closes the files.
    """

    def __init__(self, model: Model, files: RunFolder, watcher: Progress, slow_ns: int) -> None:
        """Open the files.

        Args:
            model: what is simulated.
            files: the run's folder.
            watcher: told of events and ticks.
            slow_ns: from here on a request is slow.

        Raises:
            EvidenceError: a file cannot be opened.
        """
        run, scenario = model.run, model.steps
        self._steps = scenario
        self._each = model.record == "each"
        self._slow_ns = slow_ns
        self._watcher = watcher
        self._delay_ns = round(run.world.network.delay_seconds * 1e9)
        self._seed = run.seed
        self._domain = model.mail_domain
        self._now: Callable[[], int] = int
        self._names_replicas = run.policy.replicas <= _MOST_NAMED
        self._stack = ExitStack()
        enter = self._stack.enter_context
        self._requests = enter(files.requests.recorder())
        self._exchanges = enter(files.exchanges.recorder())
        self._mails = enter(files.mails.recorder())
        self._events = enter(files.events.recorder())
        self._changes = enter(files.backend_changes.recorder())
        self._ticks = enter(files.ticks.recorder())
        self._counted = None if self._each else enter(files.counted.recorder())
        locks = any(one.lock is not None for one in run.world.endpoints)
        self._lock_waits = enter(files.lock_waits.recorder()) if locks else None
        self._sessions = count(_HOLDER_PID + 1)
        self.counting = Counting()
        self._tick = _TickCount()
        self._codes: tuple[Sequence[Backend], list[str], Any] | None = None
        self._ticking = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._stack:
            if self._counted is not None:
                for line in self.counting.lines(self._steps, _OK):
                    self._counted.write(line)

    # What became of requests

    def answered(self, request: Request, status: int, sqlstate: str | None) -> None:
        """A replica answered."""
        backend = request.backend
        assert backend is not None  # noqa: S101 - it has just answered
        step = self._steps[request.endpoint]
        at_ns, done_ns = request.at_ns, self._now()
        good = status == _OK
        if good:
            self._tick.ok += 1
        else:
            self._fail(f"{status} {sqlstate}" if sqlstate else str(status))
        self._tick.latencies.append(done_ns - at_ns)
        if self._names_replicas:
            self._tick.served_by[backend.id] += 1
        plain = good and request.attempts == 1 and done_ns - at_ns <= self._slow_ns
        if plain and not self._each and self._waited_ns(request) < _HELD_NS:
            self.counting.add(request.endpoint, backend.version, at_ns, done_ns - at_ns)
            return
        said = step.expected[0] if good and _OK not in step.expected else status
        self._write(
            request,
            step,
            done_ns=done_ns,
            status=said,
            served_by=backend.id,
            first_byte_ns=done_ns,
            sqlstate=sqlstate,
        )
        self._log(request, backend, said, "complete", done_ns)

    def refused(self, request: Request, response: ErrorResponse) -> None:
        """The balancer answered by itself."""
        now = self._now()
        self._tick.latencies.append(now - request.at_ns)
        self._fail(f"{response.status} {response.error}")
        self._write(
            request,
            self._steps[request.endpoint],
            done_ns=now,
            status=response.status,
            first_byte_ns=now,
            proxy_status=f'hitless; error={response.error}; details="{response.details}"',
        )
        self._log(request, request.last, response.status, response.error, now)

    def gave_up(self, request: Request) -> None:
        """Its user waited for too long."""
        now = self._now()
        self._tick.latencies.append(now - request.at_ns)
        self._fail("timeout")
        self._write(request, self._steps[request.endpoint], done_ns=now, error="timeout")
        self._log(request, request.last, 0, "client_gone", now)

    def locked_out(self, wait: LockedOut) -> None:
        """A replica waits for a lock, for one request."""
        if self._lock_waits is None:
            return
        holder = DatabaseSession(
            pid=_HOLDER_PID, application=wait.holder, mode="AccessExclusiveLock"
        )
        self._lock_waits.write(
            LockWait(
                at_ns=wait.at_ns,
                end_ns=wait.until_ns,
                gone_ns=wait.until_ns,
                waiter=DatabaseSession(pid=next(self._sessions), application=wait.replica),
                mode="RowExclusiveLock",
                kind="relation",
                relation=wait.table,
                chain=(holder,),
            )
        )

    def answered_many(self, many: AnsweredMany) -> None:
        """Replicas answered many requests, all with success."""
        versions, codes = self._versions_of(many.backends)
        latencies = many.answered_ns - many.at_ns
        self._tick.ok += len(latencies)
        self._tick.many.append(latencies)
        fast = latencies <= self._slow_ns
        if not fast.all():
            self._write_slow(many, ~fast)
        self.counting.add_many(
            CountedAnswers(
                versions,
                codes[many.places[fast]],
                many.endpoints[fast],
                many.at_ns[fast],
                latencies[fast],
            )
        )

    def _versions_of(self, backends: Sequence[Backend]) -> tuple[list[str], Any]:
        import numpy as np  # noqa: PLC0415 - whoever has many at once has it

        known = self._codes
        if known is None or known[0] is not backends:
            versions = list(dict.fromkeys(one.version for one in backends))
            order = {name: number for number, name in enumerate(versions)}
            codes = np.array([order[one.version] for one in backends], dtype=np.int64)
            known = self._codes = (backends, versions, codes)
        return known[1], known[2]

    def _write_slow(self, many: AnsweredMany, slow: Any) -> None:  # noqa: ANN401 - an array
        columns = (one[slow].tolist() for one in many[1:])
        for number, place, endpoint, at_ns, done_ns in zip(*columns, strict=True):
            request = Request(number, endpoint, at_ns, 0.0, done_ns, None)
            request.attempts = 1
            request.reused = True
            request.connected_ns = at_ns
            step, backend = self._steps[endpoint], many.backends[place]
            self._write(
                request,
                step,
                done_ns=done_ns,
                status=step.expected[0],
                served_by=backend.id,
                first_byte_ns=done_ns,
            )
            self._log(request, backend, step.expected[0], "complete", done_ns)

    def _write(
        self,
        request: Request,
        step: StepMeaning,
        *,
        done_ns: int,
        status: int | None = None,
        error: str | None = None,
        served_by: str | None = None,
        first_byte_ns: int | None = None,
        proxy_status: str | None = None,
        sqlstate: str | None = None,
    ) -> None:
        at_ns = request.at_ns
        new = step.connection == "new" or (
            step.connection == "any" and derived(request.share, _CONNECTION) < _HALF
        )
        origin = request.user if isinstance(request.user, Origin) else None
        stays = origin is not None and origin.user < 0
        unique = self._unique(request)
        self._requests.write(
            Outcome(
                request_id=self._id(request, request.endpoint, origin.mail if origin else 0),
                journey=step.journey,
                endpoint=step.endpoint,
                connection="new" if new else "reused",
                planned_ns=at_ns,
                done_ns=done_ns,
                expected=step.expected,
                sent_ns=at_ns,
                first_byte_ns=first_byte_ns,
                status=status,
                error=error,
                served_by=served_by,
                proxy_status=proxy_status,
                sqlstate=sqlstate,
                subject=f"{unique}@{self._domain}" if step.subject else None,
                cause_id=None
                if origin is None or origin.led_by < 0
                else self._id(request, origin.led_by, origin.led_by_mail),
                user=unique if stays else None,
            )
        )

    def _log(
        self, request: Request, backend: Backend | None, status: int, end: str, done_ns: int
    ) -> None:
        sent = request.attempts > 0
        self._exchanges.write(
            ExchangeRecord(
                at_ns=request.at_ns,
                request_id=self._id(
                    request,
                    request.endpoint,
                    request.user.mail if isinstance(request.user, Origin) else 0,
                ),
                status=status,
                backend=backend.id if backend is not None and sent else None,
                version=backend.version if backend is not None and sent else None,
                attempts=request.attempts,
                end=end,
                wait_ns=self._waited_ns(request) if sent else -1,
                connect_ns=0 if request.reused else 2 * self._delay_ns if sent else -1,
                first_byte_ns=done_ns - request.at_ns if end == "complete" else -1,
                total_ns=done_ns - request.at_ns,
                reused=request.reused,
            )
        )

    def _waited_ns(self, request: Request) -> int:
        """From its planned time until a replica was chosen for the last time."""
        chosen_ns = request.connected_ns - (0 if request.reused else 2 * self._delay_ns)
        return max(0, chosen_ns - request.at_ns)

    def _id(self, request: Request, endpoint: int, mail: int) -> str:
        step = self._steps[endpoint]
        origin = request.user if isinstance(request.user, Origin) else None
        if origin is not None and origin.user < 0:
            return id_of(f"{self._unique(request)}-{origin.visit + 1}", step.step)
        repetition = self._steps[mail].step - 1 if step.after_mail else 0
        return id_of(self._unique(request), step.step, repetition)

    def _unique(self, request: Request) -> str:
        """The word of its user, such as `s7-000123`, or `s7-u000004` for a user who stays."""
        if isinstance(request.user, Origin) and request.user.user < 0:
            return f"s{self._seed}-u{~request.user.user:06d}"
        return f"s{self._seed}-{request.number - 1:06d}"

    def _fail(self, word: str) -> None:
        self._tick.failed += 1
        self._tick.failures[word] += 1

    # What else happens

    def mailed(self, mail: Mailed) -> None:
        """A version sent a mail."""
        request = mail.request
        origin = request.user if isinstance(request.user, Origin) else None
        self._mails.write(
            Mail(
                at_ns=mail.at_ns,
                recipient=f"{self._unique(request)}@{self._domain}",
                request_id=self._id(request, request.endpoint, origin.mail if origin else 0),
                sent_by=mail.replica,
            )
        )

    def event(self, event: JournalEvent) -> None:
        """A line of the journal."""
        line = msgspec.convert(event, Event, from_attributes=True)
        self._events.write(line)
        self._watcher.on_event(line)

    def phase(self, name: str, at_ns: int) -> None:
        """A phase begins; from `baseline` on there is traffic, and so there are ticks."""
        self.counting.begin_phase(name, at_ns)
        if name == "baseline":
            self._ticking = True
            self._tick = _TickCount(at_ns)
        elif name == "end":
            self._ticking = False

    def watch(self, now: Callable[[], int]) -> None:
        """Know the time from now on."""
        self._now = now

    def changed(self, change: Change) -> None:
        """The balancer's view of a backend changed."""
        backend = change.backend
        if backend is not None:
            self._changes.write(
                BackendChange(
                    at_ns=self._now(),
                    change=change.what,
                    id=backend.id,
                    state=str(backend.state),
                    version=backend.version,
                    weight=backend.weight,
                    reason=change.reason,
                    check=change.check,
                )
            )

    def tick(self, planned: int, in_flight: int) -> None:
        """Write down what happened since the last tick.

        Args:
            planned: how many requests were planned so far.
            in_flight: how many are under way.
        """
        if not self._ticking:
            return
        now = self._now()
        tick = self._tick.close(now, planned, in_flight)
        self._ticks.write(tick)
        self._watcher.on_tick(tick)
        self._tick = _TickCount(now, planned)


class _TickCount:
    """What happened since the last tick."""

    def __init__(self, since_ns: int = 0, planned: int = 0) -> None:
        self.since_ns = since_ns
        self.planned = planned
        self.ok = self.failed = 0
        self.latencies: list[int] = []
        self.many: list[Any] = []
        self.failures: Counter[str] = Counter()
        self.served_by: Counter[str] = Counter()

    def close(self, now_ns: int, planned: int, in_flight: int) -> Tick:
        """The tick, at an instant."""
        p50, p99 = self._percentiles()
        return Tick(
            at_ns=now_ns,
            seconds=(now_ns - self.since_ns) / 1e9,
            planned=planned - self.planned,
            ok=self.ok,
            failed=self.failed,
            in_flight=in_flight,
            p50_seconds=p50,
            p99_seconds=p99,
            failures=dict(self.failures),
            served_by=dict(sorted(self.served_by.items())),
        )

    def _percentiles(self) -> tuple[float | None, float | None]:
        if self.many:
            import numpy as np  # noqa: PLC0415 - whoever has many at once has it

            every = np.concatenate([*self.many, np.array(self.latencies, dtype=np.int64)])
            last = len(every) - 1
            places = (round(0.5 * last), round(0.99 * last))
            found = np.partition(every, places)
            return float(found[places[0]]) / 1e9, float(found[places[1]]) / 1e9
        if not self.latencies:
            return None, None
        ordered = sorted(self.latencies)
        last = len(ordered) - 1
        return ordered[round(0.5 * last)] / 1e9, ordered[round(0.99 * last)] / 1e9
