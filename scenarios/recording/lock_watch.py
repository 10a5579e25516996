"""Watches the locks of a database while a run goes on.

While a migration runs, or while anybody waits, it looks every 10 ms; otherwise five times a second.
A look costs the server 0.4 to 0.9 ms. What it reads (`pg_locks`, `pg_stat_activity`,
`pg_blocking_pids`) takes no lock that an application could wait for.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from orchestrator.database import connected
from orchestrator.errors import EnvironmentFailure
from scenarios.evidence.lock_modes import conflict, strongest
from scenarios.evidence.locks import DatabaseSession, LockWait
from scenarios.evidence.recorder import Recorder
from scenarios.recording.sessions import LIST_CLIENTS, OURS, ClientsWatch, client_port

APPLICATION_NAME = "hitless-watch"
BUSY_SECONDS = 0.01
IDLE_SECONDS = 0.2

_ANSWER_SECONDS = 2.0
_RETRY_SECONDS = 0.05
_QUERY_LETTERS = 300

_WAITS = """
SELECT l.pid, l.locktype, l.mode, l.waitstart, clock_timestamp() AS now,
    coalesce(l.relation, (
        SELECT h.relation FROM pg_locks h WHERE h.pid = l.pid AND h.locktype = 'tuple' LIMIT 1
    ))::regclass::text AS relation,
    pg_blocking_pids(l.pid) AS blockers
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE NOT l.granted AND a.datname = current_database()"""
_SESSIONS = """
SELECT pid, application_name, state, query, client_port,
    extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds
FROM pg_stat_activity WHERE pid = ANY($1::int[])"""
_HELD = """
SELECT pid, mode, relation::regclass::text AS relation FROM pg_locks
WHERE granted AND locktype = 'relation' AND pid = ANY($1::int[])
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
_FILES = """
SELECT c.oid, c.oid::regclass::text AS name, c.relfilenode FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND c.relfilenode <> 0
    AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg_t%'"""
_INVALID = "SELECT indexrelid::regclass::text AS name FROM pg_index WHERE NOT indisvalid"

Note = Callable[[str, str | None, Mapping[str, object]], None]
"""Told of what is seen besides waits: verb (`table`, `index`, `database`), error, detail."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One waiting session in one look.

    Attributes:
        pid: its backend.
        kind: what kind of thing it waits for.
        mode: the lock that it wants.
        relation: the table, where there is one.
        since_ns: since when it waits.
        blockers: the backends that it directly waits for.
    """

    pid: int
    kind: str
    mode: str
    relation: str | None
    since_ns: int
    blockers: tuple[int, ...]


Held = Mapping[tuple[int, str], frozenset[str]]
"""The modes that a backend holds on a relation."""


def in_the_way(seen: Seen, pid: int, waiting: Mapping[int, Seen], held: Held) -> str | None:
    """The lock by which a backend stands in a waiter's way: one that it holds, or waits for itself.

    Only a mode that conflicts with what the waiter wants can be in its way. None if the backend
    has none on that relation, or if the waiter waits for another kind of thing.
    """
    if seen.kind != "relation" or seen.relation is None:
        return None
    own = strongest(held.get((pid, seen.relation), frozenset()), seen.mode)
    ahead = waiting.get(pid)
    if own is None and ahead is not None and ahead.relation == seen.relation:
        return ahead.mode if conflict(seen.mode, ahead.mode) else None
    return own


def _may_block(seen: Seen, pid: int, waiting: Mapping[int, Seen], held: Held) -> bool:
    """Whether that is possible: not if all its modes are known and none conflicts."""
    if seen.kind != "relation" or seen.relation is None:
        return True
    ahead = waiting.get(pid)
    queued = ahead is not None and ahead.relation == seen.relation
    if not queued and (pid, seen.relation) not in held:
        return True  # it was not seen with any lock: the two looks were not at the same instant
    return in_the_way(seen, pid, waiting, held) is not None


def chain_of(
    pid: int, waiting: Mapping[int, Seen], held: Held = MappingProxyType({})
) -> tuple[int, ...]:
    """The backends that stand in this one's way, the nearest first, the root last.

    A backend whose locks do not conflict with what the one before it wants is not in its way.
    Each step takes the lowest process id of several blockers that is not in the chain yet; a
    circle (a deadlock that Postgres has not resolved yet) ends where it closes.
    """
    chain: list[int] = []
    while (seen := waiting.get(pid)) is not None:
        ahead = sorted(
            one
            for one in seen.blockers
            if one > 0 and one not in chain and one != pid and _may_block(seen, one, waiting, held)
        )
        if not ahead:
            break
        # One that waits itself leads on to the root; one that does not is the root.
        pid = next((one for one in ahead if one in waiting), ahead[0])
        chain.append(pid)
    return tuple(chain)


