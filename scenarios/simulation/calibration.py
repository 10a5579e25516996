"""Fits the times of a simulated run to what a real run has recorded."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from scenarios.errors import EvidenceError
from scenarios.evidence.event import Event
from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.leaving import Departure
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.run_folder import RunFolder
from scenarios.verdict.timeline import Timeline

MIGRATOR = "hitless-migrator"
_MOST_SAMPLES = 41
_FEWEST = 20
_SUCCESS = 400
_NS = 1e9


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """One fitted setting.

    Attributes:
        key: its keys in the scenario file, below `simulation`.
        samples: what was measured, in seconds and in order; at most a few dozen quantiles.
        measured: how many values that was.
    """

    key: tuple[str, ...]
    samples: tuple[float, ...]
    measured: int

    @property
    def median(self) -> float:
        """The value in the middle."""
        return statistics.median(self.samples)


class FittedMigration(msgspec.Struct, frozen=True, kw_only=True):
    """One fitted migration.

    Attributes:
        name: its name.
        lead_seconds: from the end of what came before it until it began.
        seconds: how long it took.
        locks: the table for whose lock others waited; absent if nobody did.
    """

    name: str
    lead_seconds: float
    seconds: float
    locks: str | None = None


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """What a real run says of its application.

    Attributes:
        fits: times of replicas, of the network and of mails.
        factors: by endpoint, how long it takes relative to all requests.
        migrations: in order.
        deregistration_lag_seconds: the least and the most time until the router was told that a
            replica leaves; absent if nobody left.
        drain_seconds: how long drains took then, in order.
    """

    fits: tuple[Fit, ...]
    factors: Mapping[str, float]
    migrations: tuple[FittedMigration, ...]
    deregistration_lag_seconds: tuple[float, float] | None
    drain_seconds: tuple[float, ...]


class _Run(NamedTuple):
    events: list[Event]
    timeline: Timeline
    exchanges: list[ExchangeRecord]
    attached: dict[str, int]


def calibrate(folder: Path) -> Calibration:
    """Fit a simulation to the evidence of a real run.

    Raises:
        EvidenceError: the folder is not that of a real run, or a file in it is damaged.
    """
    files = RunFolder(folder)
    files.check()
    if files.read_manifest().predicted:
        raise EvidenceError(f"{folder}: this run was simulated, so it has measured nothing")
    events = list(files.events.read())
    run = _Run(
        events,
        Timeline(events),
        list(files.exchanges.read()) if files.exchanges.exists else [],
        {
            one.id: one.at_ns
            for one in (files.backend_changes.read() if files.backend_changes.exists else ())
            if one.change == "attached"
        },
    )
    factors, services = _services(run, files)
    fits = [
        *_starts(run),
        *services,
        *_stops(run),
        *_network(run.exchanges),
        *_mails(files),
    ]
    lags = [
        (one.router_told_ns - one.began_ns) / _NS
        for one in _departures(run)
        if one.router_told_ns is not None and one.began_ns is not None
    ]
    drains = [
        (one.drained_ns - one.router_told_ns) / _NS
        for one in _departures(run)
        if one.router_told_ns is not None and one.drained_ns is not None
    ]
    return Calibration(
        fits=tuple(fits),
        factors=factors,
        migrations=tuple(_migrations(run, files)),
        deregistration_lag_seconds=(min(lags), max(lags)) if lags else None,
        drain_seconds=_quantiles(drains),
    )


def _departures(run: _Run) -> Iterator[Departure]:
    for life in run.timeline.lives.values():
        if life.departure is not None:
            yield life.departure


def _starts(run: _Run) -> Iterator[Fit]:
    """From the decision to start a replica until the router was told of it."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for name, life in run.timeline.lives.items():
        if life.version is not None and life.started_ns is not None and name in run.attached:
            found[life.version].append((run.attached[name] - life.started_ns) / _NS)
    for version, seconds in found.items():
        yield _fit(("versions", version, "start_seconds"), seconds)


def _stops(run: _Run) -> Iterator[Fit]:
    """From the stop signal until the port was closed, and from then until the end."""
    closing: defaultdict[str, list[float]] = defaultdict(list)
    ending: defaultdict[str, list[float]] = defaultdict(list)
    for life in run.timeline.lives.values():
        one = life.departure
        if one is None or life.version is None or one.killed:
            continue
        if one.stop_asked_ns is None or one.ended_ns is None:
            continue
        closed_ns = min(one.stopped_listening_ns or one.stop_asked_ns, one.ended_ns)
        closing[life.version].append((closed_ns - one.stop_asked_ns) / _NS)
        ending[life.version].append((one.ended_ns - closed_ns) / _NS)
    for version, seconds in closing.items():
        yield _fit(("versions", version, "stop_listening_seconds"), seconds)
        yield _fit(("versions", version, "stop_seconds"), ending[version])


