"""What Linux says about sockets and processes is read right."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from scenarios.probe.family import (
    holders,
    is_pending,
    listeners,
    parse_listeners,
    process_name,
    short_name,
    waiting_connections,
)

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 4711 1 0
   1: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1 0
   2: 0100007F:1F90 0100007F:C350 01 00000000:00000005 00:00000000 00000000     0        0 4713 1 0
   3: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4714 1 0
"""


def test_a_signal_that_was_not_taken_yet_is_seen() -> None:
    """A stopped process takes no signal, and a second one would be one with the first."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        try:
            assert not is_pending(child.pid, signal.SIGTERM)
            child.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, child.pid, os.WSTOPPED)
            child.send_signal(signal.SIGTERM)
            assert is_pending(child.pid, signal.SIGTERM)
            assert not is_pending(child.pid, signal.SIGHUP)
        finally:
            child.kill()
    assert not is_pending(child.pid, signal.SIGTERM)


def test_listeners_are_parsed() -> None:
    """The port, the queue and the inode; what is no listener ends the list."""
    found = parse_listeners(TABLE.splitlines())
    assert found == [(8080, 3, "4711"), (80, 0, "4712")]


def test_an_empty_table() -> None:
    """A machine without sockets has none."""
    assert parse_listeners(TABLE.splitlines()[:1]) == []


@pytest.mark.parametrize(
    ("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)]
)
def test_a_real_listener_is_found_with_its_queue(host: str, family: socket.AddressFamily) -> None:
    """A socket of ours is listed, is ours, and its queue has who was not accepted yet."""
    with socket.socket(family) as server:
        try:
            server.bind((host, 0))
        except OSError:
            pytest.skip(f"this machine has no {host}")
        server.listen(5)
        port = server.getsockname()[1]
        found = [one for one in listeners() if one.port == port]
        assert len(found) == 1
        assert holders([found[0].inode], [os.getpid()]) == [os.getpid()]
        assert waiting_connections(port) == 0
        with socket.create_connection((host, port)):
            assert waiting_connections(port) == 1


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["/x/bin/python3", "/x/bin/gunicorn", "-b", ":80"], "gunicorn"),
        (["python3.12", "-m", "aiohttp.web"], "aiohttp.web"),
        (["python", "-u", "app.py"], "app.py"),
        (["/usr/bin/node", "server.js"], "server.js"),
        (["gunicorn: master [app]"], "gunicorn: master [app]"),
        (["sh", "-c", "exec x"], "sh"),
        (["python", "-c", "import x"], "python"),
        (["python", "-B", "-c", "from multiprocessing import x"], "python"),
        (["python", "-X", "dev", "-W", "error", "app.py"], "app.py"),
        (["node", "--require", "/x/probe.cjs", "server.js"], "server.js"),
        (["npm start"], "npm start"),
        ([], "(gone)"),
    ],
)
def test_short_names(words: list[str], name: str) -> None:
    """People call a process by what it runs, not by its interpreter."""
    assert short_name(words) == name


def test_the_name_of_a_process_that_is_gone() -> None:
    """A process that ended meanwhile is no error."""
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        process.wait()
        pid = process.pid
    assert process_name(pid) == "(gone)"
