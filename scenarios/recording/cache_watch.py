"""Looks at the keys of a Redis again and again: in which form the values are written.

It only reads, at most so many keys at a look, and keeps no value.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from orchestrator.errors import EnvironmentFailure
from scenarios.errors import UsageError
from scenarios.evidence.cache_form import CacheForm
from scenarios.evidence.recorder import Recorder
from scenarios.recording.value_forms import fields_of, form_of, pattern_of

if TYPE_CHECKING:
    from redis.asyncio import Redis

LOOK_SECONDS = 0.5
MOST_KEYS = 2_000
"""So many keys are looked at each time; the next look goes on where this one ended."""

_PAGE = 500
_MOST_BYTES = 4096
_ANSWER_SECONDS = 5.0
_FIELDS = 50

Form = tuple[str, str, tuple[str, ...]]
"""The type, the form and the fields of a value."""


def redis_package() -> ModuleType:
    """The client of Redis, which is not installed with hitless.

    Raises:
        UsageError: it is not there.
    """
    try:
        import redis.asyncio  # noqa: PLC0415 - only those need it who say `[cache] url`
    except ImportError as error:
        raise UsageError("[cache] url needs the Python package redis: pip install redis") from error
    return redis.asyncio


class CacheWatch:
    """Looks at one Redis; an async context manager that closes its connections."""

    def __init__(self, url: str) -> None:
        """Describe it.

        Args:
            url: its address, such as `redis://127.0.0.1:6379/0`.

        Raises:
            EnvironmentFailure: the address is none.
        """
        self._redis = redis_package()
        try:
            self._client: Redis = self._redis.from_url(
                url, socket_timeout=_ANSWER_SECONDS, socket_connect_timeout=_ANSWER_SECONDS
            )
        except ValueError as error:
            raise EnvironmentFailure(f"cache.url: {error}") from error
        self._cursor = 0
        self._known: dict[int, int] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def check(self) -> None:
        """See that it answers, before anything depends on it.

        Raises:
            EnvironmentFailure: it does not.
        """
        with self._translated():
            await self._client.ping()

    async def watch(self, recorder: Recorder[CacheForm]) -> None:
        """Look again and again, until cancelled; a Redis that restarts is waited for."""
        while True:
            try:
                for line in await self.look():
                    recorder.write(line)
            except EnvironmentFailure:
                self._cursor = 0  # it is away; what was missed is seen at the next look
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> list[CacheForm]:
        """Look once: the forms that keys did not have before.

        Raises:
            EnvironmentFailure: it does not answer.
        """
        at_ns = time.monotonic_ns()
        found: Counter[tuple[str, Form]] = Counter()
        with self._translated():
            for key, form in zip(keys := await self._keys(), await self._forms(keys), strict=True):
                name, mark = hash(key), hash(form)
                if form is not None and self._known.get(name) != mark:
                    self._known[name] = mark
                    found[pattern_of(key), form] += 1
        return [
            CacheForm(at_ns=at_ns, pattern=pattern, type=kind, form=form, fields=fields, keys=keys)
            for (pattern, (kind, form, fields)), keys in found.items()
        ]

    async def _keys(self) -> Sequence[bytes]:
        found: dict[bytes, None] = {}
        while len(found) < MOST_KEYS:
            self._cursor, page = await self._client.scan(self._cursor, count=_PAGE)
            found |= dict.fromkeys(one for one in page if isinstance(one, bytes))
            if not self._cursor:
                break
        return list(found)

    async def _forms(self, keys: Sequence[bytes]) -> list[Form | None]:
        """The form of the value of each key; None if it is gone."""
        async with self._client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.type(key)
            types = [one.decode() for one in await pipeline.execute()]
        async with self._client.pipeline(transaction=False) as pipeline:
            for key, kind in zip(keys, types, strict=True):
                _ask(pipeline, key, kind)
            answers = await pipeline.execute(raise_on_error=False)
        return [_form(kind, answer) for kind, answer in zip(types, answers, strict=True)]

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (self._redis.RedisError, OSError) as error:
            where = self._client.connection_pool.connection_kwargs
            place = where.get("path") or f"{where.get('host')}:{where.get('port')}"
            raise EnvironmentFailure(
                f"cache.url: the Redis at {place} does not answer: {error}"
            ) from error


def _ask(pipeline: Any, key: bytes, kind: str) -> None:  # noqa: ANN401 - its methods are coroutines or not
    """Ask for as much of a value as tells its form."""
    match kind:
        case "string":
            pipeline.getrange(key, 0, _MOST_BYTES - 1)
        case "hash":
            pipeline.hscan(key, 0, count=_FIELDS)
        case "list":
            pipeline.lrange(key, 0, 0)
        case "set":
            pipeline.srandmember(key, 1)
        case "zset":
            pipeline.zrange(key, 0, 0)
        case _:
            pipeline.exists(key)


def _form(kind: str, answer: Any) -> Form | None:  # noqa: ANN401 - what it is depends on the type
    if kind == "none" or isinstance(answer, Exception):
        return None
    match kind:
        case "string":
            return (kind, *form_of(answer, whole=len(answer) < _MOST_BYTES))
        case "hash":
            return kind, "fields", fields_of(list(answer[1].items())[:_FIELDS])
        case "list" | "set" | "zset":
            return (kind, *form_of(answer[0])) if answer else None
    return kind, "entries", ()
