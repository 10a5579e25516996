"""What else went on at a time: locks, the database's absence, the balancer's checks, its errors.

Each question is about a replica and a stretch of time, such as the life of one request; what one
version serves and another lacks is a question of the whole run.
"""

from collections.abc import Iterable, Iterator

from scenarios.evidence.backend import BackendChange
from scenarios.evidence.evidence import Evidence
from scenarios.evidence.locks import DatabaseSession, LockWait
from scenarios.evidence.server_log import ServerLine
from scenarios.evidence.session_client import SessionClient
from scenarios.verdict.causes.answer_times import AnswerTimes
from scenarios.verdict.causes.answers import Answers
from scenarios.verdict.causes.lock_waits import Blocked, SessionWaits, covered_ns
from scenarios.verdict.causes.logged import LoggedErrors
from scenarios.verdict.causes.machine import Machine, Starved
from scenarios.verdict.causes.server_errors import ServerErrors, is_ours, words
from scenarios.verdict.causes.service_calls import ServiceCalls
from scenarios.verdict.causes.skew import Skew
from scenarios.verdict.causes.stretches import (
    Absence,
    Down,
    OutOfService,
    absences,
    doings,
    downs,
    reloads,
    within,
)
from scenarios.verdict.cluster.cluster_history import ClusterHistory
from scenarios.verdict.columns.requests import RequestColumns
from scenarios.verdict.model import CacheChange
from scenarios.verdict.timeline import CONTAINERS, Timeline

SLACK_NS = 1_000_000_000
"""How much later than it began an effect may be noticed by those who only look now and then."""

CHECKS_NS = SLACK_NS
"""For so long, at least, something must have gone on by which health checks failed."""

RELOAD_NS = 500_000_000
"""For how long after a reload a router may still close connections from before it."""

_SHARE = 0.5
"""A stretch explains a delay if it covers at least half of it."""

_ELSEWHERE = frozenset({"foreign", "kubernetes"})
"""Platforms whose replicas are not started by the run, so that they may be any process."""


