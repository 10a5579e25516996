"""Looks at the keys of a Redis again and again: in which form the values are written.

It only reads, at most so many keys at a look, and keeps no value.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from orchestrator.errors import EnvironmentFailure
from scenarios.errors import UsageError
from scenarios.evidence.cache_form import CacheForm
from scenarios.evidence.recorder import Recorder
from scenarios.recording.value_forms import fields_of, form_of, pattern_of

if TYPE_CHECKING:
    from redis.asyncio import Redis

LOOK_SECONDS = 0.25
MOST_KEYS = 2_000
"""So many keys are looked at each time; the next look goes on where this one ended."""

_PAGE = 500
_MOST_BYTES = 4096
_ANSWER_SECONDS = 5.0
_FIELDS = 50

_SLACK_MS = 30
_NO_KEY = -2
"""What `PTTL` says of a key that is not there."""

Form = tuple[str, str, tuple[str, ...]]
"""The type, the form and the fields of a value."""


class _Value(NamedTuple):
    """A value as far as it is looked at.

    Attributes:
        form: its form.
        mark: the hash of what was read of it, which is the same in this process only.
        until_ms: when its key expires, on the clock of the looks; infinite if it does not.
    """

    form: Form
    mark: int
    until_ms: float


def redis_package() -> ModuleType:
    """The client of Redis, which is not installed with hitless.

    Raises:
        UsageError: it is not there.
    """
    try:
        import redis.asyncio  # noqa: PLC0415 - only those need it who say `[cache] url`
    except ImportError as error:
        raise UsageError("[cache] url needs redis: pip install 'hitless[redis]'") from error
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
        self._known: dict[int, _Value] = {}

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
        task = asyncio.current_task()
        # The client turns a cancellation into an error of its own where it comes amid a question.
        while task is None or not task.cancelling():
            try:
                for line in await self.look():
                    recorder.write(line)
            except EnvironmentFailure:
                self._cursor = 0  # it is away; what was missed is seen at the next look
            if task is None or not task.cancelling():
                await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> list[CacheForm]:
        """Look once: the forms of the values that were written since the look before.

        Raises:
            EnvironmentFailure: it does not answer.
        """
        at_ns = time.monotonic_ns()
        found: Counter[tuple[str, Form]] = Counter()
        with self._translated():
            keys = await self._keys()
            values = await self._values(keys)
        for key, value in zip(keys, values, strict=True):
            if value is not None and _is_new(value, self._known.get(hash(key))):
                found[pattern_of(key), value.form] += 1
                self._known[hash(key)] = value
        return [
            CacheForm(at_ns=at_ns, pattern=pattern, type=kind, form=form, fields=fields, written=n)
            for (pattern, (kind, form, fields)), n in found.items()
        ]

    async def _keys(self) -> Sequence[bytes]:
        found: dict[bytes, None] = {}
        while len(found) < MOST_KEYS:
            self._cursor, page = await self._client.scan(self._cursor, count=_PAGE)
            found |= dict.fromkeys(one for one in page if isinstance(one, bytes))
            if not self._cursor:
                break
        return list(found)

    async def _values(self, keys: Sequence[bytes]) -> list[_Value | None]:
        """The value of each key; None if it is gone."""
        async with self._client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.type(key)
            types = [one.decode() for one in await pipeline.execute()]
        async with self._client.pipeline(transaction=False) as pipeline:
            for key, kind in zip(keys, types, strict=True):
                _ask(pipeline, key, kind)
                pipeline.pttl(key)
            answers = await pipeline.execute(raise_on_error=False)
        now_ms = time.monotonic() * 1000
        found: list[_Value | None] = []
        for kind, answer, left_ms in zip(types, answers[::2], answers[1::2], strict=True):
            form = _form(kind, answer)
            until_ms = now_ms + left_ms if isinstance(left_ms, int) and left_ms > 0 else math.inf
            if form is None or left_ms == _NO_KEY:  # it may go between two questions
                found.append(None)
            else:
                found.append(_Value(form, hash(str(answer)), until_ms))
        return found

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


def _is_new(value: _Value, before: _Value | None) -> bool:
    """Whether a value was written since the look before."""
    if before is None or value.mark != before.mark:
        return True
    if math.isinf(value.until_ms) or math.isinf(before.until_ms):
        return value.until_ms != before.until_ms
    return value.until_ms > before.until_ms + _SLACK_MS


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
