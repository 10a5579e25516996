"""An upgraded connection: bytes pass both ways as they are."""

from collections.abc import Callable

from balancer.proxy.data_plane import DataPlane
from balancer.proxy.interfaces import ClientConnection, TunnelTarget


class Tunnel:
    """Passes bytes between the connection of a client and that of a backend.

    Args:
        data_plane: holds the deadline of a tunnel without traffic.
        client: the connection of the client, whose deadline is that of the tunnel.
        upstream: the connection of the backend.
        ended: called once at the end, with the number of bytes that went to the client.
        client_eof: whether the client has closed its sending side already.
    """

    __slots__ = ("_backend_eof", "_bytes_out", "_client", "_client_eof", "_data_plane", "_ended",
                 "_upstream")  # fmt: skip

    def __init__(
        self,
        data_plane: DataPlane,
        client: ClientConnection,
        upstream: TunnelTarget,
        ended: Callable[[int], None],
        *,
        client_eof: bool,
    ) -> None:
        self._data_plane = data_plane
        self._client = client
        self._upstream: TunnelTarget | None = upstream
        self._ended: Callable[[int], None] | None = ended
        self._bytes_out = 0
        self._client_eof = client_eof
        self._backend_eof = False
        upstream.tunnel = self
        self._moved()

    # The side of the client

    def client_data(self, data: bytes) -> None:
        """Pass bytes of the client on."""
        if self._upstream is not None:
            self._moved()
            self._upstream.transport.write(data)

    def client_eof(self) -> bool:
        """The client will send no more; returns whether it may still be sent to."""
        self._client_eof = True
        upstream = self._upstream
        if self._backend_eof or upstream is None or upstream.transport.is_closing():
            return False
        upstream.transport.write_eof()
        return True

    def pause_upstream(self) -> None:
        """The client reads slowly: stop reading from the backend."""
        if self._upstream is not None:
            self._upstream.transport.pause_reading()

    def resume_upstream(self) -> None:
        """The client has caught up."""
        if self._upstream is not None:
            self._upstream.transport.resume_reading()

    # The side of the backend

    def upstream_data(self, data: bytes) -> None:
        """Pass bytes of the backend on."""
        self._bytes_out += len(data)
        self._moved()
        self._client.transport.write(data)

    def upstream_eof(self) -> bool:
        """The backend will send no more; returns whether it may still be sent to."""
        self._backend_eof = True
        transport = self._client.transport
        if self._client_eof or transport.is_closing():
            return False
        transport.write_eof()
        return True

    def upstream_lost(self) -> None:
        """The connection of the backend is gone."""
        self.close()
        self._client.end_tunnel()

    def pause_client(self) -> None:
        """The backend reads slowly: stop reading from the client."""
        self._client.pause_reading()

    def resume_client(self) -> None:
        """The backend has caught up."""
        self._client.resume_reading()

    def close(self) -> None:
        """Close the connection of the backend, and report the end."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.tunnel = None
            if not upstream.transport.is_closing():
                upstream.transport.close()
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(self._bytes_out)

    def _moved(self) -> None:
        self._data_plane.wheel.arm(self._client, self._data_plane.ticks_tunnel)