def _services(run: _Run, files: RunFolder) -> tuple[dict[str, float], list[Fit]]:
    """How long applications worked on requests, by version, and how endpoints differ."""
    endpoints = {one.request_id: one.endpoint for one in files.requests.read()}
    spans = [(at, end) for _, at, end in _spans(run.events, "migrate")]
    taken: defaultdict[str, list[float]] = defaultdict(list)
    rows: list[tuple[str, str, float]] = []
    for one in run.exchanges:
        endpoint = endpoints.get(one.request_id)
        if endpoint is None or one.version is None or one.end != "complete" or one.attempts != 1:
            continue
        if one.status is None or one.status >= _SUCCESS:
            continue
        if any(begin <= one.at_ns <= end for begin, end in spans):
            continue  # it may have waited for a lock
        seconds = (one.first_byte_ns - max(one.wait_ns, 0) - max(one.connect_ns, 0)) / _NS
        taken[endpoint].append(max(seconds, 0.0))
        rows.append((endpoint, one.version, max(seconds, 0.0)))
    if len(rows) < _FEWEST:
        return {}, []
    middle = statistics.median(seconds for _, _, seconds in rows) or 1e-6
    factors = {
        endpoint: round(statistics.median(seconds) / middle, 3)
        for endpoint, seconds in sorted(taken.items())
        if len(seconds) >= _FEWEST
    }
    by_version: defaultdict[str, list[float]] = defaultdict(list)
    for endpoint, version, seconds in rows:
        by_version[version].append(seconds / (factors.get(endpoint) or 1.0))
    return factors, [
        _fit(("versions", version, "service_seconds"), seconds)
        for version, seconds in by_version.items()
    ]


def _network(exchanges: Iterable[ExchangeRecord]) -> Iterator[Fit]:
    """A new connection takes two packets."""
    connects = [one.connect_ns / 2 / _NS for one in exchanges if one.connect_ns > 0]
    if connects:
        yield _fit(("network", "delay_seconds"), connects)


def _mails(files: RunFolder) -> Iterator[Fit]:
    """From the answer of a request until its mail arrived."""
    if not files.mails.exists:
        return
    mails = {one.request_id: one.at_ns for one in files.mails.read() if one.request_id}
    if not mails:
        return
    done: dict[str, Outcome] = {
        one.request_id: one for one in files.requests.read() if one.request_id in mails
    }
    seconds = [
        max(0.0, (at_ns - done[name].done_ns) / _NS)
        for name, at_ns in mails.items()
        if name in done
    ]
    if seconds:
        yield _fit(("mail_seconds",), seconds)


def _migrations(run: _Run, files: RunFolder) -> Iterator[FittedMigration]:
    """How long each migration took, with what its tool needed before and after it."""
    locked: dict[str, str] = {}
    for wait in files.lock_waits.read() if files.lock_waits.exists else ():
        root = wait.root
        if root is not None and MIGRATOR in root.application and wait.relation is not None:
            for name, begin, end in _spans(run.events, "migrate"):
                if begin <= wait.at_ns <= end:
                    locked[name] = wait.relation
    bounds = sorted(
        one.at_ns
        for one in run.events
        if (one.verb, one.state) in (("release", "started"), ("step", "noted"))
    )
    previous = 0
    spans = list(_spans(run.events, "migrate"))
    for index, (name, begin, end) in enumerate(spans):
        before = max([previous, *(at for at in bounds if at <= begin)])
        previous = end
        following = spans[index + 1][1] if index + 1 < len(spans) else None
        step = next((at for at in bounds if at >= end), end)
        # What the tool still did after its last migration of this step.
        rest = step - end if following is None or step <= following else 0
        yield FittedMigration(
            name=name,
            lead_seconds=round(max(0, begin - before + rest) / _NS, 4),
            seconds=round((end - begin) / _NS, 4),
            locks=locked.get(name),
        )


def _spans(events: Sequence[Event], verb: str) -> Iterator[tuple[str, int, int]]:
    """Each migration that was applied: its name, when it began and when it ended."""
    began = {one.number: one.at_ns for one in events if one.state == "started"}
    for one in events:
        if one.verb == verb and one.state == "completed":
            name = one.detail.get("migration")
            if name is not None and one.detail.get("direction") != "rollback":
                yield str(name), began.get(one.number, one.at_ns), one.at_ns


def _fit(key: tuple[str, ...], seconds: Sequence[float]) -> Fit:
    return Fit(key=key, samples=_quantiles(seconds), measured=len(seconds))


def _quantiles(seconds: Sequence[float]) -> tuple[float, ...]:
    """The values in order; of many, evenly spaced ones from the least to the most."""
    ordered = sorted(seconds)
    last, most = len(ordered) - 1, _MOST_SAMPLES
    if len(ordered) > most:
        ordered = [ordered[round(number * last / (most - 1))] for number in range(most)]
    return tuple(round(one, 6) for one in ordered)


def document(found: Calibration) -> dict[str, object]:
    """What was fitted, as the table `simulation` of a scenario file."""
    table: dict[str, object] = {}
    for fit in found.fits:
        into = table
        for name in fit.key[:-1]:
            into = into.setdefault(name, {})  # type: ignore[assignment] # tables hold tables
        single = fit.key[-1] in ("delay_seconds", "stop_listening_seconds")
        into[fit.key[-1]] = (
            round(fit.median, 6)
            if single or len(fit.samples) == 1
            else {"samples": list(fit.samples)}
        )
    if found.factors:
        table["endpoints"] = {
            name: {"service_factor": factor} for name, factor in found.factors.items()
        }
    if found.migrations:
        table["migrations"] = [
            {key: part for key, part in msgspec.to_builtins(one).items() if part is not None}
            for one in found.migrations
        ]
    return table
