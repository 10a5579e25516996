"""What one backend, one client or one caller does must not end the balancer or hurt the others."""

import asyncio
import contextlib
import gc
import ipaddress
import json
import logging
import socket
from pathlib import Path
from typing import cast

import aiohttp
import pytest

from balancer.access_log import AccessLog
from balancer.addresses import Address
from balancer.backend import State
from balancer.config import Limits, Timeouts
from balancer.errors import ConfigError
from balancer.health import HealthPolicy
from balancer.outlier_detection import OutlierPolicy
from balancer.proxy import write_progress
from balancer.proxy.request_reader import RequestReader
from balancer.proxy.timing_wheel import TimingWheel
from tests.support.balancer import (
    FAST,
    GET,
    POST,
    LocalBalancer,
    ReceivedRequest,
    backend,
    closing,
    local_balancer,
    response,
    running_balancer,
    until,
    watched_deadline,
)

LONG = "a" * 64


# Nothing ends the balancer


@pytest.mark.parametrize(
    "host", ["web..internal", f"{LONG}.internal", ".internal", f"{'a.' * 130}a"]
)
async def test_a_host_name_that_cannot_be_is_refused(host: str) -> None:
    """An address that no resolver takes is refused when it is given (A9)."""
    async with local_balancer() as local:
        with pytest.raises(ConfigError, match="labels 1 to 63"):
            local.balancer.control.put("a-1", address=f"{host}:80", version="a", weight=1)


async def test_a_look_up_that_fails_in_any_way_is_a_failed_check() -> None:
    """A backend whose check fails in an unexpected way stays out; the others serve on (A9)."""
    async with backend() as one, local_balancer() as local:
        await local.attach(a_1=one)
        control = local.balancer.control
        # As if such a name had come by some other way than the admin API.
        bad = control.pool.attach("b-1", host="web..internal", port=80, version="b", weight=1)
        control._probe(bad)
        await until(lambda: bool(control.describe(bad)["last_check"]))
        assert bad.state is State.NEW
        assert (await local.exchange(closing(GET))).startswith(b"HTTP/1.1 200 ")


async def test_a_failed_look_up_leaves_nothing_behind() -> None:
    """A name that is not found is a failed check, and no error of ours is left over (A9)."""
    errors: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    # The time of most checks and requests is over while the name is still looked up.
    health = HealthPolicy(timeout=0.002, interval=0.02, fast_interval=0.02)
    async with local_balancer(health=health, timeouts=Timeouts(connect=0.002)) as local:
        control = local.balancer.control
        bad = control.pool.attach("a-1", host="nowhere.invalid", port=80, version="a", weight=1)
        for _ in range(5):
            if bad.state is not State.UP:
                control.pool.mark(bad, State.UP)
            answer = await local.exchange(closing(GET))
            assert answer.startswith((b"HTTP/1.1 502 ", b"HTTP/1.1 503 ", b"HTTP/1.1 504 "))
        control._probe(bad)
        await until(lambda: bool(control.describe(bad)["last_check"]))
        await asyncio.sleep(0.2)  # for the look-ups that nobody waits for
    gc.collect()
    await asyncio.sleep(0)
    assert errors == []


