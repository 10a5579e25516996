"""What the parts of the data plane need of each other.

An exchange sits between two connections: one to its client, one to its backend. Each side knows
only these few methods of the others, so that no module imports in a circle.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from balancer.backend import Backend
from balancer.proxy.error_responses import ErrorResponse
from balancer.proxy.forwarding import ForwardedFields
from balancer.proxy.request_head import RequestHead
from balancer.proxy.response_head import ResponseHead
from balancer.proxy.timing_wheel import Deadline, TimingWheel


class ClientConnection(Deadline):
    """The connection of a client, as an exchange sees it.

    Attributes:
        transport: to write to.
        persistent: whether another request may come on this connection.
        blocked: whether the client reads so slowly that it should be sent nothing more now.
        paused: whether the balancer reads nothing from the client now.
        forwarding: writes the fields that tell backends about the client.
        peer: the address of the client.
        kind: `new` or `reused`, for the access log.
    """

    __slots__ = ("blocked", "forwarding", "kind", "paused", "peer", "persistent", "transport")
    transport: asyncio.Transport
    persistent: bool
    blocked: bool
    forwarding: ForwardedFields
    paused: bool
    peer: str
    kind: str

    def pause_reading(self) -> None:
        """Read nothing more from the client for now."""
        raise NotImplementedError

    def resume_reading(self) -> None:
        """Read from the client again."""
        raise NotImplementedError

    def answer(
        self, response: ErrorResponse, *, request_id: bytes, unread: bool, method: bytes
    ) -> None:
        """Answer in the place of the backend, and end the exchange."""
        raise NotImplementedError

    def exchange_done(self, *, early: bool) -> None:
        """The response was written; `early` says that part of the request was not read."""
        raise NotImplementedError

    def leave(self) -> None:
        """Close the connection if no exchange is under way."""
        raise NotImplementedError

    def cut_off(self) -> None:
        """End whatever is under way; the last act of a stop."""
        raise NotImplementedError

    def abort(self) -> None:
        """End the connection with a reset, which nobody takes for the end of a response."""
        raise NotImplementedError

    def begin_tunnel(self, upstream: "TunnelTarget", ended: Callable[[int], None]) -> None:
        """Pass bytes between the client and the backend from here on.

        Args:
            upstream: the connection of the backend.
            ended: called once at the end, with the number of bytes that went to the client.
        """
        raise NotImplementedError

    def end_tunnel(self) -> None:
        """Close this side of a tunnel: the connection of the backend is gone."""
        raise NotImplementedError


class UpstreamTunnel(Protocol):
    """A tunnel, as the connection of the backend sees it."""

    def upstream_data(self, data: bytes) -> None:
        """Pass bytes of the backend on."""

    def upstream_eof(self) -> bool:
        """The backend will send no more; returns whether it may still be sent to."""

    def upstream_lost(self) -> None:
        """The connection of the backend is gone."""

    def pause_client(self) -> None:
        """The backend reads slowly: stop reading from the client."""

    def resume_client(self) -> None:
        """The backend has caught up."""


class TunnelTarget(Protocol):
    """The connection of a backend, as a tunnel sees it."""

    transport: asyncio.Transport
    tunnel: UpstreamTunnel | None


class ResponseReceiver:
    """An exchange, as the connection of the backend sees it.

    Attributes:
        client: the connection that the request came by.
        head: the head of the request.
    """

    __slots__ = ("client", "head")
    client: ClientConnection
    head: RequestHead

    def whole_response(self, head: ResponseHead, body: bytes, *, reusable: bool) -> None:
        """A response arrived in one piece."""
        raise NotImplementedError

    def response_head(self, head: ResponseHead) -> None:
        """The head of a response arrived; its body follows."""
        raise NotImplementedError

    def relay(self, data: bytes) -> None:
        """Bytes of the body arrived."""
        raise NotImplementedError

    def relay_last(self, data: bytes, *, reusable: bool) -> None:
        """The last bytes of the body arrived."""
        raise NotImplementedError

    def relay_pieces(
        self,
        pieces: list[bytes],
        *,
        trailers: bytes = b"",
        last: bool = False,
        reusable: bool = False,
    ) -> None:
        """Bytes of a chunked body arrived; `last` says that the body ends with them."""

    def interim(self, status: int, fields: bytes) -> None:
        """An interim response arrived."""
        raise NotImplementedError

    def switch_protocols(self, fields: bytes, upgrade: bytes, rest: bytes) -> None:
        """The backend agreed to speak another protocol from here on."""
        raise NotImplementedError

    def upstream_failed(
        self, response: ErrorResponse, *, silent: bool, reset: bool = False
    ) -> None:
        """No complete response will arrive.

        Args:
            response: what to tell the client, if it can still be told.
            silent: whether not one byte of the response arrived.
            reset: whether the connection ended with a reset.
        """
        raise NotImplementedError

    def pause_client(self) -> None:
        """The backend reads slowly: stop reading from the client."""
        raise NotImplementedError

    def resume_client(self) -> None:
        """The backend has caught up."""
        raise NotImplementedError

    def cut(self) -> bool:
        """The backend is taken away now; returns whether that made the exchange fail."""
        raise NotImplementedError


class ConnectionRegistry(Protocol):
    """The owner of the connections to the backends, as one of them sees it."""

    wheel: TimingWheel
    head_limit: int

    def opened(self, connection: "BackendConnection") -> None:
        """Note an open connection."""

    def closed(self, connection: "BackendConnection") -> None:
        """Forget a connection."""


class BackendConnection(Protocol):
    """A connection to a backend, as its owner sees it."""

    backend: Backend
    idle_since_ns: int

    def discard(self) -> None:
        """Close at once."""


class HeldRequest(Protocol):
    """A request that waits for a backend."""

    def resume(self) -> None:
        """Try again: there may be a backend now."""
