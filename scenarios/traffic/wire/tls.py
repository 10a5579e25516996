"""Connections over TLS (RFC 8446): the same exchanges, in records that the `ssl` module makes.

The handshake belongs to the request that opens the connection, so its time counts. After it,
another kind of connection may take the socket over: one that speaks HTTP/2, or a slow or lasting
one.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from typing import Final, TypeAlias

from scenarios.traffic.errors import TrafficError
from scenarios.traffic.settings import TlsSettings
from scenarios.traffic.wire.connection import (
    ClientExchange,
    Connection,
    Owner,
    StreamSocket,
    connect_error,
    words,
)

_ALPN: Final = ["http/1.1"]
_ALPN_BOTH: Final = ["h2", "http/1.1"]


def tls_context(settings: TlsSettings, *, http2: bool = False) -> ssl.SSLContext:
    """What these settings ask of a server.

    Args:
        settings: the settings.
        http2: whether it may choose HTTP/2.

    Raises:
        TrafficError: the file of certificates cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise TrafficError(f"{settings.ca_file}: {error.strerror or error}") from error
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(_ALPN_BOTH if http2 else _ALPN)
    return context


class _TlsSocket:
    """A TLS socket whose waits and ends look like those of a plain one that does not block."""

    def __init__(self, inner: ssl.SSLSocket) -> None:
        self._inner = inner

    def recv_into(self, buffer: memoryview) -> int:
        """Read; 0 at the end of the stream.

        Raises:
            BlockingIOError: no whole record has arrived.
            OSError: the connection is broken.
        """
        try:
            return self._inner.recv_into(buffer)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return 0
        except ssl.SSLError as error:
            raise OSError(errno.ECONNRESET, _reason(error)) from error

    def send(self, data: memoryview) -> int:
        """Write; returns how many bytes were taken.

        Raises:
            BlockingIOError: the kernel takes no more now.
            OSError: the connection is broken.
        """
        try:
            return self._inner.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        except ssl.SSLError as error:
            raise OSError(errno.ECONNRESET, _reason(error)) from error

    def pending(self) -> int:
        """How many bytes of a record were read from the kernel and not yet asked for."""
        return self._inner.pending()

    def fileno(self) -> int:
        """Its descriptor."""
        return self._inner.fileno()

    def close(self) -> None:
        """Close the socket without a farewell, as browsers do."""
        self._inner.close()


TakeOver: TypeAlias = Callable[[StreamSocket, ClientExchange], None]
"""Takes over an encrypted socket, and the exchange that opened it."""

Successor: TypeAlias = Callable[[str | None], TakeOver | None]
"""Who takes over, by the protocol that both ends have agreed on (ALPN); None: nobody."""


class TlsConnection(Connection):
    """A connection that shakes hands before it carries its first exchange."""

    __slots__ = ("_context", "_plain", "_server_name", "_successor", "_tls")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        *,
        buffer: memoryview,
        owner: Owner,
        context: ssl.SSLContext,
        server_name: str,
        successor: Successor | None = None,
    ) -> None:
        """Describe it.

        Args:
            loop: the running loop.
            sock: a socket whose connecting has begun.
            buffer: for one read's worth.
            owner: told what becomes of exchanges.
            context: how it is encrypted.
            server_name: the name that the server's certificate must have.
            successor: says who goes on after the handshake; None: it does so itself.
        """
        super().__init__(loop, sock, buffer=buffer, owner=owner)
        self._plain: socket.socket | None = sock
        self._tls: ssl.SSLSocket | None = None
        self._context = context
        self._server_name = server_name
        self._successor = successor

    def usable(self) -> bool:
        """Whether the other end has neither closed it nor sent what nobody asked for."""
        try:
            self._sock.recv_into(self._buffer[:1])
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def _write(self) -> None:
        """Write, once both ends have shaken hands."""
        if self._plain is None and self._tls is None:
            super()._write()
        else:
            self._shake_hands()

    def _shake_hands(self) -> None:
        if self._plain is not None and not self._begin(self._plain):
            return
        tls = self._tls
        if tls is None:
            return
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self._pause_writing()
            self._loop.add_reader(self._fd, self._shake_hands)
            return
        except ssl.SSLWantWriteError:
            self._write_later()
            return
        except ssl.SSLError as error:
            self._fail("tls", _reason(error))
            return
        except OSError as error:
            self._fail("reset", words(error))
            return
        self._loop.remove_reader(self._fd)
        self._tls = None
        agreed = tls.selected_alpn_protocol()
        take_over = None if self._successor is None else self._successor(agreed)
        if take_over is None:
            super()._write()
        else:
            self._hand_over(take_over)

    def _hand_over(self, take_over: TakeOver) -> None:
        """Leave the socket and the exchange to another kind of connection."""
        exchange, self._exchange = self._exchange, None
        self._stop_writing()
        self._closed = True
        self._reader.close()
        if exchange is not None:
            take_over(self._sock, exchange)

    def _begin(self, plain: socket.socket) -> bool:
        """Wrap the socket once it is connected; returns whether it is."""
        code = plain.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            error = OSError(code, errno.errorcode.get(code, ""))
            self._fail(connect_error(error), words(error))
            return False
        try:
            plain.getpeername()
        except OSError:
            self._write_later()
            return False
        self._tls = self._context.wrap_socket(
            plain, server_hostname=self._server_name, do_handshake_on_connect=False
        )
        self._plain = None
        self._sock = _TlsSocket(self._tls)
        return True


def _reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not accepted: {error.verify_message}"
    return (error.reason or str(error)).replace("_", " ").lower()