def _to_oldest(
    waiter: int,
    chain: tuple[int, ...],
    waiting: Mapping[int, Seen],
    sessions: Mapping[int, DatabaseSession],
) -> tuple[int, ...]:
    """A chain that ends in a circle, cut so that its root is the oldest transaction.

    In a deadlock each waits for each. To blame is who has held its locks longest.
    """
    if not chain or chain[-1] not in waiting:
        return chain

    def age(pid: int) -> float:
        session = sessions.get(pid)
        return (session.transaction_seconds or 0.0) if session else 0.0

    others = [pid for pid in chain if pid != waiter]
    return chain[: chain.index(max(others, key=age)) + 1]


class Waits:
    """Joins looks to waits: pure, fed by the watch.

    Args:
        write: called with each wait when it is over.
    """

    def __init__(self, write: Callable[[LockWait], None]) -> None:
        self._write = write
        self._open: dict[tuple[int, int], LockWait] = {}

    @property
    def any_open(self) -> bool:
        """Whether somebody waits."""
        return bool(self._open)

    @property
    def open(self) -> tuple[LockWait, ...]:
        """Those that wait now, and for how long so far."""
        return tuple(self._open.values())

    def look(
        self,
        at_ns: int,
        seen: Iterable[Seen],
        sessions: Mapping[int, DatabaseSession],
        held: Held = MappingProxyType({}),
    ) -> None:
        """Take in what one look saw.

        Args:
            at_ns: when.
            seen: who waits.
            sessions: those who wait and those who are waited for.
            held: their locks.
        """
        waiting = {one.pid: one for one in seen}
        # A wait that gets another root is blamed on that one only from then on.
        until = {pid: wait.end_ns for (pid, _), wait in self._open.items()}
        now: set[tuple[int, int]] = set()
        for one in waiting.values():
            chain = _to_oldest(one.pid, chain_of(one.pid, waiting, held), waiting, sessions)
            key = (one.pid, chain[-1] if chain else 0)
            now.add(key)
            before = self._open.get(key)
            if before is not None and one.since_ns > before.end_ns:
                self._end(key, one.since_ns)  # over, and the next one began between two looks
                before = None
            if before is not None:
                self._open[key] = msgspec.structs.replace(before, end_ns=at_ns, gone_ns=at_ns)
                continue
            self._open[key] = LockWait(
                at_ns=min(max(one.since_ns, until.get(one.pid, 0)), at_ns),
                end_ns=at_ns,
                gone_ns=at_ns,
                waiter=sessions.get(one.pid) or DatabaseSession(pid=one.pid),
                mode=one.mode,
                kind=one.kind,
                relation=one.relation,
                chain=tuple(_links(one, chain, waiting, sessions, held)),
            )
        for key in self._open.keys() - now:
            self._end(key, at_ns)

    def close(self, at_ns: int) -> None:
        """End every wait: nobody looks any more."""
        for key in list(self._open):
            self._end(key, at_ns)

    def _end(self, key: tuple[int, int], gone_ns: int) -> None:
        self._write(msgspec.structs.replace(self._open.pop(key), gone_ns=gone_ns))


def _links(
    first: Seen,
    chain: Iterable[int],
    waiting: Mapping[int, Seen],
    sessions: Mapping[int, DatabaseSession],
    held: Held,
) -> Iterator[DatabaseSession]:
    """The sessions of a chain, each with the lock by which it stands in the way."""
    before: Seen | None = first
    for pid in chain:
        session = sessions.get(pid) or DatabaseSession(pid=pid)
        mode = None if before is None else in_the_way(before, pid, waiting, held)
        yield msgspec.structs.replace(session, mode=mode)
        before = waiting.get(pid)


