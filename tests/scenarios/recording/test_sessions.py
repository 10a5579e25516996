"""The client of a session is found by its port, whatever the session is called."""

import asyncio
import os
import signal
import sys
import time
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.guardian import MARK
from orchestrator.platforms.local import REPLICA
from scenarios.evidence.run_folder import RunFolder
from scenarios.recording.lock_watch import LockWatch
from scenarios.recording.sessions import ClientsWatch, SeenSession, SessionClients, sockets_from

MINE = "0" * 16 + "mine"
CLIENT = """
import asyncio, os, sys
import asyncpg
async def main():
    connection = await asyncpg.connect(sys.argv[1], server_settings={"application_name": "shop"})
    await connection.execute("SELECT pg_sleep(600)")
pid = os.fork()  # the process that listens is often a child
if pid:
    os.waitpid(pid, 0)
else:
    asyncio.run(main())
"""
TITLES = b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"


def row(host: str, port: int, inode: int, state: str = "01") -> bytes:
    """A row of the kernel's table, as `proc_net_tcp` has it."""
    packed = ip_address(host).packed
    step = 1 if sys.byteorder == "big" else -1
    address = b"".join(packed[n : n + 4][::step] for n in range(0, len(packed), 4)).hex().upper()
    return (
        f"   7: {address}:{port:04X} 0100007F:1538 {state} 00000000:00000000 00:00000000 00000000"
        f"  1000        0 {inode} 1 0000000000000000 20 4 30 10 -1\n"
    ).encode()


@given(
    host=st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str),
    port=st.integers(1, 65535),
    inode=st.integers(1, 2**31),
)
def test_a_socket_is_found_by_its_address_and_port(host: str, port: int, inode: int) -> None:
    """Whatever the address: the row of an established connection has the socket's number."""
    client = SeenSession(1, "shop", host, port)
    table = TITLES + row("127.0.0.1", 5432, 99) + row(host, port, inode)
    assert sockets_from([table], [client])[inode] == client
    assert sockets_from([TITLES + row(host, port, inode, state="06")], [client]) == {}


def test_the_same_port_on_another_address_is_another_client() -> None:
    """A client of another machine may have a port that a socket here has as well."""
    client = SeenSession(1, "shop", "10.1.2.3", 40000)
    assert sockets_from([TITLES + row("127.0.0.1", 40000, 5)], [client]) == {}


def test_a_client_that_speaks_ipv4_on_a_socket_for_both_families_is_found() -> None:
    """The JVM opens such sockets; the kernel lists them with those of IPv6."""
    client = SeenSession(1, "shop", "127.0.0.1", 40000)
    assert sockets_from([TITLES + row("::ffff:127.0.0.1", 40000, 5)], [client]) == {5: client}


def test_a_session_without_a_port_is_recorded_as_nobody_s() -> None:
    """Over a Unix socket the server knows no port, and nobody is blamed."""
    (found,) = SessionClients(["x"]).look(5, [SeenSession(7, "shop", None, None)])
    assert (found.pid, found.port, found.replica) == (7, None, None)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux tells whose sockets")
async def test_a_replica_is_found_though_it_names_its_sessions_itself(
    postgres_url: str, tmp_path: Path
) -> None:
    """A real process with a name of its own for its session is found, also if a child has it."""
    environment = {**os.environ, REPLICA: "a-2", MARK: MINE}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CLIENT, postgres_url), env=environment, start_new_session=True
    )
    run = RunFolder(tmp_path)
    try:
        with run.session_clients.recorder() as recorder:
            clients = ClientsWatch(SessionClients([MINE]), recorder)
            watch = LockWatch(postgres_url, run.lock_waits.path, lambda *_: None, clients=clients)
            async with asyncio.TaskGroup() as group, asyncio.timeout(30):
                task = group.create_task(watch.run())
                began = time.monotonic_ns()
                while not any(one.replica for one in run.session_clients.read()):
                    await asyncio.sleep(0.02)
                    recorder.flush()
                task.cancel()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    (found,) = [one for one in run.session_clients.read() if one.replica]
    assert (found.application, found.replica) == ("shop", "a-2")
    assert found.port is not None
    assert began <= found.at_ns <= time.monotonic_ns()
