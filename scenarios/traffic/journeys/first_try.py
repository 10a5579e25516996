"""The first try: each journey is made once, by one user, before the traffic begins.

A path that does not exist, an expectation that the application does not meet, or a value that
cannot be captured is then found in a moment, with the response at hand.
"""

import asyncio
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile

from scenarios.evidence.request_id import try_user
from scenarios.traffic.errors import Location
from scenarios.traffic.journeys.compiled import CompiledStep, compiled_steps
from scenarios.traffic.journeys.examination import Mismatch
from scenarios.traffic.journeys.set_up import exchange
from scenarios.traffic.plan import host_and_port
from scenarios.traffic.settings import Journey, TrafficSettings
from scenarios.traffic.wire.response import MalformedResponse, ResponseReader

ANSWER_SECONDS = 2.0
"""A request without an answer by then is left untried: it may be meant to take long."""

_ATTEMPTS = 3
_PAUSE_SECONDS = 0.2
_SHOWN = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedTry:
    """A step that failed each time that it was tried.

    Attributes:
        keys: the path from the traffic settings to the step.
        request: its method and path.
        problem: what is wrong with the response, such as `status 404, expected 200`.
        status: the status of the response; None if there was none.
        body: the beginning of the response's body; empty if there was none.
        replica: who answered, if the response says so.
    """

    keys: tuple[str, ...]
    request: str
    problem: str
    status: int | None = None
    body: str = ""
    replica: str | None = None


async def first_try(
    host: str, port: int, traffic: TrafficSettings, *, seed: int, captured: Mapping[str, str]
) -> FailedTry | None:
    """Make each journey once, all of them at the same time.

    A journey is tried up to its first step that waits for mail or the release, or stays connected.
    Coroutines are not tried. What fails is tried again, twice: only what fails each time counts.

    Args:
        host: where the requests go.
        port: the same.
        traffic: the journeys.
        seed: the seed of the run; the users of the tries are none of the run's.
        captured: what the set-up captured.

    Returns:
        The first journey's failed step; None if every journey can be made.
    """
    tries = [
        _Try((host, port), traffic, number, seed=seed, captured=captured)
        for number, journey in enumerate(traffic.journeys)
        if journey.steps
    ]
    found = await asyncio.gather(*(one.make() for one in tries))
    return next((failed for failed in found if failed is not None), None)


class _Try:
    def __init__(
        self,
        address: tuple[str, int],
        traffic: TrafficSettings,
        number: int,
        *,
        seed: int,
        captured: Mapping[str, str],
    ) -> None:
        self._host, self._port = address
        self._traffic = traffic
        self._number = number
        self._seed = seed
        self._captured = captured
        self._journey: Journey = traffic.journeys[number]

    async def make(self) -> FailedTry | None:
        failed: FailedTry | None = None
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(_PAUSE_SECONDS)
            failed = await self._attempt(attempt)
            if failed is None:
                return None
        return failed

    async def _attempt(self, attempt: int) -> FailedTry | None:
        values = self._values(attempt)
        cookies: dict[str, str] = {}
        for index, step in enumerate(self._steps()):
            request_id = f"try-{self._number}-{index + 1}-{attempt}-s{self._seed}"
            field = "; ".join(f"{name}={value}" for name, value in cookies.items())
            payload = step.request(values, request_id=request_id, close=True, cookies=field)
            try:
                async with asyncio.timeout(min(ANSWER_SECONDS, self._traffic.timeout_seconds)):
                    reader = await exchange(
                        self._host, self._port, payload, is_head=step.method == "HEAD"
                    )
            except TimeoutError:
                return None
            except (OSError, MalformedResponse) as error:
                return self._failed(index, step, f"no complete response ({error})")
            for cookie in reader.set_cookies:
                name, _, value = cookie.partition(";")[0].partition("=")
                cookies[name.strip()] = value.strip()
            try:
                values |= _examined(step, reader, values)
            except Mismatch as mismatch:
                return self._failed(index, step, str(mismatch), reader)
        return None

    def _steps(self) -> Iterator[CompiledStep]:
        """The steps that follow one another without a mail and without a wait."""
        declared = (*self._journey.login, *self._journey.steps)
        quick = compiled_steps(
            list(takewhile(lambda step: step.after == "step", declared)),
            host=host_and_port(self._host, self._port),
            where=Location(self._journey.name, ("journeys", str(self._number))),
            known=frozenset(self._traffic.known),
            login=len(self._journey.login),
        )
        return takewhile(lambda step: step.lasting is None, quick)

    def _values(self, attempt: int) -> dict[str, str]:
        unique = try_user(self._seed, self._number * _ATTEMPTS + attempt)
        return {
            **self._captured,
            "unique": unique,
            "user": f"{unique}@{self._traffic.mail_domain}",
            "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, unique)),
            "journey": self._journey.name,
            "seed": str(self._seed),
            "worker": "0",
            "link": "",
            "last": "",
        }

    def _failed(
        self, index: int, step: CompiledStep, problem: str, reader: ResponseReader | None = None
    ) -> FailedTry:
        login = len(self._journey.login)
        where = ("login", str(index)) if index < login else ("steps", str(index - login))
        return FailedTry(
            keys=("journeys", str(self._number), *where, "path"),
            request=step.endpoint_for(None),
            problem=problem,
            status=None if reader is None else reader.status,
            body="" if reader is None else _shown(reader.answer().body),
            replica=None if reader is None else reader.served_by,
        )


def _examined(
    step: CompiledStep, reader: ResponseReader, values: Mapping[str, str]
) -> dict[str, str]:
    """What the response gives to later steps.

    Raises:
        Mismatch: it is not as the step expects.
    """
    if reader.status not in step.expect:
        expected = " or ".join(map(str, sorted(step.expect)))
        raise Mismatch(f"status {reader.status}, expected {expected}")
    return step.examination.apply(reader.answer(), values)


def _shown(body: bytes) -> str:
    text = " ".join(body[: 4 * _SHOWN].decode("utf-8", "replace").split())
    return f"{text[:_SHOWN]}…" if len(text) > _SHOWN else text
