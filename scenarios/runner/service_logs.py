"""The logs of a watched service, from their opening to the evidence that they become."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeAlias

from msgspec.structs import replace

from scenarios.evidence.run_folder import RunFolder
from scenarios.recording.replica_logs import LOOK_SECONDS
from scenarios.recording.service_logs.following import LogSource, ServiceLog
from scenarios.recording.service_logs.joining import Joined, join
from scenarios.traffic.settings import Journey, Step, TrafficSettings

_BURST_SECONDS = 12.0
"""Envoy writes every ten seconds (`file_flush_interval`)."""

NAMED = {"User-Agent": "hitless ({request_id})"}
"""What makes most access logs name the request: few have X-Request-Id, nearly all have this."""


ReplicaAt: TypeAlias = Callable[[str, int], str | None]
"""Who had an address at an instant, on the monotonic clock."""


class ServiceLogs:
    """The logs, while they are followed and afterwards."""

    def __init__(self, sources: Sequence[LogSource], folder: Path, *, seed: int) -> None:
        """Say which.

        Args:
            sources: the logs.
            folder: where the evidence goes.
            seed: that of the run, with which the ids of its requests begin.
        """
        self._sources = tuple(sources)
        self._files = RunFolder(folder)
        self._seed = seed
        self._logs: tuple[ServiceLog, ...] = ()

    @contextmanager
    def followed(self) -> Iterator[tuple[ServiceLog, ...]]:
        """The logs from here on; their lines about requests are recorded.

        Raises:
            EnvironmentFailure: one cannot be opened any more.
        """
        with ExitStack() as stack:
            if not self._sources:
                yield ()
                return
            recorder = stack.enter_context(self._files.service_lines.recorder())
            wall_to_monotonic_ns = time.monotonic_ns() - time.time_ns()
            self._logs = tuple(
                ServiceLog(
                    source,
                    recorder,
                    prefix=f"s{self._seed}-",
                    wall_to_monotonic_ns=wall_to_monotonic_ns,
                )
                for source in self._sources
            )
            yield self._logs

    async def catch_up(self, on_stage: Callable[[str], None]) -> None:
        """Wait until the logs have come as far as the last request, where requests have failed.

        Proxies write their logs in bursts; a log that stays behind is not waited for any longer
        than the longest that is in wide use.

        Args:
            on_stage: told that this goes on.
        """
        if not self._logs:
            return
        failed = [
            one.sent_ns
            for one in self._files.requests.read()
            if not one.ok and one.sent_ns is not None
        ]
        if not failed:
            return
        for look in range(round(_BURST_SECONDS / LOOK_SECONDS)):
            if self._have_reached(max(failed)):
                return
            if not look:
                on_stage("waiting for the service's logs")
            await asyncio.sleep(LOOK_SECONDS)  # the followers look as often

    def _have_reached(self, at_ns: int) -> bool:
        telling = [log for log in self._logs if log.has_requests]
        if telling:
            return all(log.has_reached(at_ns) for log in telling)
        return all(log.has_requests is False for log in self._logs)

    def join(self, replica_at: ReplicaAt) -> tuple[str, ...]:
        """Write what the logs say of each request, once all is recorded.

        Args:
            replica_at: what the evidence calls an upstream; None: as its address.

        Returns:
            what the logs could not tell, a sentence each.
        """
        if not self._sources:
            return ()
        joined = join(self._files.requests.read(), list(self._files.service_lines.read()))
        with self._files.exchanges.recorder() as recorder:
            for exchange in joined.exchanges:
                upstream = exchange.backend
                named = None if upstream is None else replica_at(upstream, exchange.at_ns)
                recorder.write(replace(exchange, backend=named or upstream))
        return tuple(self._untold(joined))

    def _untold(self, joined: Joined) -> Iterator[str]:
        errors = {one.source for one in self._files.logged_errors.read()}
        for source in self._sources:
            if not joined.sources.get(source.name) and source.name not in errors:
                yield f"no line of {source.name} is about a request of this run"
        if joined.by_time:
            lines = "request has a line" if joined.by_time == 1 else "requests have lines"
            yield (
                f"{joined.by_time:,} failed {lines} without its id, joined by method, path, status "
                "and time; so what it says is likely, and not certain"
            )


def naming_themselves(traffic: TrafficSettings) -> TrafficSettings:
    """The traffic with each request's id in its User-Agent, unless a step has one of its own."""

    def named(step: Step) -> Step:
        if any(name.lower() == "user-agent" for name in step.headers):
            return step
        return replace(step, headers={**step.headers, **NAMED})

    journeys: tuple[Journey, ...] = tuple(
        replace(one, steps=tuple(map(named, one.steps)), login=tuple(map(named, one.login)))
        for one in traffic.journeys
    )
    return replace(traffic, journeys=journeys)
