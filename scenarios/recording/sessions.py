"""Finds out which replica is the client of a session of the database, by the client's port.

An application may give its sessions a name of its own, or none. But the server knows the address
and the port of each client, and the kernel knows which process has that socket: `/proc/net/tcp` has
the socket's number (proc_net_tcp in the kernel's documentation), and `/proc/PID/fd` has the sockets
of a process. A process belongs to a replica if its environment says so, or its parent's does.
"""

import asyncio
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from orchestrator.guardian import MARK
from orchestrator.platforms.local import REPLICA
from scenarios.evidence.recorder import Recorder
from scenarios.evidence.session_client import SessionClient
from scenarios.recording.machine import parse_process

OURS = "hitless-"
"""What the names of our own sessions begin with."""

LIST_CLIENTS = """
SELECT pid, application_name, host(client_addr) AS host, client_port FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend'
    AND application_name NOT LIKE 'hitless-%'"""
"""Asks the server for the sessions of its present database but for our own; see `client_port`."""

_PROC = Path("/proc")
_LOOKS = 5
"""So often a session's client is looked for."""

_LEAST_PAUSE_NS, _MOST_PAUSE_NS = 200_000_000, 2_000_000_000
_PAUSES = 30
_NEW_NS = 1_000_000_000
_SOCKET = re.compile(r"socket:\[(\d+)\]")
_ORDER = 1 if sys.byteorder == "big" else -1

_Key = tuple[int, int | None]
"""A session's process and its client's port, which together name it for as long as it lives."""


class SeenSession(NamedTuple):
    """A session as the server lists it.

    Attributes:
        pid: the process id of its backend.
        application: its `application_name`.
        host: the client's address; None over a Unix socket.
        port: the client's port; None over a Unix socket.
    """

    pid: int
    application: str
    host: str | None
    port: int | None


def sockets_from(tables: Iterable[bytes], clients: Iterable[SeenSession]) -> dict[int, SeenSession]:
    """The sockets whose local ends are the clients' addresses, by their numbers (inodes).

    Args:
        tables: the contents of `/proc/net/tcp` and `/proc/net/tcp6`.
        clients: sessions with a host and a port.
    """
    wanted = {
        (_unmapped(ip_address(one.host)), one.port): one
        for one in clients
        if one.host is not None and one.port is not None
    }
    ports = b"|".join(b"%04X" % port for port in sorted({port for _, port in wanted}))
    if not ports:
        return {}
    # Tables are long on a busy machine, so only rows with one of the ports are taken apart.
    row = re.compile(
        rb"^ *\d+: ([0-9A-F]+):(" + ports + rb") \S+ 01 \S+ \S+ \S+ +\d+ +\d+ (\d+)", re.MULTILINE
    )
    found = {}
    for table in tables:
        for address, port, inode in row.findall(table):
            one = wanted.get((_address(address), int(port, 16)))
            if one is not None:
                found[int(inode)] = one
    return found


def _address(text: bytes) -> IPv4Address | IPv6Address:
    """An address of the kernel's tables: groups of four bytes in the machine's order."""
    raw = bytes.fromhex(text.decode())
    packed = b"".join(raw[start : start + 4][::_ORDER] for start in range(0, len(raw), 4))
    return _unmapped(ip_address(packed))


def _unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that a socket for both families shows as `::ffff:127.0.0.1`."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


class ReplicaProcesses:
    """The processes of a run's replicas, their children included.

    A process gets the environment of its replica when it begins its program, so a new process is
    looked at again for a second; then it is known for good what it is.
    """

    def __init__(self, marks: Iterable[str], proc: Path = _PROC) -> None:
        """Take the marks of the run's processes, as `Processes.mark` says them."""
        self._marks = tuple(f"{MARK}={mark}".encode() for mark in marks)
        self._proc = proc
        self._parents: dict[int, int] = {}
        self._named: dict[int, str] = {}
        self._new: dict[int, int] = {}

    def all(self, now_ns: int) -> dict[int, str]:
        """The replica of each of them, by process id.

        Args:
            now_ns: the instant, on any one clock.
        """
        living = {int(entry.name) for entry in self._proc.iterdir() if entry.name.isdigit()}
        for known in (self._parents, self._named, self._new):
            for pid in known.keys() - living:
                del known[pid]
        for pid in living - self._parents.keys():
            self._new[pid] = now_ns
            self._parents[pid] = self._parent(pid)
        for pid, since_ns in list(self._new.items()):
            name = self._name(pid)
            if name is not None:
                self._named[pid] = name
            if name is not None or now_ns - since_ns > _NEW_NS:
                del self._new[pid]
        found = ((pid, self._inherited(pid)) for pid in living)
        return {pid: name for pid, name in found if name is not None}

    def _parent(self, pid: int) -> int:
        try:
            parent, _ = parse_process(
                (self._proc / str(pid) / "stat").read_text("utf-8", "replace")
            )
        except (OSError, ValueError, IndexError):
            return 0  # it ended while we looked
        return parent

    def _name(self, pid: int) -> str | None:
        """The replica that a process's environment names, if it also has a mark of this run."""
        try:
            environment = (self._proc / str(pid) / "environ").read_bytes().split(b"\0")
        except OSError:
            return None
        if not any(mark in environment for mark in self._marks):
            return None
        prefix = f"{REPLICA}=".encode()
        found = (one.removeprefix(prefix) for one in environment if one.startswith(prefix))
        return next((name.decode(errors="replace") for name in found), None)

    def _inherited(self, pid: int) -> str | None:
        """Its own name, else the nearest ancestor's: a program may overwrite its environment."""
        seen: set[int] = set()
        while pid in self._parents and pid not in seen:
            if pid in self._named:
                return self._named[pid]
            seen.add(pid)
            pid = self._parents[pid]
        return None


