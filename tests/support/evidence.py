"""Evidence made by hand: a clean run of a small release, to be broken one piece at a time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from scenarios.evidence.event import Event
from scenarios.evidence.evidence import Evidence as RunEvidence
from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.mail import Mail
from scenarios.evidence.manifest import Manifest
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.run_folder import RunFolder
from scenarios.evidence.scratch import MemoryScratch
from scenarios.evidence.subject import Subject
from scenarios.evidence.tick import Tick
from scenarios.verdict import Judgement, Verdict, judge
from scenarios.verdict.columns.requests import RequestColumns
from scenarios.verdict.data.facts import Facts
from scenarios.verdict.data.integrity import Ledger
from scenarios.verdict.measures import budget
from scenarios.verdict.measures.slo import Ordered
from scenarios.verdict.model import Integrity, Users
from scenarios.verdict.timeline import Timeline

SECOND = 1_000_000_000
START = 5_000 * SECOND
SUBSCRIBE = "POST /subscriptions"
CONFIRM = "GET /subscriptions/confirm"
HEALTH = "GET /health_check"

MANIFEST = Manifest(
    scenario="expand-contract",
    strategy="rolling",
    platform="local",
    router="hitless",
    seed=7,
    replicas=3,
    rate=100.0,
    existing_rows=2,
    versions=("a", "b"),
    states=("pending_confirmation", "active"),
    confirmed_state="active",
    confirm_endpoint=CONFIRM,
    subject_endpoint=SUBSCRIBE,
    outcome="completed",
    replay="hitless run expand-contract --strategy rolling --seed 7",
    hitless="0.1.0",
    started_at="2026-11-24T12:00:00Z",
)


def at(seconds: float) -> int:
    """An instant of the run, in nanoseconds of the clock."""
    return START + round(seconds * SECOND)


@dataclass(frozen=True)
class Evidence:
    """Everything that a run leaves behind."""

    manifest: Manifest
    outcomes: Sequence[Outcome]
    events: Sequence[Event]
    ticks: Sequence[Tick]
    mails: Sequence[Mail]
    before: Sequence[Subject] | None
    after: Sequence[Subject] | None
    access_log: Sequence[ExchangeRecord] = ()

    def judge(self, **further: Any) -> Verdict:
        return self.judgement(**further).verdict

    def judgement(self, **further: Any) -> Judgement:
        """The verdict with what shows it; `further` are more kinds of evidence."""
        return judge(
            RunEvidence(
                manifest=self.manifest,
                requests=self.outcomes,
                events=self.events,
                ticks=self.ticks,
                mails=self.mails,
                subjects_before=self.before,
                subjects_after=self.after,
                exchanges=self.access_log,
                **further,
            )
        )

    def write(self, folder: Path, **further: Any) -> Path:
        """The same as a run's folder; `further` are the records of more files, by `RunFolder`."""
        folder.mkdir(parents=True, exist_ok=True)
        run = RunFolder(folder)
        run.write_manifest(self.manifest)
        lines = {
            "requests": self.outcomes,
            "mails": self.mails,
            "events": self.events,
            "ticks": self.ticks,
            "subjects_before": self.before,
            "subjects_after": self.after,
            "exchanges": self.access_log,
            **further,
        }
        for name, structs in lines.items():
            if structs is not None:
                with getattr(run, name).recorder() as recorder:
                    for struct in structs:
                        recorder.write(struct)
        return folder

    def but(self, **changes: Any) -> "Evidence":
        """The same with whole kinds of evidence replaced."""
        return replace(self, **changes)

    def asked(self, **changes: Any) -> "Evidence":
        """The same with fields of the manifest replaced."""
        return replace(self, manifest=msgspec.structs.replace(self.manifest, **changes))

    def with_request(self, index: int, **changes: Any) -> "Evidence":
        """The same with fields of one request replaced."""
        outcomes = list(self.outcomes)
        outcomes[index] = msgspec.structs.replace(outcomes[index], **changes)
        return replace(self, outcomes=outcomes)

    def failing(self, start: float, end: float, **changes: Any) -> "Evidence":
        """The same with every request planned from `start` to before `end` changed."""
        outcomes = [
            msgspec.structs.replace(outcome, **changes)
            if at(start) <= outcome.planned_ns < at(end)
            else outcome
            for outcome in self.outcomes
        ]
        return replace(self, outcomes=outcomes)


def request(
    number: int,
    seconds: float,
    *,
    endpoint: str = HEALTH,
    took: float = 0.004,
    **fields: Any,
) -> Outcome:
    """A request that succeeded."""
    planned = at(seconds)
    return Outcome(
        **{
            "request_id": f"s7-{number:06}-1",
            "journey": "subscribe" if endpoint == SUBSCRIBE else "check",
            "endpoint": endpoint,
            "connection": "reused" if number % 4 else "new",
            "planned_ns": planned,
            "sent_ns": planned + 200_000,
            "first_byte_ns": planned + round(took * SECOND) - 1000,
            "done_ns": planned + round(took * SECOND),
            "expected": (200,),
            "status": 200,
            **fields,
        }
    )


