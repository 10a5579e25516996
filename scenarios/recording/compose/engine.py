"""Docker's engine on its Unix socket: the containers of a project, and what becomes of them."""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Final, cast

import aiohttp

from orchestrator.errors import EnvironmentFailure
from orchestrator.journal import Journal
from scenarios.errors import ScenarioError
from scenarios.recording.compose.container_events import (
    PROJECT,
    ContainerEvent,
    ContainerLives,
    ObservedChange,
    addresses_of,
    event_of,
    running_of,
)

DEFAULT_HOST: Final = "unix:///var/run/docker.sock"
_ANSWER_SECONDS = 10.0
_AGAIN_SECONDS = 0.5
_LONGEST_EVENT = 1 << 20
"""An event has all labels of its container, and one label may have a whole file in it."""

_Listed = Mapping[str, object]


class _UnreachableEngine(Exception):  # noqa: N818 - it says what the engine is
    """The engine does not answer; the message says why."""


class ComposeProject:
    """The containers of one project.

    Attributes:
        gaps: how often the engine was lost while it was listened to.
    """

    def __init__(self, name: str, host: str | None = None) -> None:
        """Say which, and where the engine is.

        Args:
            name: the project.
            host: the engine, as `DOCKER_HOST` names it; None: that, or where it is by default.

        Raises:
            ScenarioError: it is no Unix socket.
        """
        self.gaps = 0
        self._name = name
        self._host = host or os.environ.get("DOCKER_HOST") or DEFAULT_HOST
        if not self._host.startswith("unix://"):
            raise ScenarioError(
                f"--compose {name}: DOCKER_HOST is {self._host}; expected a Unix socket, such as "
                f"{DEFAULT_HOST}"
            )
        self._lives = ContainerLives()
        self._addresses: dict[str, list[tuple[int, str]]] = {}
        self._numbers: dict[str, int] = {}
        self._wall_to_monotonic_ns = time.monotonic_ns() - time.time_ns()

    async def check(self) -> None:
        """See that the engine answers, and that the project runs.

        Raises:
            EnvironmentFailure: there is no engine.
            ScenarioError: it has no container of the project.
        """
        try:
            async with self._session() as session:
                listed = await self._list(session, everything=True)
        except _UnreachableEngine as error:
            raise EnvironmentFailure(
                f"--compose {self._name}: no Docker engine answers at {self._host} ({error}); "
                "DOCKER_HOST names another one"
            ) from error
        named = [one for one in listed if _project(one) == self._name]
        if any(one.get("State") == "running" for one in named):
            return
        others = sorted({project for one in listed if (project := _project(one))})
        there = f"; there are: {', '.join(others)}" if others else ""
        what = "no container of it runs" if named else "there is no such project"
        raise ScenarioError(f"--compose {self._name}: {what}{there}")

    async def watch(self, journal: Journal) -> None:
        """Tell the journal what becomes of the containers, until cancelled.

        Raises:
            EnvironmentFailure: the journal cannot be written.
        """
        since_ns = time.time_ns()
        while True:
            # An engine that is restarted meanwhile closes the stream, and is asked again.
            with contextlib.suppress(_UnreachableEngine):
                async with self._session() as session:
                    for listed in await self._list(session):
                        running = running_of(listed, time.time_ns())
                        found = () if running is None else self._lives.found(running)
                        self._tell_all(found, listed, journal)
                    async for event in self._events(session, since_ns):
                        since_ns = event.at_ns + 1
                        listed = await self._inspected(session, event)
                        self._tell_all(self._lives.take(event), listed, journal)
            self.gaps += 1
            await asyncio.sleep(_AGAIN_SECONDS)

    def replica_at(self, upstream: str, at_ns: int) -> str | None:
        """The container that had an address, such as `172.18.0.3:8000`, at an instant.

        Args:
            upstream: the address.
            at_ns: the instant, on the monotonic clock.
        """
        host = upstream.rpartition(":")[0].strip("[]") or upstream
        found = None
        for since_ns, replica in self._addresses.get(host, ()):
            if since_ns <= at_ns or found is None:
                found = replica
        return found

    def _tell_all(
        self, all_observed: Iterable[ObservedChange], listed: _Listed, journal: Journal
    ) -> None:
        for observed in all_observed:
            at_ns = observed.at_ns + self._wall_to_monotonic_ns
            if observed.verb == "start":
                for address in addresses_of(listed):
                    known = self._addresses.setdefault(address, [])
                    known.append((at_ns, observed.event.replica))
            self._tell(observed, at_ns, journal)

    def _tell(self, observed: ObservedChange, at_ns: int, journal: Journal) -> None:
        container = observed.event.container
        number = journal.observed(
            observed.verb,
            observed.state,
            at_ns=at_ns,
            number=self._numbers.pop(container, None) if observed.verb == "stop" else None,
            version=observed.event.image or None,
            replicas=(observed.event.replica,),
            error=observed.error,
            detail=observed.detail,
        )
        if (observed.verb, observed.state) == ("stop", "started"):
            self._numbers[container] = number

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[aiohttp.ClientSession]:
        connector = aiohttp.UnixConnector(self._host.removeprefix("unix://"))
        async with aiohttp.ClientSession("http://docker", connector=connector) as session:
            yield session

    async def _list(
        self, session: aiohttp.ClientSession, *, everything: bool = False
    ) -> list[_Listed]:
        filters = {} if everything else {"label": [f"{PROJECT}={self._name}"]}
        parameters = {"all": "1", "filters": json.dumps(filters)}
        try:
            async with (
                asyncio.timeout(_ANSWER_SECONDS),
                session.get("/containers/json", params=parameters) as answer,
            ):
                answer.raise_for_status()
                listed = await answer.json()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise _UnreachableEngine(_why(error)) from error
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            raise _UnreachableEngine("its answer is no list of containers")
        return cast(list[_Listed], listed)

    async def _inspected(self, session: aiohttp.ClientSession, event: ContainerEvent) -> _Listed:
        """What the list has of a container that has just started: its addresses."""
        if event.change != "start":
            return {}
        return next(
            (one for one in await self._list(session) if one.get("Id") == event.container), {}
        )

    async def _events(
        self, session: aiohttp.ClientSession, since_ns: int
    ) -> AsyncIterator[ContainerEvent]:
        """The events since an instant, until the engine closes the stream."""
        parameters = {
            "since": f"{since_ns // 10**9}.{since_ns % 10**9:09}",
            "filters": json.dumps({"type": ["container"], "label": [f"{PROJECT}={self._name}"]}),
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_ANSWER_SECONDS)
        try:
            async with session.get(
                "/events", params=parameters, timeout=timeout, read_bufsize=_LONGEST_EVENT
            ) as answer:
                answer.raise_for_status()
                async for line in answer.content:
                    event = event_of(line)
                    if event is not None:
                        yield event
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return


def _project(listed: _Listed) -> str | None:
    labels = listed.get("Labels")
    return None if not isinstance(labels, Mapping) else labels.get(PROJECT)


def _why(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.strerror:
        return error.os_error.strerror
    if isinstance(error, aiohttp.ClientResponseError):
        return f"HTTP {error.status}"
    return str(error) or type(error).__name__
