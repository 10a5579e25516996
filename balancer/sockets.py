"""Listening sockets: opened with errors that name the fix."""

import errno
import os
import resource
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from balancer.addresses import Address
from balancer.config import Config
from balancer.errors import StartError

BACKLOG = 4096
# Files that are open besides connections, with room to spare.
_OTHER_FILES = 128


@dataclass(slots=True)
class Listener:
    """A listening socket.

    Attributes:
        place: the address of the command line, whose port may be 0.
        sock: the socket.
        handed_over: whether a successor has it now, so that its path must stay.
    """

    place: Address
    sock: socket.socket
    handed_over: bool = False

    @property
    def address(self) -> Address:
        """The address at which it listens, with the port that the system chose."""
        if self.place.path is not None:
            return self.place
        host, port = self.sock.getsockname()[:2]
        return Address(host, port)

    @property
    def name(self) -> str:
        """The same, as text."""
        return str(self.address)


@contextmanager
def listening(place: Address, inherited: Mapping[str, socket.socket]) -> Iterator[Listener]:
    """Listen. A unix socket is open to its owner only, and its path is removed at the end.

    Args:
        place: where.
        inherited: the sockets of a predecessor, by the place that it had been asked for.

    Raises:
        StartError: the address is in use or not ours.
    """
    known = inherited.get(str(place))
    if known is not None:
        sock = known
    elif place.path is not None:
        sock = _open_unix(place.path)
    else:
        sock = _open_tcp(place)
    listener = Listener(place, sock)
    with sock:
        if known is None:
            sock.listen(BACKLOG)
        try:
            yield listener
        finally:
            if place.path is not None and not listener.handed_over:
                place.path.unlink(missing_ok=True)


def _open_tcp(place: Address) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise StartError(f"{place}: {error.strerror}") from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            fix = "stop the process that listens there, or choose another port"
            raise StartError(f"{place} is in use: {fix}") from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise StartError(f"{place}: this machine has no such address") from error
        raise StartError(f"{place}: {error.strerror}") from error
    return sock


def _open_unix(path: Path) -> socket.socket:
    _clear(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        sock.bind(os.fspath(path))
    except OSError as error:
        sock.close()
        raise StartError(f"unix:{path}: {error.strerror}") from error
    finally:
        os.umask(mask)
    return sock


def _clear(path: Path) -> None:
    """Remove a socket that nobody listens on; leave any other file alone."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise StartError(f"unix:{path} exists and is not a socket")
    except FileNotFoundError:
        return
    except OSError as error:
        raise StartError(f"unix:{path}: {error.strerror}") from error
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
        except OSError as error:
            raise StartError(f"unix:{path}: {error.strerror}") from error
        else:
            raise StartError(f"unix:{path} is in use: stop the process that listens there")


def fit_to_file_limit(config: Config) -> Config:
    """Raise the limit of open files as far as is allowed, and fit the connections to it.

    Each client may need a connection to a backend as well.

    Raises:
        StartError: `--max-connections` was given, and cannot be had.
    """
    wanted = 2 * config.limits.connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    top = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < top:
        resource.setrlimit(resource.RLIMIT_NOFILE, (top, hard))
        soft = top
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return config
    room = (soft - _OTHER_FILES) // 2
    if config.connections_given or room < 1:
        raise StartError(
            f"--max-connections {config.limits.connections} needs {wanted} open files, "
            f"and {soft} are allowed: raise that with `ulimit -n {wanted}`, "
            f"or ask for at most {max(room, 1)}"
        )
    return replace(config, limits=replace(config.limits, connections=room))
