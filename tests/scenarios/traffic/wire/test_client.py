"""Every way in which a request can end has its name, and nothing is retried or hidden."""

import asyncio
import socket
import time
from collections.abc import Callable

import pytest

from tests.support.servers import Asker, answer, read_request, reset, serving

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Make = Callable[..., Asker]


async def test_a_complete_response_is_its_status_and_its_stamps(asker: Make) -> None:
    """What is answered is recorded with planned, sent, first byte and done in that order."""
    async with serving(answer(OK)) as server:
        before = time.monotonic_ns()
        done = await asker(server.port).send()
    assert (done.status, done.error, done.opened) == (200, None, True)
    assert done.sent_ns is not None
    assert done.first_byte_ns is not None
    assert before <= done.sent_ns <= done.first_byte_ns <= done.done_ns


async def test_connections_are_reused(asker: Make) -> None:
    """Exchanges one after the other share a connection; only the first one opened it."""
    async with serving(answer(OK)) as server:
        one = asker(server.port)
        opened = [(await one.send()).opened for _ in range(3)]
        assert opened == [True, False, False]
        assert server.connections == 1


async def test_exchanges_at_one_time_do_not_wait_for_each_other(asker: Make) -> None:
    """Three requests at once go on three connections, which are all kept."""
    async with serving(answer(OK)) as server:
        one = asker(server.port)
        await asyncio.gather(*(one.send() for _ in range(3)))
        assert server.connections == 3
        assert one.client.idle == 3


async def test_a_connection_of_its_own_is_not_kept(asker: Make) -> None:
    """An exchange that closes neither takes an idle connection nor leaves one."""
    async with serving(answer(OK)) as server:
        one = asker(server.port)
        await one.send()
        done = await one.send(close=True)
        assert done.opened
        assert server.connections == 2
        assert one.client.idle == 1


async def test_a_connection_that_the_server_closed_is_not_reused(asker: Make) -> None:
    """An idle connection that the server has closed costs no request."""
    closed = asyncio.Event()

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        closed.set()

    async with serving(once) as server:
        one = asker(server.port)
        for _ in range(5):
            closed.clear()
            done = await one.send()
            assert (done.status, done.opened) == (200, True)
            await closed.wait()


async def test_a_closed_connection_is_found_before_the_loop_hears_of_it(asker: Make) -> None:
    """The check before reuse asks the kernel: it does not depend on callbacks having run."""
    listener = socket.create_server(("127.0.0.1", 0))
    with listener:
        one = asker(listener.getsockname()[1])
        first = one.send()
        peer, _ = listener.accept()
        peer.recv(4096)
        peer.send(OK)
        await first
        peer.close()
        second = one.send()  # no turn of the loop since the close
        peer, _ = listener.accept()
        with peer:
            peer.recv(4096)
            peer.send(OK)
            assert (await second).opened


async def test_a_response_that_says_close_ends_the_connection(asker: Make) -> None:
    """After `Connection: close` the next request opens a connection."""
    close = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
    async with serving(answer(close)) as server:
        one = asker(server.port)
        assert (await one.send()).status == 200
        assert one.client.idle == 0


async def test_refused(asker: Make) -> None:
    """Where nobody listens the request is refused, and was never sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    done = await asker(port).send()
    assert (done.error, done.sent_ns, done.status) == ("connect_refused", None, None)
    assert done.error_detail == "Connection refused"


async def test_a_reset_after_the_request(asker: Make) -> None:
    """A server that takes the request and resets is a reset of something that was sent."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        reset(writer)

    async with serving(behave) as server:
        done = await asker(server.port).send()
    assert done.error == "reset"
    assert done.sent_ns is not None
    assert done.first_byte_ns is None


@pytest.mark.parametrize(
    "part",
    [
        b"",
        b"HTTP/1.1 200 O",
        OK[:-1],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
    ],
    ids=["nothing", "half a head", "half a body", "no last chunk"],
)
async def test_an_end_before_the_response_is_complete(asker: Make, part: bytes) -> None:
    """Closing before the last byte of the response is `eof`, however good its head looked."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(part)

    async with serving(behave) as server:
        done = await asker(server.port).send()
    assert (done.error, done.status) == ("eof", None)
    assert (done.first_byte_ns is None) == (part == b"")


async def test_a_reset_in_mid_body_keeps_what_the_head_said(asker: Make) -> None:
    """A response that breaks off still says which replica it came from."""
    head = asyncio.Event()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nX-Served-By: a-1\r\nContent-Length: 9\r\n\r\nhalf")
        await writer.drain()
        await head.wait()
        reset(writer)

    async with serving(behave) as server:
        one = asker(server.port)
        future = one.send()
        exchange = next(iter(one.client._under_way[30 * 10**9]))
        while exchange.first_byte_ns is None:  # noqa: ASYNC110 - half a response has no event
            await asyncio.sleep(0)
        head.set()
        done = await future
    assert (done.error, done.status, done.served_by) == ("reset", None, "a-1")


async def test_a_body_without_a_length_ends_with_the_connection(asker: Make) -> None:
    """Where a response has no length, its end is the connection's end, and it is complete."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")

    async with serving(behave) as server:
        done = await asker(server.port).send()
    assert (done.status, done.error) == (200, None)


