"""Users whose journeys are coroutines: each acts in a task of its own until its coroutine ends."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from scenarios.traffic.agenda import PlannedRequest
from scenarios.traffic.errors import Location, TrafficError
from scenarios.traffic.journeys.compiled import CompiledJourney
from scenarios.traffic.journeys.population import Population
from scenarios.traffic.journeys.user import RequestFailed, Sender, User, load_coroutine
from scenarios.traffic.wire.connection import Browser


class CoroutineUsers:
    """Runs the coroutines of users; an async context manager that dismisses them at its end.

    Args:
        sender: sends the users' requests.
        population: the journeys of the run.
        browser_of: the browser of the user with a number; None for users who come once.
        on_left: called after each user that has left.

    Raises:
        PlanError: a journey names a coroutine that does not exist or cannot be loaded.
    """

    def __init__(
        self,
        sender: Sender,
        population: Population,
        *,
        browser_of: Callable[[int], Browser | None],
        on_left: Callable[[], None],
    ) -> None:
        self._sender = sender
        self._population = population
        self._browser_of = browser_of
        self._on_left = on_left
        self._coroutines = {
            journey.name: load_coroutine(journey.python, where=Location(f"journey {journey.name}"))
            for journey in population.journeys
            if journey.python is not None
        }
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.dismiss()
        # The group is not told of the error: it would wrap it in one of its own.
        await self._group.__aexit__(None, None, None)

    @property
    def acting(self) -> bool:
        """Whether a user has begun and not left yet."""
        return bool(self._tasks)

    def begin(self, planned: PlannedRequest, journey: CompiledJourney) -> None:
        """Let a user begin its journey."""
        task = self._group.create_task(self._play(planned, journey), name=journey.name)
        self._tasks.add(task)
        task.add_done_callback(self._left)

    def dismiss(self) -> None:
        """Cancel the coroutines of all users who are acting."""
        for task in self._tasks:
            task.cancel()

    async def _play(self, planned: PlannedRequest, journey: CompiledJourney) -> None:
        """A user's coroutine from its beginning to its end."""
        population, number = self._population, planned.number
        user = User(
            self._sender,
            journey=journey.name,
            visit=population.visit(number, planned.repetition),
            browser=self._browser_of(number),
            unique=population.unique(number),
            uuid=population.uuid(number),
            address=population.user(number),
            host=population.host,
            values=population.shared,
            planned_ns=planned.planned_ns,
        )
        mismatch = None
        try:
            await self._coroutines[journey.name](user)
        except RequestFailed:
            pass  # it is recorded
        except asyncio.CancelledError:
            user.end()
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the journey's finding
            mismatch = f"{type(error).__name__}: {error}"
        try:
            user.end(mismatch)
        except TrafficError as error:
            loop = asyncio.get_running_loop()
            loop.call_exception_handler({"message": str(error), "exception": error})

    def _left(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._on_left()