async def test_an_unexpected_error_in_the_background_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An error of our own in a task is logged with its traceback, and the others go on (A9)."""

    async def broken() -> None:
        raise RuntimeError("planted")

    async with backend() as one, local_balancer() as local:
        with caplog.at_level(logging.ERROR, "balancer"):
            local.balancer.background("the planted work", broken)
            await local.attach(a_1=one)
        assert (await local.exchange(closing(GET))).startswith(b"HTTP/1.1 200 ")
    assert "the planted work failed unexpectedly" in caplog.text
    assert "RuntimeError: planted" in caplog.text


def test_a_deadline_that_fails_does_not_end_the_others() -> None:
    """An error in one deadline leaves the other deadlines in force (A9)."""
    wheel = TimingWheel()
    passed: list[int] = []

    def broken() -> None:
        raise RuntimeError("planted")

    wheel.arm(watched_deadline(wheel, broken), 1)
    wheel.arm(watched_deadline(wheel, lambda: passed.append(wheel.now)), 1)
    wheel.advance()
    assert passed == [1]


async def test_numbers_beyond_reason_are_refused(tmp_path: Path) -> None:
    """A number of any length in a call of the admin API is read or refused in a sentence (A5)."""
    async with backend() as one, running_balancer(tmp_path, *FAST) as running:
        await running.attach(a_1=one)
        connector = aiohttp.UnixConnector(path=str(running.admin_path))
        async with aiohttp.ClientSession("http://localhost", connector=connector) as session:
            digits = "9" * 5000
            for method, path, body, status in (
                ("GET", f"/events?after={digits}", "", 400),
                ("PUT", "/weights", f'{{"weights":{{"a-1":1{"0" * 400}}}}}', 409),
                ("PUT", "/backends/a-2", f'{{"address":"h:{digits}"}}', 400),
                ("PUT", "/backends/a-2", f'{{"address":"h:1","weight":1{"0" * 400}}}', 409),
                ("POST", "/backends/a-1/drain?timeout=1e300", "", 200),
            ):
                async with session.request(method, path, data=body) as answer:
                    assert answer.status == status, (path[:40], await answer.text())
        assert await running.stop() == 0
        assert "Traceback" not in running.errors.read_text()


async def test_a_broken_successor_harms_nobody(tmp_path: Path) -> None:
    """What a successor sends that cannot be read does not end what is under way (A9)."""
    release = asyncio.Event()

    async def slow(call: ReceivedRequest) -> None:
        await release.wait()
        call.writer.write(response(b"slow"))

    path = tmp_path / "handover.sock"
    async with (
        backend(slow) as one,
        running_balancer(tmp_path, *FAST, "--handover", str(path)) as running,
    ):
        await running.attach(a_1=one)
        reader, writer = await asyncio.open_connection(running.host, running.port)
        writer.write(GET)
        await one.wait_calls(1)
        successor, talk = await asyncio.open_unix_connection(str(path))
        await successor.readline()
        update = {
            "id": "a-1", "host": "h", "port": 1, "version": "a", "weight": 1, "state": "up",
            "ejected": False, "counters": {},
        }  # fmt: skip
        talk.write(b"ready\n" + json.dumps({"revision": 1, "backends": [update]}).encode() + b"\n")
        await talk.drain()
        await until(lambda: "failed unexpectedly" in running.errors.read_text())
        release.set()
        assert (await reader.readuntil(b"slow")).startswith(b"HTTP/1.1 200 ")
        writer.close()
        talk.close()
        assert await running.process.wait() == 0


# Slow readers


@contextlib.asynccontextmanager
async def slow_client(local: LocalBalancer):  # noqa: ANN201 - a pair of two sockets
    """A client whose connection holds little that is under way; and the balancer's side of it."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await loop.sock_connect(sock, (local.host, local.port))
        await until(lambda: bool(local.balancer.data_plane.clients))
        (client,) = local.balancer.data_plane.clients
        theirs = client.transport.get_extra_info("socket")
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        yield sock


async def read_slowly(sock: socket.socket, size: int, pause: float) -> int:
    """Read until the end; returns how many bytes came."""
    loop, total = asyncio.get_running_loop(), 0
    while data := await loop.sock_recv(sock, size):
        total += len(data)
        await asyncio.sleep(pause)
    return total


BODY = b"x" * 200_000


# Less than the balancer holds for a client, and more than the kernel does.
LAST = b"x" * 50_000


async def last(call: ReceivedRequest) -> None:
    call.writer.write(response(LAST))


@pytest.mark.parametrize("stops", [True, False], ids=["stop", "close"])
async def test_the_last_response_is_taken_at_the_clients_pace(*, stops: bool) -> None:
    """A connection that is to end does so when its client has taken all (A8)."""
    async with backend(last) as one, local_balancer() as local:
        await local.attach(a_1=one)
        async with slow_client(local) as sock:
            local.balancer.data_plane.stopping = stops
            await asyncio.get_running_loop().sock_sendall(sock, GET if stops else closing(GET))
            await until(lambda: local.balancer.data_plane.counters.requests == 1)
            await asyncio.sleep(2.5)  # longer than a connection lingers
            assert await read_slowly(sock, 65536, 0.0) > len(LAST)


