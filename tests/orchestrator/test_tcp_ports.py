"""A port that is handed out is free, and nobody else's."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import EnvironmentFailure
from orchestrator.tcp_ports import PortAllocator


def test_no_port_twice_and_none_that_is_ephemeral() -> None:
    """Ports are distinct, can be bound, and are never ones that the kernel gives to clients."""
    with PortAllocator() as first, PortAllocator() as second:
        taken = [ports.take() for _ in range(50) for ports in (first, second)]
    assert len(set(taken)) == 100
    end = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(1024 <= port < end for port in taken)
    with socket.create_server(("127.0.0.1", taken[0])):
        pass


def test_neither_a_used_nor_another_runs_port() -> None:
    """A port that somebody listens on, or that another run took, is passed over."""
    with PortAllocator() as ports:
        base = ports.take()
        program = (
            "import sys; from orchestrator.tcp_ports import PortAllocator; ports = PortAllocator();"
            "ports._next = int(sys.argv[1]); print(ports.take(), flush=True); sys.stdin.read()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program, str(base)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as other:
            assert other.stdout is not None
            theirs = int(other.stdout.readline())
            assert theirs != base
            ports._next = theirs
            assert ports.take() != theirs
            other.kill()
        ports._next = theirs
        assert ports.take() == theirs
        with PortAllocator() as lender:
            used = lender.take()
        with socket.create_server(("127.0.0.1", used)):
            ports._next = used
            assert ports.take() != used


def test_a_host_that_is_not_ours() -> None:
    """A host that cannot be bound is named."""
    with (
        PortAllocator("192.0.2.1") as ports,
        pytest.raises(EnvironmentFailure, match=r"192\.0\.2\.1"),
    ):
        ports.take()