class LockWatch:
    """Looks at the locks of one database until it is cancelled.

    Attributes:
        busy: whether a migration runs; then it looks every 10 ms.
    """

    def __init__(
        self,
        url: str,
        path: Path,
        note: Note,
        on_waits: Callable[[Sequence[LockWait]], None] = lambda _: None,
        clients: ClientsWatch | None = None,
    ) -> None:
        """Describe a watch; `run` begins it.

        Args:
            url: the database.
            path: where the waits go.
            note: told of rewritten tables, of invalid indexes, and when the database is away.
            on_waits: told who waits now, whenever somebody does or did at the look before.
            clients: finds out which replica has which session; None: nobody asks.
        """
        self._url = url
        self._clients = clients
        self._listed_ns = 0
        self._path = path
        self._note = note
        self._on_waits = on_waits
        self._busy = False
        self._turned = asyncio.Event()
        self._files: dict[int, tuple[str, int]] | None = None
        self._invalid: set[str] = set()
        self._looked_ns = 0
        self._away = False

    @property
    def busy(self) -> bool:
        """Whether a migration runs."""
        return self._busy

    @busy.setter
    def busy(self, busy: bool) -> None:
        self._busy = busy
        self._turned.set()

    @property
    def looked(self) -> bool:
        """Whether it has looked yet: from then on it sees what changes."""
        return self._looked_ns > 0

    async def run(self) -> None:
        """Watch until cancelled. A database that goes away is noted, and awaited."""
        with Recorder[LockWait](self._path) as recorder:
            waits = Waits(recorder.write)
            try:
                while True:
                    try:
                        await self._connected(waits)
                    except EnvironmentFailure as error:
                        waits.close(time.monotonic_ns())
                        self._lost(error)
                        await asyncio.sleep(_RETRY_SECONDS)
            finally:
                waits.close(time.monotonic_ns())

    def _lost(self, error: BaseException) -> None:
        if not self._away:
            self._away = True
            reason = error.__cause__ or error  # the database's own words, without our URL
            text = " ".join(str(reason).split()) or type(reason).__name__
            self._note("database", text, {"last_seen_ns": self._looked_ns})

    async def _connected(self, waits: Waits) -> None:
        async with connected(
            self._url, APPLICATION_NAME, timeout=_ANSWER_SECONDS, command_timeout=_ANSWER_SECONDS
        ) as connection:
            if self._away:
                self._away = False
                self._note("database", None, {"back": True})
            while True:
                self._turned.clear()
                await self._look(connection, waits)
                if not (self._busy or waits.any_open):
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(IDLE_SECONDS):
                            await self._turned.wait()
                else:
                    await asyncio.sleep(BUSY_SECONDS)

    async def _look(self, connection: Any, waits: Waits) -> None:  # noqa: ANN401 - asyncpg ships no types
        rows = await connection.fetch(_WAITS)
        at_ns = time.monotonic_ns()
        seen = [_seen(row, at_ns) for row in rows]
        sessions: dict[int, DatabaseSession] = {}
        held: dict[tuple[int, str], frozenset[str]] = {}
        if seen:
            pids = {one.pid for one in seen} | {pid for one in seen for pid in one.blockers}
            found = await connection.fetch(_SESSIONS, sorted(pids))
            sessions = {row["pid"]: _session(row) for row in found}
            for row in await connection.fetch(_HELD, sorted(pids)):
                key = row["pid"], row["relation"]
                held[key] = held.get(key, frozenset()) | {row["mode"]}
        did = waits.any_open
        waits.look(at_ns, seen, sessions, held)
        if did or waits.any_open:
            self._on_waits(waits.open)
        await self._look_at_tables(connection, at_ns)
        await self._look_at_clients(connection, at_ns, sessions.values())
        self._looked_ns = at_ns

    async def _look_at_clients(
        self,
        connection: Any,  # noqa: ANN401 - as above
        at_ns: int,
        waiting: Iterable[DatabaseSession],
    ) -> None:
        """List the sessions now and then, and once somebody waits who is not known."""
        watch = self._clients
        if watch is None:
            return
        due = at_ns - self._listed_ns >= watch.pause_ns
        new = any(
            not (one.application.startswith(OURS) or watch.clients.knows(one.pid))
            for one in waiting
        )
        if due or new:
            self._listed_ns = at_ns
            await watch.look(at_ns, await connection.fetch(LIST_CLIENTS))

    async def _look_at_tables(self, connection: Any, at_ns: int) -> None:  # noqa: ANN401 - as above
        rows = await connection.fetch(_FILES)
        files = {row["oid"]: (row["name"], row["relfilenode"]) for row in rows}
        for oid, (name, node) in files.items():
            before = (self._files or {}).get(oid)
            if before is not None and before[1] != node:
                self._note("table", None, {"table": name, "since_ns": self._looked_ns})
        self._files = files
        if self._busy:
            return  # an index that is being built is not valid yet, and that is no finding
        invalid = {row["name"] for row in await connection.fetch(_INVALID)}
        for name in sorted(invalid - self._invalid):
            self._note("index", "not valid", {"index": name, "at_ns": at_ns})
        self._invalid = invalid


def _seen(row: Mapping[str, Any], at_ns: int) -> Seen:
    since, now = row["waitstart"], row["now"]
    waited = 0 if since is None else max(round((now - since).total_seconds() * 1e9), 0)
    return Seen(
        pid=row["pid"],
        kind=row["locktype"],
        mode=row["mode"],
        relation=row["relation"],
        since_ns=at_ns - waited,
        blockers=tuple(row["blockers"]),
    )


def _session(row: Mapping[str, Any]) -> DatabaseSession:
    query = " ".join((row["query"] or "").split())
    return DatabaseSession(
        pid=row["pid"],
        port=client_port(row),
        application=row["application_name"] or "",
        state=row["state"],
        query=query[:_QUERY_LETTERS] or None,
        transaction_seconds=None if row["seconds"] is None else round(row["seconds"], 4),
    )