async def test_what_is_cut_off_ends_with_a_reset() -> None:
    """A client that takes nothing of its last response for too long is reset (P10)."""
    async with backend(last) as one, local_balancer(timeouts=Timeouts(stream=0.3)) as local:
        await local.attach(a_1=one)
        async with slow_client(local) as sock:
            await asyncio.get_running_loop().sock_sendall(sock, closing(GET))
            await until(lambda: not local.balancer.data_plane.clients)
            with pytest.raises(ConnectionResetError):
                await read_slowly(sock, 65536, 0.0)


async def test_a_stop_that_is_over_resets_whom_it_cuts() -> None:
    """A client that is cut at the end of a stop sees a reset, also in its last response (A8)."""
    async with backend(last) as one, local_balancer() as local:
        await local.attach(a_1=one)
        async with slow_client(local) as sock:
            await asyncio.get_running_loop().sock_sendall(sock, closing(GET))
            await until(lambda: local.balancer.data_plane.counters.requests == 1)
            local.balancer.data_plane.cut_off_clients()
            with pytest.raises(ConnectionResetError):
                await read_slowly(sock, 65536, 0.0)


async def test_a_reader_that_makes_progress_is_not_reset() -> None:
    """A client that reads slowly, but reads, gets its whole response (T8)."""

    async def huge(call: ReceivedRequest) -> None:
        call.writer.write(response(BODY * 2))

    async with backend(huge) as one, local_balancer(timeouts=Timeouts(stream=0.6)) as local:
        await local.attach(a_1=one)
        async with slow_client(local) as sock:
            await asyncio.get_running_loop().sock_sendall(sock, closing(GET))
            assert await read_slowly(sock, 8192, 0.08) > 2 * len(BODY)


async def test_a_reader_that_takes_nothing_is_reset() -> None:
    """A client that stops reading in the midst of a response is reset in time (T8)."""

    async def huge(call: ReceivedRequest) -> None:
        call.writer.write(response(BODY * 20))

    async with backend(huge) as one, local_balancer(timeouts=Timeouts(stream=0.4)) as local:
        await local.attach(a_1=one)
        async with slow_client(local) as sock:
            await asyncio.get_running_loop().sock_sendall(sock, closing(GET))
            await until(lambda: not local.balancer.data_plane.clients)
        (held,) = local.balancer.control.pool.backends
        assert (held.counters.aborted, held.counters.failed) == (0, 0)
        assert local.balancer.data_plane.counters.aborted == 1


# Whose answer it is


async def echo_path(call: ReceivedRequest) -> None:
    call.writer.write(response(call.path))


async def test_a_body_that_a_backend_ignores_is_nobodys_request() -> None:
    """A backend that takes a body for a request gets no second one on that connection (K3)."""
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"
    post = b"POST /first HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n%b" % (
        len(smuggled), smuggled,
    )  # fmt: skip
    async with backend(echo_path, read_body=False) as one, local_balancer() as local:
        await local.attach(a_1=one)
        (held,) = local.balancer.control.pool.backends
        for turn in range(8):
            assert (await local.exchange(closing(post))).endswith(b"/first")
            for number in range(3):
                own = b"/own/%d/%d" % (turn, number)
                assert (await local.exchange(closing(GET.replace(b"/", own, 1)))).endswith(own)
        await until(lambda: held.reuse.reads_bodies is not None)
        assert held.reuse.reads_bodies is False


async def test_a_backend_that_reads_bodies_keeps_its_connections() -> None:
    """A connection that carried a body is kept once the backend was seen to read bodies (K3)."""
    put = POST.replace(b"POST", b"PUT")
    async with backend() as one, local_balancer() as local:
        await local.attach(a_1=one)
        (held,) = local.balancer.control.pool.backends
        await local.exchange(closing(put))
        await until(lambda: held.reuse.reads_bodies is not None)
        assert held.reuse.reads_bodies
        for _ in range(3):
            await local.exchange(closing(put))
    assert len({call.connection for call in one.calls[1:]}) == 1


# What counts against a backend


