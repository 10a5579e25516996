"""Connections over TLS (RFC 8446): the same exchanges, in records that the `ssl` module makes.

The handshake belongs to the request that opens the connection, so its time counts.
"""

import asyncio
import errno
import socket
import ssl
from typing import Final

from scenarios.traffic.errors import TrafficError
from scenarios.traffic.settings import TlsSettings
from scenarios.traffic.wire.connection import (
    Connection,
    Owner,
    connect_error,
    words,
)

_ALPN: Final = ["http/1.1"]


def tls_context(settings: TlsSettings) -> ssl.SSLContext:
    """What these settings ask of a server.

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
    context.set_alpn_protocols(_ALPN)
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

    def close(self) -> None:
        """Close the socket without a farewell, as browsers do."""
        self._inner.close()


class TlsConnection(Connection):
    """A connection that shakes hands before it carries its first exchange."""

    __slots__ = ("_context", "_plain", "_server_name", "_tls")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        *,
        buffer: memoryview,
        owner: Owner,
        context: ssl.SSLContext,
        server_name: str,
    ) -> None:
        super().__init__(loop, sock, buffer=buffer, owner=owner)
        self._plain: socket.socket | None = sock
        self._tls: ssl.SSLSocket | None = None
        self._context = context
        self._server_name = server_name

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
        super()._write()

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

    def _read(self) -> bool:
        """Take in all that has arrived: the kernel does not tell of what `ssl` keeps."""
        more = super()._read()
        while more and isinstance(self._sock, _TlsSocket) and self._sock.pending():
            more = super()._read()
        return more


def _reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not accepted: {error.verify_message}"
    return (error.reason or str(error)).replace("_", " ").lower()