async def test_no_answer_in_time(asker: Make) -> None:
    """A request that is not answered is given up after the timeout, not before."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        await reader.read()  # until the client is gone

    async with serving(behave) as server:
        done = await asker(server.port, timeout_seconds=0.2).send()
    assert (done.error, done.status) == ("timeout", None)
    assert done.sent_ns is not None
    assert done.done_ns - done.sent_ns >= 200_000_000


async def test_no_connection_in_time(asker: Make) -> None:
    """Where the accept queue is full, giving up is named after what was waited for."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = []
        try:
            for _ in range(8):  # Linux takes one more than the backlog, then leaves SYNs unanswered
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(address)
                fillers.append(filler)
            done = await asker(address[1], timeout_seconds=0.2).send()
        finally:
            for filler in fillers:
                filler.close()
    assert (done.error, done.sent_ns) == ("connect_timeout", None)


@pytest.mark.parametrize(
    "response",
    [
        b"220 smtp ready\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000 + b"\r\n\r\n",
    ],
    ids=["another protocol", "another version", "no status", "endless head"],
)
async def test_malformed(asker: Make, response: bytes) -> None:
    """What is not an HTTP/1.1 response is malformed, and says why."""
    async with serving(answer(response)) as server:
        done = await asker(server.port).send()
    assert (done.error, done.status) == ("malformed", None)
    assert done.error_detail


async def test_the_proxy_says_why(asker: Make) -> None:
    """A 503 with Proxy-Status is complete, and keeps the proxy's reason."""
    said = 'hitless; error=destination_unavailable; details="no backend is up"'
    response = (
        f"HTTP/1.1 503 Service Unavailable\r\nProxy-Status: {said}\r\nContent-Length: 0\r\n\r\n"
    ).encode()
    async with serving(answer(response)) as server:
        done = await asker(server.port).send()
    assert (done.status, done.error, done.proxy_status) == (503, None, said)


async def test_the_application_says_why(asker: Make) -> None:
    """Of a problem document the title and the SQLSTATE are kept."""
    body = b'{"title":"the database refused","status":500,"sqlstate":"23502"}'
    response = (
        b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/problem+json\r\n"
        b"X-Served-By: a-2\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    async with serving(answer(response)) as server:
        done = await asker(server.port).send()
    assert (done.status, done.sqlstate, done.problem) == (500, "23502", "the database refused")
    assert done.served_by == "a-2"


async def test_a_head_request_has_no_body(asker: Make) -> None:
    """The response to HEAD is complete at the end of its head, and its connection is not kept."""
    async with serving(answer(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")) as server:
        one = asker(server.port)
        done = await one.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", is_head=True)
        assert (done.status, done.error) == (200, None)
        assert one.client.idle == 0


async def test_bytes_after_a_response_spoil_the_connection(asker: Make) -> None:
    """An answer that nobody asked for is never taken for the next request's."""
    async with serving(answer(OK + b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")) as server:
        one = asker(server.port)
        assert [(await one.send()).status for _ in range(3)] == [200, 200, 200]
        assert server.connections == 3


async def test_a_large_upload_that_is_answered_early(asker: Make) -> None:
    """A server that answers before it has read the request, and closes, is heard."""
    refusal = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(refusal)
        await writer.drain()
        writer.write_eof()
        await reader.read(1)

    async with serving(behave) as server:
        body = b"x" * 20_000_000
        head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        done = await asker(server.port).send(head + body)
    assert (done.status, done.error) == (413, None)


async def test_a_large_upload_arrives_whole(asker: Make) -> None:
    """A request larger than the socket's buffer is written as the server takes it."""
    sizes = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sizes.append(len(await read_request(reader)))
        writer.write(OK)

    body = b"x" * 8_000_000
    request = f"POST / HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    async with serving(behave) as server:
        assert (await asker(server.port).send(request)).status == 200
    assert sizes == [len(request)]


async def test_no_descriptor_left_is_our_own_fault(
    asker: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When this process cannot open a socket, the request is undispatched, not refused."""

    def none_left(*_: object) -> socket.socket:
        raise OSError(24, "Too many open files")

    one = asker(1)
    monkeypatch.setattr(socket, "socket", none_left)
    done = await one.send()
    assert (done.error, done.sent_ns) == ("undispatched", None)
    assert done.error_detail == "Too many open files in this generator"