@pytest.mark.parametrize("reset", [True, False])
async def test_an_early_refusal_does_not_count_against_its_backend(*, reset: bool) -> None:
    """A backend that ends an upload that it does not want is not ejected for it (O4)."""

    async def refuse(call: ReceivedRequest) -> None:
        call.writer.write(b"HTTP/1.1 413 No\r\nContent-Length: 9\r\n\r\nt")
        await call.writer.drain()
        if reset:
            write_progress.reset(call.writer.transport)
        else:
            call.writer.close()

    upload = b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 900000\r\n\r\n" + b"x" * 1000
    policy = OutlierPolicy(consecutive=2)
    async with (
        backend(refuse, read_body=False) as one,
        backend(refuse, read_body=False) as two,
        local_balancer(outliers=policy) as local,
    ):
        await local.attach(a_1=one, a_2=two)
        for _ in range(8):
            with contextlib.suppress(OSError):
                await local.exchange(upload)
        for held in local.balancer.control.pool.backends:
            assert not held.ejected
            assert held.counters.consecutive_failures == held.counters.failed_transport == 0


async def test_a_slow_reader_does_not_count_against_its_backend() -> None:
    """A backend that gives up on a response that its client does not take has not failed (O4)."""
    gone = asyncio.Event()

    async def gives_up(call: ReceivedRequest) -> None:
        call.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 90000000\r\n\r\n" + BODY * 20)
        await asyncio.sleep(0.3)
        call.writer.transport.abort()
        gone.set()

    async with backend(gives_up) as one, local_balancer() as local:
        await local.attach(a_1=one)
        (held,) = local.balancer.control.pool.backends
        async with slow_client(local) as sock:
            await asyncio.get_running_loop().sock_sendall(sock, GET)
            await gone.wait()
            with contextlib.suppress(OSError):
                await read_slowly(sock, 1 << 20, 0.0)
        await until(lambda: held.in_flight == 0)
        assert held.counters.failed_transport == 0


# Names that speak of the client


CLAIMS = (
    "Script-Name", "Path-Info", "Remote-User", "Remote-Addr", "Server-Name", "Request-Uri", "HTTPS",
    "Proxy", "Auth-Type", "Query-String", "X-Forwarded-Port", "X-Forwarded-Prefix",
    "X-Forwarded-Server", "X-Original-URL", "X-Rewrite-URL", "X-Real-IP", "X-Client-IP",
    "True-Client-IP", "CF-Connecting-IP", "X-Cluster-Client-IP", "Forwarded", "X-Forwarded",
)  # fmt: skip
UNDERSCORED = ("SCRIPT_NAME", "PATH_INFO", "REMOTE_USER", "X_Custom", "_x", "wsgi_input")


async def forwarded_names(
    names: tuple[str, ...], *, trusted: bool, underscores: bool = False
) -> set[str]:
    lines = "".join(f"{name}: 6.6.6.6\r\n" for name in names)
    request = (
        b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n%bX-Kept: 1\r\n\r\n" % lines.encode()
    )
    trust = (ipaddress.ip_network("127.0.0.0/8"),) if trusted else ()
    async with backend() as one, local_balancer(trust=trust, underscores=underscores) as local:
        await local.attach(a_1=one)
        assert (await local.exchange(request)).startswith(b"HTTP/1.1 200 ")
        (call,) = one.calls
    assert call.values(b"X-Kept") == [b"1"]
    return {name for name in names if b"6.6.6.6" in call.values(name.encode())}


async def test_nobody_names_its_own_whereabouts() -> None:
    """Fields that servers believe about the client pass only from trusted peers (P2)."""
    assert await forwarded_names(CLAIMS, trusted=False) == set()
    assert await forwarded_names(CLAIMS, trusted=True) == {*CLAIMS} - {"Proxy", "Forwarded"}


async def test_names_with_underscores_are_dropped() -> None:
    """Names with `_`, which CGI cannot tell from those with `-`, are dropped by default (P16)."""
    assert await forwarded_names(UNDERSCORED, trusted=False) == set()
    kept = await forwarded_names(UNDERSCORED, trusted=False, underscores=True)
    assert kept == {"X_Custom", "_x", "wsgi_input"}


# Bounded work