class SessionClients:
    """Looks for the client of each session until it is found, a few times at most."""

    def __init__(self, marks: Iterable[str], proc: Path = _PROC) -> None:
        """Take the marks of the run's processes, as `Processes.mark` says them."""
        self._processes = ReplicaProcesses(marks, proc)
        self._proc = proc
        self._known: set[_Key] = set()
        self._open: dict[_Key, tuple[SessionClient, int]] = {}

    def knows(self, pid: int) -> bool:
        """Whether a session of that backend was looked for."""
        return any(known == pid for known, _ in (*self._known, *self._open))

    def look(self, at_ns: int, sessions: Sequence[SeenSession]) -> list[SessionClient]:
        """Look for the clients that are not known; reads files, so it takes some milliseconds.

        Args:
            at_ns: when the server listed the sessions.
            sessions: all that there are.

        Returns:
            what is known of a session for good: its replica, or that it was not found.
        """
        living = {(one.pid, one.port): one for one in sessions}
        done = [record for key, (record, _) in self._open.items() if key not in living]
        self._open = {key: one for key, one in self._open.items() if key in living}
        self._known &= living.keys()
        sought = [one for key, one in living.items() if key not in self._known]
        named = [one for one in sought if one.port is not None]
        owners = self._owners(named, at_ns) if named else {}
        for one in sought:
            key = one.pid, one.port
            fresh = SessionClient(
                at_ns=at_ns, pid=one.pid, port=one.port, application=one.application
            )
            record, looks = self._open.pop(key, (fresh, 0))
            replica = owners.get(key)
            if replica is None and one.port is not None and looks + 1 < _LOOKS:
                self._open[key] = record, looks + 1
                continue
            self._known.add(key)
            done.append(msgspec.structs.replace(record, replica=replica))
        return done

    def close(self) -> list[SessionClient]:
        """The sessions whose client is still looked for: it is not known."""
        rest = [record for record, _ in self._open.values()]
        self._open = {}
        return rest

    def _owners(self, clients: Sequence[SeenSession], now_ns: int) -> dict[_Key, str]:
        sockets = sockets_from(self._tables(), clients)
        found: dict[_Key, str] = {}
        if not sockets:
            return found
        for pid, replica in self._processes.all(now_ns).items():
            for inode in self._sockets_of(pid):
                if inode in sockets:
                    found[sockets[inode].pid, sockets[inode].port] = replica
        return found

    def _tables(self) -> Iterator[bytes]:
        for name in ("tcp", "tcp6"):
            try:
                yield (self._proc / "net" / name).read_bytes()
            except OSError:
                continue  # a kernel without IPv6, or no Linux

    def _sockets_of(self, pid: int) -> Iterator[int]:
        try:
            for entry in (self._proc / str(pid) / "fd").iterdir():
                match = _SOCKET.fullmatch(str(entry.readlink()))
                if match is not None:
                    yield int(match[1])
        except OSError:
            return  # it ended while we looked


@dataclass(slots=True)
class ClientsWatch:
    """What is asked about the clients of sessions, and where the answers go.

    Attributes:
        clients: looks for them.
        recorder: gets what was found.
        pause_ns: how long to wait before the next look, so that looks cost little: the kernel's
            table is long on a busy machine.
    """

    clients: SessionClients
    recorder: Recorder[SessionClient]
    pause_ns: int = _LEAST_PAUSE_NS

    async def look(self, at_ns: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Look for the clients of the sessions in these rows."""
        seen = [
            SeenSession(row["pid"], row["application_name"] or "", row["host"], client_port(row))
            for row in rows
        ]
        began_ns = time.monotonic_ns()
        found = await asyncio.to_thread(self.clients.look, at_ns, seen)
        took_ns = time.monotonic_ns() - began_ns
        self.pause_ns = min(max(_LEAST_PAUSE_NS, _PAUSES * took_ns), _MOST_PAUSE_NS)
        for one in found:
            self.recorder.write(one)

    def close(self) -> None:
        """Record the sessions whose client was not found."""
        for one in self.clients.close():
            self.recorder.write(one)


def client_port(row: Mapping[str, Any]) -> int | None:
    """The client's port; the server says -1 over a Unix socket."""
    port = row["client_port"]
    return None if port is None or port < 0 else port
