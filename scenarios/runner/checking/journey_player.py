"""Plays each journey of a scenario once, request by request, on replicas of one or two versions."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import msgspec

from orchestrator.model import Replica
from scenarios.runner.checking.replica_client import (
    Mailboxes,
    PlayedRequest,
    ReplicaClient,
    Settled,
)
from scenarios.runner.checking.user_journeys import CoroutineOfUser, StepsOfUser
from scenarios.traffic.errors import Location
from scenarios.traffic.journeys.population import Population
from scenarios.traffic.journeys.user import load_coroutine
from scenarios.traffic.plan import Plan
from scenarios.traffic.settings import TrafficSettings

_MOST_PARTS = 6


@dataclass(slots=True)
class OpenJourney:
    """A journey that was begun, and that another version, or a later schema, goes on with.

    Attributes:
        play: goes on with the journey on a replica; returns the requests that it sent.
    """

    play: Callable[[ReplicaClient], Awaitable[Sequence[PlayedRequest]]]


class JourneyPlayer:
    """Plays the journeys of one scenario; an async context manager. Each play has its own user."""

    def __init__(self, traffic: TrafficSettings, mails: Mailboxes) -> None:
        """Prepare it.

        Args:
            traffic: the scenario's journeys.
            mails: the mails that the application sends.

        Raises:
            PlanError: a journey cannot be played.
        """
        # The arrivals say when journeys begin. Here each begins once, in its turn.
        self._traffic = msgspec.structs.replace(
            traffic, arrivals="constant", arrivals_path=None, profile=(), processes=1
        )
        self._mails = mails
        self._seeds = iter(range(1, 1_000_000_000))
        self._coroutines = {
            journey.name: load_coroutine(journey.python, where=Location(f"journey {journey.name}"))
            for journey in traffic.journeys
            if journey.python is not None
        }
        self._held: set[asyncio.Task[None]] = set()
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._held:  # journeys that nobody went on with
            task.cancel()
        # The group is not told of the error: it would wrap it in one of its own.
        await self._group.__aexit__(None, None, None)

    async def play_all(
        self,
        client: ReplicaClient,
        shared: Mapping[str, str],
        settled: Settled | None,
        *,
        wait_for_mail: bool = True,
    ) -> list[PlayedRequest]:
        """Play each journey once, from its beginning to its end, one after the other.

        Args:
            client: sends to the replica.
            shared: what the set-up captured.
            settled: waits until no mail is owed any more; None where nobody can tell.
            wait_for_mail: whether users also do what they do when they get mail.
        """
        played: list[PlayedRequest] = []
        for number in range(len(self._traffic.journeys)):
            whole = self._open(number, client, shared, settled)
            if isinstance(whole, StepsOfUser) and not wait_for_mail:
                played += await whole.play_until_mail(client)
            else:
                played += await whole.play(client)
        return played

    async def begin_all(
        self, client: ReplicaClient, shared: Mapping[str, str], settled: Settled | None
    ) -> list[OpenJourney]:
        """Begin each journey, once for each of its requests after which another can go on.

        A journey whose first requests fail is left out: there is nothing to go on with.
        """
        begun: list[OpenJourney] = []
        for number, journey in enumerate(self._traffic.journeys):
            # How many requests a coroutine sends is known only when it has ended.
            parts = _MOST_PARTS if journey.python is not None else len(journey.steps)
            for part in range(1, min(parts, _MOST_PARTS)):
                one = self._open(number, client, shared, settled)
                if await one.begin(client, part):
                    begun.append(OpenJourney(one.go_on))
        return begun

    def _open(
        self,
        number: int,
        client: ReplicaClient,
        shared: Mapping[str, str],
        settled: Settled | None,
    ) -> "StepsOfUser | CoroutineOfUser":
        seed = next(self._seeds)
        population = self._population(seed, client.replica)
        population.shared.update(shared)
        journey = population.journeys[number]
        if journey.python is not None:
            coroutine = self._coroutines[journey.name]
            return CoroutineOfUser(population, number, coroutine, self._hold)
        return StepsOfUser(
            population,
            number,
            self._mails,
            settled,
            lambda replica: self._population(seed, replica).journeys[number],
        )

    def _hold(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Carry out a journey that can be held; it ends with the player."""
        task = self._group.create_task(work)
        self._held.add(task)
        task.add_done_callback(self._held.discard)
        return task

    def _population(self, seed: int, replica: Replica) -> Population:
        return Population(
            Plan.of(
                self._traffic,
                host=replica.host,
                port=replica.port,
                seed=seed,
                requests_path="",
                mails_path="",
            )
        )