class Surroundings:
    """Everything that attribution asks besides the request itself and its replica's life.

    Attributes:
        timeline: the journal.
        waits: every wait for a lock, in order.
        absences: when the database did not answer.
        server_errors: the errors that the server logged for sessions of the application, in its own
            database.
        skew: what one version serves and another lacks.
        machine: how far other processes had the machine.
        answers: the requests that succeeded.
        logged: the errors in the replicas' logs.
        calls: what was called of the services.
        cache: keys of a store whose values changed their form.
        cluster: what the cluster did on which the replicas are pods; empty without one.
    """

    def __init__(
        self,
        timeline: Timeline,
        locks: Iterable[LockWait] = (),
        server_log: Iterable[ServerLine] = (),
        backends: Iterable[BackendChange] = (),
        database: str | None = None,
        *,
        clients: Iterable[SessionClient] = (),
    ) -> None:
        """Put it in order.

        Args:
            timeline: the journal.
            locks: the waits for locks.
            server_log: what the server logged, of all its databases.
            backends: what the balancer made of its backends.
            database: the application's own; None: nobody wrote down which, and each may be.
            clients: which replica had which session.
        """
        self._clients: dict[tuple[int, int | None], str] = {
            (one.pid, one.port): one.replica
            for one in clients
            if one.port is not None and one.replica is not None
        }
        self.machine = Machine()
        self.logged = LoggedErrors()
        self.calls = ServiceCalls()
        self.cache: tuple[CacheChange, ...] = ()
        self.cluster = ClusterHistory()
        self.timeline = timeline
        self.skew = Skew(timeline)
        self.answers = Answers()
        self.waits = sorted(locks, key=lambda wait: (wait.at_ns, wait.waiter.pid))
        self.absences = absences(timeline.events)
        self.server_errors = ServerErrors(server_log, database, self.replica_of)
        self._all_waits = self._by_replica(self.waits)
        self._waits = self._by_replica(
            wait for wait in self.waits if not is_ours(wait.waiter.application)
        )
        changes = sorted(backends, key=lambda change: change.at_ns)
        self._downs = downs(changes)
        self._reloads = reloads(changes)
        self._answer_times = AnswerTimes()
        self._migrations = doings(timeline.events, "migrate")
        self._faults = doings(timeline.events, "fault")

    @classmethod
    def of(cls, evidence: Evidence) -> "Surroundings":
        """What went on in a run, but for its requests and mails: `use` takes note of the requests.

        The journal, the waits for locks, what Postgres logged, what the balancer made of its
        backends, and the load of the machine are read to their ends.
        """
        settings = evidence.manifest.cluster
        cluster = (
            ClusterHistory(evidence.cluster_changes)
            if settings is None
            else ClusterHistory(
                evidence.cluster_changes, settings.deployment, versions=settings.versions
            )
        )
        own = tuple(evidence.events)
        around = cls(
            Timeline([*own, *cluster.events_beside(own)]),
            evidence.lock_waits or (),
            evidence.server_lines or (),
            [*evidence.backend_changes, *cluster.backend_changes],
            evidence.manifest.database,
            clients=evidence.session_clients,
        )
        around.cluster = cluster
        whole = evidence.manifest.platform not in _ELSEWHERE
        around.logged = LoggedErrors(evidence.logged_errors, shared=not whole)
        around.machine = Machine(evidence.machine_samples, whole=whole)
        return around

    def _by_replica(self, waits: Iterable[LockWait]) -> dict[str | None, SessionWaits]:
        found: dict[str | None, list[LockWait]] = {}
        for wait in waits:
            found.setdefault(self.replica_of(wait.waiter), []).append(wait)
        return {replica: SessionWaits(group) for replica, group in found.items()}

    def waits_of(self, replica: str | None, start_ns: int, end_ns: int) -> list[LockWait]:
        """The waits in that time of the replica's sessions, and of those that name no replica.

        Also those of the run's own sessions, such as the migrator's; by their begin.
        """
        found = [
            wait
            for key in {replica, None}
            if key in self._all_waits
            for wait in self._all_waits[key].within(start_ns, end_ns)
        ]
        return sorted(found, key=lambda wait: (wait.at_ns, wait.waiter.pid))

    def replica_of(self, session: DatabaseSession | ServerLine) -> str | None:
        """The replica whose process is the session's client, else the one that its name names.

        Such as `newsletter_app a-1` (`application_name`).
        """
        client = self._clients.get((session.pid, session.port))
        if client in self.timeline.lives:
            return client
        named = set(words(session.application or ""))
        return next((replica for replica in self.timeline.lives if replica in named), None)

    def blocked(self, replica: str | None, start_ns: int, end_ns: int) -> Blocked | None:
        """How long sessions of the replica waited for locks; None if not for half of the time.

        Sessions that name no replica may be anybody's.
        """
        found = [
            wait
            for key in {replica, None}
            if key in self._waits
            for wait in self._waits[key].within(start_ns, end_ns)
        ]
        if not found:
            return None
        covered = covered_ns(found, start_ns, end_ns)
        if covered < _SHARE * (end_ns - start_ns):
            return None
        longest = max(
            found,
            key=lambda w: (min(w.end_ns, end_ns) - max(w.at_ns, start_ns), -w.at_ns, w.waiter.pid),
        )
        return Blocked(longest, covered / 1e9)

    def absence(self, start_ns: int, end_ns: int) -> Absence | None:
        """When the database was away during that time, or until just before it."""
        for one in self.absences:
            if one.start_ns <= end_ns and (one.end_ns is None or start_ns <= one.end_ns + SLACK_NS):
                return one
        return None

    def down(self, replica: str | None, start_ns: int, end_ns: int) -> Down | None:
        """When the balancer's checks took the replica out, during that time or just after."""
        for one in self._downs.get(replica or "", ()):
            if one.start_ns <= end_ns + SLACK_NS and (one.end_ns is None or start_ns <= one.end_ns):
                return one
        return None

    def starved_fleet(self, start_ns: int, end_ns: int) -> Starved | None:
        """Whether all replicas in service had been taken out for want of processor time.

        None if a replica in service was not down, if one was down for another reason than health
        checks without an answer, if others did not have the machine during the checks, or if no
        replica was to be in service: then the release had left none.

        Args:
            start_ns: from when the request waited.
            end_ns: until when.
        """
        found: Starved | None = None
        for down in self._fleet_down(start_ns, end_ns):
            found = self._checks_starved(down)
            if found is None:
                return None
        return found

    def _fleet_down(self, start_ns: int, end_ns: int) -> Iterator[Down | None]:
        """Of each replica in service, the stretch in which it was down at that time."""
        for replica, life in self.timeline.lives.items():
            if life.serves(start_ns):
                yield self.down_during(replica, start_ns, end_ns)

    def _checks_starved(self, down: Down | None) -> Starved | None:
        if down is None or not down.unanswered:
            return None
        return self.machine.starved(down.start_ns - CHECKS_NS, down.start_ns)

    def blocked_fleet(self, start_ns: int, end_ns: int) -> Blocked | None:
        """Whether all replicas in service had been taken out while they waited for a lock.

        None if a replica in service was not down, if a check was refused, if it did not wait for a
        lock for half of the time of its failing checks, or if no replica was to be in service.

        Args:
            start_ns: from when the request waited.
            end_ns: until when.
        """
        longest: Blocked | None = None
        for down in self._fleet_down(start_ns, end_ns):
            if down is None or down.refused:
                return None
            blocked = self.blocked(down.replica, down.start_ns - CHECKS_NS, down.start_ns)
            if blocked is None:
                return None
            if longest is None or blocked.seconds > longest.seconds:
                longest = blocked
        return longest

    def stalled(self) -> Starved | None:
        """How far others had the machine when the release ended since replicas did not answer.

        Either new replicas were not ready in time, or a replica that had to stay up was taken out
        by health checks without an answer. None if the release ended for another reason.
        """
        began = {
            event.number: event.at_ns for event in self.timeline.events if event.state == "started"
        }
        for event in reversed(self.timeline.events):
            if event.state != "failed" or event.verb in CONTAINERS:
                continue
            start_ns = began.get(event.number, event.at_ns)
            if event.verb == "wait_ready":
                late = event.detail.get("timed_out") is True
                return self.machine.starved(start_ns, event.at_ns) if late else None
            downs = (self.down_during(one, start_ns, event.at_ns) for one in event.replicas)
            return next((one for down in downs if (one := self._checks_starved(down))), None)
        return None

    def unsettled(self) -> Starved | None:
        """How far others had the machine while the application did not finish its work in time.

        None if it did, or if the machine was neither starved then nor over the whole of the
        traffic, when the work piled up.
        """
        for event in self.timeline.events:
            if event.verb == "phase" and event.state == "noted" and event.error is not None:
                start_ns = self.timeline.phases[self.timeline.phase_at(event.at_ns)].start_ns
                begin_ns = min((one.start_ns for one in self.timeline.phases), default=start_ns)
                return self.machine.starved(start_ns, event.at_ns) or self.machine.starved(
                    begin_ns, event.at_ns
                )
        return None

    def down_during(self, replica: str, start_ns: int, end_ns: int) -> Down | None:
        """The first stretch in which the replica was down during that time; None if it was not."""
        for one in self._downs.get(replica, ()):
            if one.start_ns <= end_ns and (one.end_ns is None or start_ns <= one.end_ns):
                return one
        return None

    def checked(self, replica: str) -> bool:
        """Whether the balancer's own events tell of the replica's health."""
        return replica in self._downs

    def reloading(self, start_ns: int, end_ns: int) -> bool:
        """Whether the router loaded a new configuration during that time, or just before it."""
        return any(
            begin <= end_ns and (end is None or start_ns <= end + RELOAD_NS)
            for begin, end in self._reloads
        )

    def use(self, columns: RequestColumns) -> None:
        """Take note of all requests."""
        self.skew.use(columns)
        self.answers = Answers(columns)
        self._answer_times.use(columns)

    def hear(self, replica: str, at_ns: int) -> None:
        """Take note of an answer of a replica, so that its silence can be told."""
        self._answer_times.hear(replica, at_ns)

    def silent(self, replica: str | None, start_ns: int, end_ns: int) -> bool:
        """Whether a replica answered nobody in that time, which is long for it."""
        return self._answer_times.silent(replica, start_ns, end_ns)

    def server_error(self, replica: str | None, start_ns: int, end_ns: int) -> ServerLine | None:
        """What the server refused a session of the replica in that time, if it is one thing."""
        return self.server_errors.only_error(replica, start_ns, end_ns)

    def first_of_session(self, line: ServerLine) -> ServerLine:
        """The error that broke the transaction, for a line that only says that it is broken."""
        return self.server_errors.first_of_session(line)

    def first_error_of(self, replica: str, start_ns: int, end_ns: int) -> ServerLine | None:
        """The first statement in that time that the server refused a session named by a replica."""
        return self.server_errors.first_error_of(replica, start_ns, end_ns)

    def fleet_at(self, at_ns: int) -> list[OutOfService]:
        """The replicas that were out of service at an instant, by the time when they went out."""
        found: list[OutOfService] = []
        for name, life in self.timeline.lives.items():
            if life.attached_ns is None or life.attached_ns > at_ns:
                continue
            ends = [
                OutOfService(ended_ns, name, why, ordered)
                for ended_ns, why, ordered in (
                    (life.drain_started_ns, "it was drained", True),
                    (life.stop_started_ns, "it was stopped", True),
                    (life.died_ns, "it died", False),
                )
                if ended_ns is not None and ended_ns <= at_ns
            ]
            ends += [
                OutOfService(one.start_ns, name, one.reason, ordered=False)
                for one in self._downs.get(name, ())
                if one.start_ns <= at_ns and (one.end_ns is None or at_ns <= one.end_ns)
            ]
            if ends:
                found.append(min(ends))
        return sorted(found)

    def type_changed(self, before_ns: int) -> bool:
        """Whether a table had been rewritten by then, as a change of a column's type does."""
        return any(
            event.verb == "table" and event.state == "noted" and event.at_ns <= before_ns
            for event in self.timeline.events
        )

    def errors_of(self, replica: str | None, start_ns: int, end_ns: int) -> list[ServerLine]:
        """The errors in that time of the replica's sessions, and of those that name no replica."""
        return self.server_errors.errors_of(replica, start_ns, end_ns)

    @property
    def migrations(self) -> list[tuple[str, int, int | None]]:
        """Every migration: its name, when it began, and when it ended, if it did."""
        return [(one.name, one.start_ns, one.end_ns) for one in self._migrations]

    def migration(self, start_ns: int, end_ns: int) -> str | None:
        """The migration that ran during that time."""
        return next((one.name for one in within(self._migrations, start_ns, end_ns)), None)

    def faults(self, replica: str | None, start_ns: int, end_ns: int) -> list[str]:
        """The faults that the harness made at that time: to this replica, to a service, or to all.

        Their effect may outlast them: a killed replica stays dead, so each counts from its begin
        on for as long as effects may take to be noticed.
        """
        if not self._faults:
            return []
        return [
            one.name
            for one in self._faults
            if one.start_ns <= end_ns
            and (one.end_ns is None or start_ns <= one.end_ns + SLACK_NS)
            and (not one.replicas or replica in one.replicas or self._of_service(one.replicas))
        ]

    def _of_service(self, replicas: Iterable[str]) -> bool:
        """Whether replicas are those of a service, which any request may have needed."""
        services = {one.service for one in self.calls.services}
        return any(self.timeline.sets.get(one) in services for one in replicas)
