"""What the parts of the data plane need of each other.

An exchange sits between two connections, and each end only knows these few methods of it.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from balancer.pool import Backend
from balancer.proxy.answers import Refusal
from balancer.proxy.request_head import RequestHead
from balancer.proxy.response_head import ResponseHead
from balancer.proxy.wheel import Deadline, Wheel


class Client(Deadline):
    """The client's connection, as an exchange and the backend's connection see it.

    Attributes:
        transport: to write to.
        persistent: whether another request may come by it.
        blocked: whether it takes no bytes just now, since the client reads slowly.
        paused: whether nothing is read from it just now.
        kind: `new` or `reused`, for the access log.
    """

    __slots__ = ("blocked", "kind", "paused", "persistent", "transport")
    transport: asyncio.Transport
    persistent: bool
    blocked: bool
    paused: bool
    kind: str

    def pause_reading(self) -> None:
        """Read no more from the client for now."""
        raise NotImplementedError

    def resume_reading(self) -> None:
        """Read from the client again."""
        raise NotImplementedError

    def forwarded_fields(self, head: RequestHead) -> bytes:
        """What the backend is told about the client: Via and X-Forwarded-*."""
        raise NotImplementedError

    def answer(self, refusal: Refusal, *, request_id: bytes, unread: bool, method: bytes) -> None:
        """Answer in the backend's place, and end the exchange."""
        raise NotImplementedError

    def exchange_done(self, *, early: bool) -> None:
        """The response has been written; `early` when the request was not all read."""
        raise NotImplementedError

    def leave(self) -> None:
        """Close if nothing is under way."""
        raise NotImplementedError

    def cut_off(self) -> None:
        """End whatever is under way; the last act of a stop."""
        raise NotImplementedError

    def abort(self) -> None:
        """End the connection so that nobody can take it for a clean end."""
        raise NotImplementedError

    def begin_tunnel(self, line: "Tunnelled", ended: Callable[[int], None]) -> None:
        """Pass bytes between the client and the backend from here on.

        Args:
            line: the backend's connection.
            ended: told of the end, and how many bytes went to the client.
        """
        raise NotImplementedError

    def tunnel_data(self, data: bytes) -> None:
        """Pass the backend's bytes on."""
        raise NotImplementedError

    def tunnel_eof(self) -> bool:
        """The backend will send no more; returns whether it may still be sent to."""
        raise NotImplementedError

    def tunnel_lost(self) -> None:
        """The backend's connection is gone."""
        raise NotImplementedError


class Tunnelled(Protocol):
    """The backend's connection, as the client's sees it within a tunnel."""

    transport: asyncio.Transport
    peer: Client | None

    def discard(self) -> None:
        """Close at once."""


class Conversation(Protocol):
    """An exchange, as the backend's connection sees it."""

    head: RequestHead

    @property
    def peer(self) -> Client:
        """The client's connection."""

    def whole_response(self, head: ResponseHead, body: bytes, *, reusable: bool) -> None:
        """A response arrived in one piece."""

    def response_head(self, head: ResponseHead) -> None:
        """The head of a response arrived; its body follows."""

    def relay(self, data: bytes) -> None:
        """Bytes of the body arrived."""

    def relay_last(self, data: bytes, *, reusable: bool) -> None:
        """The last bytes of the body arrived."""

    def relay_pieces(
        self,
        pieces: list[bytes],
        *,
        trailers: bytes = b"",
        last: bool = False,
        reusable: bool = False,
    ) -> None:
        """Bytes of a chunked body arrived, perhaps the last."""

    def interim(self, status: int, fields: bytes) -> None:
        """An interim response arrived."""

    def switch_protocols(self, fields: bytes, upgrade: bytes, rest: bytes) -> None:
        """The backend agreed to speak another protocol from here on."""

    def upstream_failed(self, refusal: Refusal, *, silent: bool) -> None:
        """No complete response will arrive; `silent` when not one byte of it did."""

    def cut(self) -> bool:
        """The backend is taken away now; returns whether that made the exchange fail."""


class Keeper(Protocol):
    """Whoever keeps the connections to the backends, as one of them sees it."""

    wheel: Wheel
    head_limit: int

    def opened(self, line: "Line") -> None:
        """Note an open connection."""

    def closed(self, line: "Line") -> None:
        """Forget a connection."""


class Line(Protocol):
    """A connection to a backend, as its keeper sees it."""

    backend: Backend
    idle_since_ns: int

    def discard(self) -> None:
        """Close at once."""


class Held(Protocol):
    """A request that waits for a backend."""

    def resume(self) -> None:
        """There may be a backend now."""