@pytest.mark.parametrize(
    ("data", "pieces"),
    [
        (
            b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"1\r\nx\r\n" * 40_000,
            40_000,
        ),
        (b"TRACE / HTTP/1.1\r\nHost: t\r\nMax-Forwards: 0\r\n\r\n" * 4000, 4000),
    ],
    ids=["chunks of one byte", "requests that need no backend"],
)
async def test_much_in_little_pieces_holds_nobody_up(data: bytes, pieces: int) -> None:
    """What takes long to read is read in portions, between which others have their turn (S10)."""
    loop = asyncio.get_running_loop()
    portions: list[int] = []
    taken = 0

    async with backend(asyncio_never, read_body=False) as one, local_balancer() as local:
        plane = local.balancer.data_plane

        def look() -> None:
            nonlocal taken
            # Of each chunk one byte was read; of the requests each was answered and counted.
            bodies = sum(cast("RequestReader", client)._left for client in plane.clients)
            now = plane.counters.requests + bodies
            portions.append(now - taken)
            taken = now
            loop.call_soon(look)

        await local.attach(a_1=one)
        look()
        async with local.connection() as (_, writer):
            writer.write(data)
            await until(lambda: sum(portions) > 0.9 * pieces)
    assert max(portions) < 0.1 * pieces


@pytest.mark.parametrize(
    "fields", [b"A: b\r\n" * 20_000, b"A: " + b"b" * 100_000 + b"\r\n", b"A:\r\n" * 101]
)
async def test_a_large_head_is_refused_unread(fields: bytes) -> None:
    """A head over its limits is refused before it is parsed (S10): its second Host is not seen."""
    start = b"GET / HTTP/1.1\r\nHost: t\r\nHost: t\r\n"
    async with local_balancer() as local:
        assert (await local.exchange(start + b"\r\n")).startswith(b"HTTP/1.1 400 ")
        assert (await local.exchange(start + fields + b"\r\n")).startswith(b"HTTP/1.1 431 ")


async def test_a_long_list_of_options_is_refused() -> None:
    """A Connection field with more options than any real one is refused (S10)."""
    request = b"GET / HTTP/1.1\r\nHost: t\r\nConnection: %b\r\n\r\n" % (b"a," * 10_000)
    async with local_balancer() as local:
        assert (await local.exchange(request)).startswith(b"HTTP/1.1 400 ")


# Small ones