def columns_of(requests: Iterable[Outcome]) -> RequestColumns:
    """Requests as a judgement keeps them."""
    columns = RequestColumns(MemoryScratch(), Timeline(journal()).version_of)
    for _ in columns.reading(requests):
        pass
    return columns


def users_of(requests: Iterable[Outcome]) -> Users:
    """What the users of these requests saw."""
    return budget.users_of(columns_of(requests), Ordered((), b""), MemoryScratch())


def checked(
    requests: Iterable[Outcome],
    before: Iterable[Subject],
    after: Iterable[Subject],
    mails: Iterable[Mail],
) -> Integrity:
    """What became of what these requests asked for."""
    scratch = MemoryScratch()
    columns = RequestColumns(scratch, Timeline(journal()).version_of)
    ledger = Ledger(MANIFEST, columns, scratch)
    for batch in columns.reading(requests):
        ledger.add(batch)
    facts = Facts(scratch)
    facts.add_rows(before, "before")
    facts.add_rows(after, "after")
    facts.add_mails(mails)
    ledger.add_facts(facts)
    return ledger.check(scratch)


def event(when: float, verb: str, state: str, number: int, **fields: Any) -> Event:
    """One line of the journal."""
    return Event(at_ns=at(when), verb=verb, state=state, number=number, **fields)  # type: ignore[arg-type]


def journal() -> list[Event]:
    """A release that migrates, replaces a-1 by b-2, and takes two seconds, from 2.0 to 4.0."""
    new, old = {"version": "b", "replicas": ("b-2",)}, {"version": "a", "replicas": ("a-1",)}
    return [
        event(-1.1, "phase", "started", 15, detail={"name": "setup"}),
        event(-1.0, "start", "started", 1, **old),
        event(-0.6, "start", "completed", 1, **old),
        event(-0.5, "wait_ready", "completed", 2, **old),
        event(-0.4, "attach", "started", 14, **old),
        event(-0.3, "attach", "completed", 14, **old),
        event(0.0, "phase", "started", 3, detail={"name": "baseline"}),
        event(2.0, "phase", "started", 4, detail={"name": "rollout"}),
        event(2.0, "release", "started", 5),
        event(2.1, "migrate", "started", 6, detail={"migration": "0002.expand"}),
        event(2.4, "migrate", "completed", 6, seconds=0.3, detail={"migration": "0002.expand"}),
        event(2.5, "deploy", "started", 7, version="b"),
        event(2.5, "start", "started", 8, **new),
        event(2.8, "start", "completed", 8, **new),
        event(2.8, "wait_ready", "started", 9, **new),
        event(3.0, "wait_ready", "completed", 9, **new),
        event(3.0, "attach", "started", 10, **new),
        event(3.05, "attach", "completed", 10, **new),
        event(3.2, "drain", "started", 11, **old),
        event(3.4, "drain", "completed", 11, detail={"cut": 0}, **old),
        event(3.4, "stop", "started", 12, **old),
        event(3.8, "stop", "completed", 12, **old),
        event(3.9, "deploy", "completed", 7, version="b"),
        event(4.0, "release", "completed", 5, seconds=2.0, floor_seconds=1.1),
        event(4.0, "phase", "started", 13, detail={"name": "settle"}),
    ]


def clean(seconds: float = 6.0, rate: int = 100) -> Evidence:
    """A run in which nothing went wrong: health checks, subscriptions, and clicks in the end."""
    outcomes, after, mails = [], [Subject(subject="old-1", state="active")], []
    after.append(Subject(subject="old-2", state="active"))
    for number in range(int(seconds * rate)):
        when = number / rate
        replica = "a-1" if when < 3.2 else "b-2"
        if number % 5 == 0:
            subject = f"u{number}@example.com"
            outcomes.append(
                request(number, when, endpoint=SUBSCRIBE, subject=subject, served_by=replica)
            )
            if replica == "a-1":
                after.append(Subject(subject=subject, state="active"))
            else:
                confirmed = number % 10 == 0
                state = "active" if confirmed else "pending_confirmation"
                after.append(Subject(subject=subject, state=state))
                mails.append(
                    Mail(at_ns=at(when + 0.05), recipient=subject, request_id=f"s7-{number:06}-1")
                )
                if confirmed:
                    outcomes.append(
                        request(
                            number,
                            when + 0.105,
                            endpoint=CONFIRM,
                            subject=subject,
                            served_by=replica,
                            request_id=f"s7-{number:06}-2",
                            cause_id=f"s7-{number:06}-1",
                        )
                    )
        else:
            outcomes.append(request(number, when, served_by=replica))
    ticks = [
        Tick(
            at_ns=at((n + 1) / 4),
            seconds=0.25,
            planned=rate // 4,
            ok=rate // 4,
            p50_seconds=0.004,
            p99_seconds=0.004,
            schedule_lag_p99_seconds=0.0004,
            cpu=0.2,
            served_by={"a-1" if n / 4 < 3.2 else "b-2": rate // 4},
        )
        for n in range(int(seconds * 4))
    ]
    return Evidence(
        manifest=MANIFEST,
        outcomes=outcomes,
        events=journal(),
        ticks=ticks,
        mails=mails,
        before=[Subject(subject="old-1"), Subject(subject="old-2")],
        after=after,
    )
