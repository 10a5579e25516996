"""The folder of a long run, made up: as many requests as asked for, with all that belongs to them.

Users subscribe, get a mail, and confirm; others look once, and a hundred stay. While version a is
replaced by b, requests fail for several reasons. Every row of the database is as it was promised.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from scenarios.evidence.event import Event
from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.mail import Mail
from scenarios.evidence.manifest import Manifest
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.run_folder import RecordFile, RunFolder
from scenarios.evidence.subject import Subject
from scenarios.evidence.tick import Tick

T = TypeVar("T", bound=msgspec.Struct)

SECOND = 10**9
START = 5_000 * SECOND
RATE = 1000
SUBSCRIBE, CONFIRM, LOOK = "POST /subscriptions", "GET /subscriptions/confirm", "GET /health_check"
EXISTING = 20_000
_STAYING = 100
_CLICKS_LATER = 200
"""A mail is clicked so many groups of ten requests later, which is two seconds."""

_SWITCHED = (0.35, 0.45, 0.55)
"""At which part of the run each of the three replicas of a is replaced by one of b."""

_MIGRATED, _ROLLOUT, _SETTLED = 0.30, 0.25, 0.75


class LongRun:
    """A run of so many requests, of which about so many fail."""

    def __init__(self, requests: int, failed: int) -> None:
        self.requests = requests
        self._window = range(int(requests * _ROLLOUT), int(requests * _SETTLED))
        self._every = max(len(self._window) // failed, 1) if failed else 0
        self._switched = [int(requests * part) for part in _SWITCHED]

    def write(self, folder: Path) -> None:
        """Write the folder.

        Raises:
            EvidenceError: a file cannot be written.
        """
        run = RunFolder(folder)
        exchanges, mails = run.exchanges.recorder(), run.mails.recorder()
        after, requests = run.subjects_after.recorder(), run.requests.recorder()
        with requests, exchanges, mails, after:
            for number in range(EXISTING):
                after.write(Subject(subject=f"old-{number}@example.com", state="active"))
            pending: dict[str, None] = {}
            for index in range(self.requests):
                outcome = self._outcome(index)
                requests.write(outcome)
                if outcome.error is None or outcome.error == "timeout":
                    exchanges.write(_exchange(outcome))
                if outcome.endpoint == SUBSCRIBE and outcome.ok and outcome.subject is not None:
                    mails.write(_mail(outcome, outcome.subject))
                    pending[outcome.subject] = None
                elif outcome.endpoint == CONFIRM and outcome.ok and outcome.subject is not None:
                    pending.pop(outcome.subject)
                    after.write(Subject(subject=outcome.subject, state="active"))
            for subject in pending:
                after.write(Subject(subject=subject, state="pending_confirmation"))
        rows = (Subject(subject=f"old-{n}@example.com", state="active") for n in range(EXISTING))
        _lines(run.subjects_before, rows)
        _lines(run.ticks, self._ticks())
        _lines(run.events, self._events())
        run.write_manifest(_manifest(run))

    def _fails(self, index: int) -> bool:
        return bool(self._every) and index in self._window and index % self._every == 0

    def _subscribed(self, group: int, place: int) -> int | None:
        """The index of the subscription whose mail is clicked now; None if none is."""
        index = (group - _CLICKS_LATER) * 10 + place
        return None if index < 0 or self._fails(index) else index

    def _outcome(self, index: int) -> Outcome:
        group, place = divmod(index, 10)
        planned = START + index * SECOND // RATE
        slot = index * 7 % 3
        replica = f"{'b' if index >= self._switched[slot] else 'a'}-{slot + 1}"
        sent = planned + (150_000 if index % 4 else 700_000) + index * 7919 % 997 * 100
        done = sent + 3_000_000 + index * 104_729 % 9973 * 1000
        endpoint, journey, name = LOOK, "look", f"s1-{index:07}-1"
        subject = user = cause = None
        led = self._subscribed(group, place - 4) if 4 <= place < 7 else None
        if place < 4:
            endpoint, journey, subject = SUBSCRIBE, "subscribe", f"s1-{index:07}@example.com"
        elif led is not None:
            endpoint, journey, subject = CONFIRM, "subscribe", f"s1-{led:07}@example.com"
            name, cause = f"s1-{led:07}-2", f"s1-{led:07}-1"
        elif place == 9:
            journey, user = "insist", f"s1-u{group % _STAYING:06}"
            name = f"{user}-{group // _STAYING + 1}-1"
        outcome = Outcome(
            request_id=name,
            journey=journey,
            endpoint=endpoint,
            connection="reused" if index % 4 else "new",
            planned_ns=planned,
            sent_ns=sent,
            first_byte_ns=done - 60_000,
            done_ns=done,
            expected=(200,),
            status=200,
            served_by=replica,
            subject=subject,
            cause_id=cause,
            user=user,
        )
        return self._failed(outcome, index) if self._fails(index) else outcome

    def _failed(self, outcome: Outcome, index: int) -> Outcome:
        replace = msgspec.structs.replace
        kind = index // self._every % 5
        on_a = (outcome.served_by or "").startswith("a")
        if outcome.endpoint == SUBSCRIBE and on_a and index > self.requests * _MIGRATED:
            return replace(outcome, status=500, sqlstate="23502", problem="Internal Server Error")
        if outcome.endpoint == CONFIRM and on_a:
            return replace(outcome, status=404)
        if kind == 0:
            gone = "hitless; error=connection_terminated"
            return replace(outcome, status=502, served_by=None, proxy_status=gone)
        if kind == 1:
            late = outcome.planned_ns + 2 * SECOND
            silent = replace(outcome, status=None, error="timeout", first_byte_ns=None)
            return replace(silent, served_by=None, done_ns=late)
        nobody = "hitless; error=destination_unavailable"
        return replace(outcome, status=503, served_by=None, proxy_status=nobody)

    def _ticks(self) -> Iterator[Tick]:
        for index in range(1, self.requests * 4 // RATE):
            yield Tick(
                at_ns=START + index * SECOND // 4,
                seconds=0.25,
                planned=RATE // 4,
                ok=RATE // 4,
                p50_seconds=0.004,
                p99_seconds=0.012 + index % 7 / 1000,
                schedule_lag_p99_seconds=0.001,
            )

    def _at(self, part: float) -> int:
        return START + int(self.requests * part) * SECOND // RATE

    def _events(self) -> Iterator[Event]:
        def event(part: float, verb: str, state: str, number: int, **more: object) -> Event:
            fields = {"at_ns": self._at(part), "verb": verb, "state": state, "number": number}
            return msgspec.convert({**fields, **more}, Event)

        yield event(0.0, "phase", "started", 1, detail={"name": "baseline"})
        for slot in range(3):
            for verb, number in (("start", 10), ("wait_ready", 20), ("attach", 30)):
                old = {"version": "a", "replicas": [f"a-{slot + 1}"]}
                yield event(0.0, verb, "completed", number + slot, **old)
        yield event(_ROLLOUT, "phase", "started", 2, detail={"name": "rollout"})
        yield event(_ROLLOUT, "release", "started", 3)
        step = {"detail": {"migration": "0002.status"}}
        yield event(_MIGRATED - 0.01, "migrate", "started", 4, **step)
        yield event(_MIGRATED, "migrate", "completed", 4, **step)
        yield event(_MIGRATED, "deploy", "started", 5, version="b")
        for slot, part in enumerate(_SWITCHED):
            new = {"version": "b", "replicas": [f"b-{slot + 1}"]}
            for verb, number in (("start", 40), ("wait_ready", 50), ("attach", 60)):
                yield event(part - 0.02, verb, "started", number + slot, **new)
                yield event(part, verb, "completed", number + slot, **new)
            old = {"version": "a", "replicas": [f"a-{slot + 1}"]}
            for verb, number in (("drain", 70), ("stop", 80)):
                yield event(part, verb, "started", number + slot, **old)
                yield event(part + 0.01, verb, "completed", number + slot, **old)
        yield event(0.7, "deploy", "completed", 5, version="b")
        yield event(0.7, "release", "completed", 3, seconds=self.requests * 0.45 / RATE)
        yield event(_SETTLED, "phase", "started", 6, detail={"name": "settle"})


def _exchange(outcome: Outcome) -> ExchangeRecord:
    replica = outcome.served_by
    return ExchangeRecord(
        at_ns=outcome.planned_ns + 400_000,
        request_id=outcome.request_id,
        status=outcome.status,
        backend=replica,
        version=None if replica is None else replica[0],
        attempts=0 if replica is None else 1,
        end="client_closed" if outcome.error else "complete",
        wait_ns=1000,
        connect_ns=0,
        first_byte_ns=2_500_000,
        total_ns=outcome.done_ns - outcome.planned_ns - 450_000,
        reused=True,
    )


def _mail(outcome: Outcome, recipient: str) -> Mail:
    return Mail(
        at_ns=outcome.done_ns + 20_000_000,
        recipient=recipient,
        links=(f"http://127.0.0.1:20350/subscriptions/confirm?token={outcome.request_id}",),
        request_id=outcome.request_id,
        sent_by=outcome.served_by,
    )


def _lines(file: RecordFile[T], items: Iterator[T]) -> None:
    with file.recorder() as recorder:
        for item in items:
            recorder.write(item)


def _manifest(run: RunFolder) -> Manifest:
    return Manifest(
        scenario="benchmark",
        strategy="rolling",
        platform="local",
        router="hitless",
        seed=1,
        replicas=3,
        rate=float(RATE),
        existing_rows=EXISTING,
        versions=("a", "b"),
        states=("pending_confirmation", "active"),
        confirmed_state="active",
        confirm_endpoint=CONFIRM,
        subject_endpoint=SUBSCRIBE,
        outcome="completed",
        replay="python -m benchmarks.report",
        hitless="benchmark",
        started_at="2026-01-01T00:00:00+00:00",
        files=run.digests(),
    )