async def test_a_protocol_that_was_not_asked_for_is_not_tunnelled() -> None:
    """A 101 that names another protocol than the request did becomes 502 (P12)."""

    async def other(call: ReceivedRequest) -> None:
        call.writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"
        )

    request = GET.replace(b"\r\n\r\n", b"\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    async with backend(other) as one, local_balancer() as local:
        await local.attach(a_1=one)
        async with local.connection() as (reader, writer):
            writer.write(request)
            assert (await reader.readline()).startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_half_closed_client_gets_all_its_answers(*, at_once: bool) -> None:
    """Requests that were pipelined before the client closed its side are all answered (P14)."""
    requests = b"".join(GET.replace(b"/", b"/%d" % n, 1) for n in range(4))
    async with backend(echo_path) as one, local_balancer() as local:
        await local.attach(a_1=one)
        async with local.connection() as (reader, writer):
            if at_once:
                writer.write(requests)
            else:
                writer.write(requests[:20])
                await asyncio.sleep(0.05)
                writer.write(requests[20:])
            writer.write_eof()
            answer = await reader.read()
    assert [part[-2:] for part in answer.split(b"HTTP/1.1 200")[1:]] == [b"/0", b"/1", b"/2", b"/3"]


async def test_a_body_has_a_least_rate() -> None:
    """A body that never stalls, but comes too slowly, earns 408 (S5)."""
    limits, timeouts = Limits(body_rate=1000), Timeouts(body=0.3)
    async with (
        backend(read_body=False) as one,
        local_balancer(limits=limits, timeouts=timeouts) as local,
    ):
        one.handler = asyncio_never
        await local.attach(a_1=one)
        async with local.connection() as (reader, writer):
            writer.write(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n")
            reading = asyncio.ensure_future(reader.read())
            while not reading.done():
                writer.write(b"x")
                await asyncio.wait({reading}, timeout=0.02)
            assert reading.result().startswith(b"HTTP/1.1 408 ")


async def asyncio_never(call: ReceivedRequest) -> None:
    await call.reader.read()


async def test_a_backend_has_a_bound_on_its_requests() -> None:
    """A backend gets no more requests at once than it may; beyond all bounds it is 503 (C4)."""
    timeouts = Timeouts(connect=0.2)
    async with (
        backend(asyncio_never) as one,
        backend(asyncio_never) as two,
        local_balancer(limits=Limits(backend_requests=2), timeouts=timeouts) as local,
    ):
        await local.attach(a_1=one, a_2=two)
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(4):
                _, writer = await stack.enter_async_context(local.connection())
                writer.write(POST)
            await until(lambda: len(one.calls) + len(two.calls) == 4)
            assert (len(one.calls), len(two.calls)) == (2, 2)
            answer = await local.exchange(closing(GET))
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"error=connection_limit_reached" in answer


async def test_an_ipv4_client_of_an_ipv6_listener_is_known_by_its_address(tmp_path: Path) -> None:
    """A client is known by its IPv4 address, whatever socket it came by (P2)."""
    async with (
        backend() as one,
        running_balancer(
            tmp_path, *FAST, "--listen", "[::]:0", "--trust", "127.0.0.0/8"
        ) as running,
    ):
        await running.attach(a_1=one)
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(closing(GET).replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"))
        await reader.read()
        writer.close()
        await running.stop()
        (line,) = map(json.loads, running.access_log.read_text().splitlines())
    assert one.calls[0].values(b"X-Forwarded-For") == [b"6.6.6.6, 127.0.0.1"]
    assert line["client"] == "127.0.0.1"


async def test_a_line_of_the_access_log_says_who_and_when(tmp_path: Path) -> None:
    """Each line has the address of the client and the wall-clock time (A7)."""
    path = tmp_path / "access.ndjson"
    with AccessLog(path) as log:
        async with backend() as one, local_balancer(log=log) as local:
            await local.attach(a_1=one)
            await local.exchange(closing(GET))
            await local.exchange(b"malformed\r\n\r\n")
    for line in map(json.loads, path.read_text().splitlines()):
        assert line["client"] == "127.0.0.1"
        assert line["time"].startswith("20")
        assert line["time"].endswith("Z")


async def test_an_old_client_may_name_the_host_in_its_target() -> None:
    """The host of a target in absolute form is the Host of an HTTP/1.0 request without one (P1)."""
    async with backend() as one, local_balancer() as local:
        await local.attach(a_1=one)
        await local.exchange(b"GET http://shop.example/x HTTP/1.0\r\n\r\n")
    assert one.calls[0].values(b"Host") == [b"shop.example"]
    assert one.calls[0].path == b"/x"


async def test_a_refused_head_request_gets_no_body() -> None:
    """A refusal of HEAD has no body, also if the request could not be read (P6)."""
    async with local_balancer() as local:
        answer = await local.exchange(b"HEAD / HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b"\r\n\r\n")


async def test_a_chunk_size_may_have_spaces_after_it_in_a_response() -> None:
    """Spaces after a chunk's size, which old servers send, are forgiven in responses (P6)."""

    async def padded(call: ReceivedRequest) -> None:
        call.writer.write(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3  \r\nabc\r\n0 \r\n\r\n"
        )

    async with backend(padded) as one, local_balancer() as local:
        await local.attach(a_1=one)
        answer = await local.exchange(closing(GET))
    assert answer.endswith(b"3\r\nabc\r\n0\r\n\r\n")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_the_balancer_is_not_its_own_backend(host: str) -> None:
    """An address where the balancer listens itself is refused as a backend (A10)."""
    async with local_balancer() as local:
        control = local.balancer.control
        control.own_addresses = [Address(local.host, local.port)]
        with pytest.raises(ConfigError, match="listens itself"):
            control.put("a-1", address=f"{host}:{local.port}", version="a", weight=1)


async def test_own_addresses_are_known(tmp_path: Path) -> None:
    """The balancer knows where it listens, whatever port it was given (A10)."""
    async with running_balancer(tmp_path, *FAST) as running:
        connector = aiohttp.UnixConnector(path=str(running.admin_path))
        async with aiohttp.ClientSession("http://localhost", connector=connector) as session:
            body = json.dumps({"address": f"127.0.0.1:{running.port}"})
            async with session.put("/backends/a-1", data=body) as answer:
                assert answer.status == 400
                assert "listens itself" in await answer.text()
