"""What the balancer refuses, so that no two parsers can disagree about it."""

import asyncio
import contextlib

import pytest

from balancer.config import Limits, Timeouts
from tests.support.balancer import ReceivedRequest, backend, local_balancer, response

_END = b"\r\n\r\n"
_HOST = b"Host: t\r\n"


def get(target: bytes = b"/", *, fields: bytes = _HOST, version: bytes = b"HTTP/1.1") -> bytes:
    return b"GET " + target + b" " + version + b"\r\n" + fields + b"\r\n"


def post(fields: bytes, body: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\nHost: t\r\n" + fields + b"\r\n" + body


CHUNKED = b"Transfer-Encoding: chunked\r\n"

REFUSED = {
    # Framing
    "length and coding": post(b"Content-Length: 3\r\n" + CHUNKED, b"0\r\n\r\n"),
    "coding and length": post(CHUNKED + b"Content-Length: 3\r\n", b"0\r\n\r\n"),
    "two lengths": post(b"Content-Length: 3\r\nContent-Length: 4\r\n", b"abc"),
    "two equal lengths": post(b"Content-Length: 3\r\nContent-Length: 3\r\n", b"abc"),
    "list of lengths": post(b"Content-Length: 3, 3\r\n", b"abc"),
    "signed length": post(b"Content-Length: +3\r\n", b"abc"),
    "negative length": post(b"Content-Length: -3\r\n", b"abc"),
    "hexadecimal length": post(b"Content-Length: 0x3\r\n", b"abc"),
    "length with a space": post(b"Content-Length: 3 3\r\n", b"abc"),
    "empty length": post(b"Content-Length:\r\n", b""),
    "length past 64 bits": post(b"Content-Length: 18446744073709551615\r\n", b""),
    "length with _": post(b"Content_Length: 3\r\n", b"abc"),
    "identity": post(b"Transfer-Encoding: identity\r\n"),
    "chunked twice": post(CHUNKED + CHUNKED, b"0\r\n\r\n"),
    "chunked is not last": post(b"Transfer-Encoding: chunked, gzip\r\n", b"0\r\n\r\n"),
    "name with more hyphens": post(b"Transfer---Encoding: chunked\r\n", b"0\r\n\r\n"),
    "name with a dot": post(b"Content.Length: 1\r\n", b"x"),
    "name with a hyphen first": post(b"-Content-Length: 1\r\n", b"x"),
    "name with a hyphen last": post(b"Content-Length-: 1\r\n", b"x"),
    "name without a hyphen and with a tick": post(b"Transfer'Encoding: chunked\r\n", b"0\r\n\r\n"),
    "empty list element": post(b"Transfer-Encoding: , chunked\r\n", b"0\r\n\r\n"),
    "xchunked": post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
    "quoted chunked": post(b'Transfer-Encoding: "chunked"\r\n', b"0\r\n\r\n"),
    "vertical tab in coding": post(b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"),
    "coding with _": post(b"Transfer_Encoding: chunked\r\n", b"0\r\n\r\n"),
    "coding in 1.0": b"POST / HTTP/1.0\r\nHost: t\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "body of TRACE": b"TRACE / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx",
    # Chunks
    "chunk size": post(CHUNKED, b"xyz\r\nabc\r\n0\r\n\r\n"),
    "empty chunk size": post(CHUNKED, b"\r\nabc\r\n0\r\n\r\n"),
    "0x chunk size": post(CHUNKED, b"0x3\r\nabc\r\n0\r\n\r\n"),
    "negative chunk size": post(CHUNKED, b"-3\r\nabc\r\n0\r\n\r\n"),
    "chunk size past 64 bits": post(CHUNKED, b"ffffffffffffffff0\r\nabc\r\n0\r\n\r\n"),
    "space after chunk size": post(CHUNKED, b"3 \r\nabc\r\n0\r\n\r\n"),
    "chunk too long": post(CHUNKED, b"3\r\nabcd\r\n0\r\n\r\n"),
    "chunk too short": post(CHUNKED, b"3\r\nab\r\n0\r\n\r\n"),
    "LF after chunk size": post(CHUNKED, b"3\nabc\r\n0\r\n\r\n"),
    "LF after chunk": post(CHUNKED, b"3\r\nabc\n0\r\n\r\n"),
    "LF after the last chunk": post(CHUNKED, b"0\n\n"),
    "bad chunk extension": post(CHUNKED, b"3;\x00\r\nabc\r\n0\r\n\r\n"),
    "endless chunk extension": post(CHUNKED, b"3;a=" + b"b" * 70_000),
    "many chunk extensions": post(CHUNKED, (b"1;a=" + b"b" * 4000 + b"\r\nx\r\n") * 5),
    "bad trailer": post(CHUNKED, b"0\r\nA : b\r\n\r\n"),
    "folded trailer": post(CHUNKED, b"0\r\nA: b\r\n c\r\n\r\n"),
    "endless trailers": post(CHUNKED, b"0\r\n" + b"A: b\r\n" * 4000),
    # Lines and fields
    "bare LF": b"GET / HTTP/1.1\nHost: t\n\n",
    "one bare LF": b"GET / HTTP/1.1\r\nHost: t\nA: b\r\n\r\n",
    "bare CR": b"GET / HTTP/1.1\r\nHost: t\rA: b\r\n\r\n",
    "CR in a value": get(fields=_HOST + b"A: b\rc\r\n"),
    "NUL in a value": get(fields=_HOST + b"A: b\x00c\r\n"),
    "control byte in a value": get(fields=_HOST + b"A: b\x01c\r\n"),
    "DEL in a value": get(fields=_HOST + b"A: b\x7fc\r\n"),
    "NUL in a name": get(fields=_HOST + b"A\x00: b\r\n"),
    "space before the colon": get(fields=_HOST + b"A : b\r\n"),
    "tab before the colon": get(fields=_HOST + b"A\t: b\r\n"),
    "space in a name": get(fields=_HOST + b"A B: c\r\n"),
    "no colon": get(fields=_HOST + b"A\r\n"),
    "no name": get(fields=_HOST + b": b\r\n"),
    "folded field": get(fields=_HOST + b"A: b\r\n c\r\n"),
    "folded first field": get(fields=b" A: b\r\n" + _HOST),
    "non-ASCII name": get(fields=_HOST + b"\xc3\xa4: b\r\n"),
    "two empty lines first": b"\r\n\r\n" + get(),
    "Connection with a quote": get(fields=_HOST + b'Connection: "close"\r\n'),
    # Host
    "no Host": get(fields=b""),
    "two Hosts": get(fields=_HOST + _HOST),
    "empty Host": get(fields=b"Host:\r\n"),
    "Host with userinfo": get(fields=b"Host: user@t\r\n"),
    "Host with a path": get(fields=b"Host: t/x\r\n"),
    "Host with a list": get(fields=b"Host: a, b\r\n"),
    "Host with a space": get(fields=b"Host: a b\r\n"),
    "Host with a bad port": get(fields=b"Host: t:x\r\n"),
    "X_Request_Id": get(fields=_HOST + b"X_Request_Id: 1\r\n"),
    "X_Forwarded_For": get(fields=_HOST + b"X_Forwarded_For: 1\r\n"),
    # Request line
    "no target": b"GET HTTP/1.1\r\nHost: t\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: t\r\n\r\n",
    "space at the end": b"GET / HTTP/1.1 \r\nHost: t\r\n\r\n",
    "tab": b"GET\t/ HTTP/1.1\r\nHost: t\r\n\r\n",
    "space in the target": get(b"/a b"),
    "target without /": get(b"a"),
    "fragment": get(b"/a#b"),
    "backslash": get(b"/a\\b"),
    "quote": get(b'/a"b'),
    "angle bracket": get(b"/a<b"),
    "brace in the path": get(b"/{a}"),
    "non-ASCII target": get(b"/\xc3\xa4"),
    "control byte in the target": get(b"/a\x01"),
    "NUL in the target": get(b"/a\x00"),
    "asterisk": get(b"*"),
    "foreign absolute form": get(b"http://other/"),
    "absolute form with userinfo": get(b"http://user@t/"),
    "other scheme": get(b"ftp://t/"),
    "authority form": get(b"t:80"),
    "no version": b"GET /\r\n\r\n",
    "HTTP/1.10": get(version=b"HTTP/1.10"),
    "http/1.1": get(version=b"http/1.1"),
    "RTSP": get(version=b"RTSP/1.0"),
    "ICE": get(version=b"ICE/1.0"),
    "bad method": b"G(T / HTTP/1.1\r\nHost: t\r\n\r\n",
    "empty method": b" / HTTP/1.1\r\nHost: t\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}
OTHER_STATUS = {
    "HTTP/2.0": (505, get(version=b"HTTP/2.0")),
    "HTTP/2": (505, REFUSED.pop("HTTP/2")),
    "HTTP/0.9": (505, get(version=b"HTTP/0.9")),
    "HTTP/1.2": (505, get(version=b"HTTP/1.2")),
    "gzip, chunked": (501, post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n")),
    "two codings": (501, post(b"Transfer-Encoding: gzip\r\n" + CHUNKED, b"0\r\n\r\n")),
    "unknown method": (501, b"FROB / HTTP/1.1\r\nHost: t\r\n\r\n"),
    "small letters": (501, b"get / HTTP/1.1\r\nHost: t\r\n\r\n"),
    "CONNECT": (501, b"CONNECT / HTTP/1.1\r\nHost: t\r\n\r\n"),
    "expectation": (417, post(b"Expect: tea\r\nContent-Length: 1\r\n", b"x")),
    "last hop": (
        501,
        b"TRACE / HTTP/1.1\r\nHost: t\r\nMax-Forwards: 0\r\nConnection: close\r\n\r\n",
    ),
}
LIMITS = Limits(header_bytes=4096, header_count=20, target_bytes=1000, body_bytes=1000)
OVER_LIMITS = {
    "target": (414, get(b"/" + b"a" * 1001)),
    "endless target": (414, b"GET /" + b"a" * 2000),
    "many fields": (431, get(fields=_HOST + b"A: b\r\n" * 21)),
    "large field": (431, get(fields=_HOST + b"A: " + b"b" * 4096 + b"\r\n")),
    "endless field": (431, b"GET / HTTP/1.1\r\nHost: t\r\nA: " + b"b" * 5000),
    "endless fields": (431, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 22),
    "length": (413, post(b"Content-Length: 1001\r\n")),
    "chunks": (413, post(CHUNKED, b"1f4\r\n" + b"x" * 500 + b"\r\n1f5\r\n" + b"x" * 501)),
}


async def answer_to(request: bytes, *, limits: Limits = Limits()) -> bytes:  # noqa: B008 - frozen
    """What comes back until the balancer closes, with a backend that must not have answered."""
    async with backend() as one, local_balancer(limits=limits) as local:
        await local.attach(a_1=one)
        answer = await local.exchange(request)
        assert one.calls == []
        return answer


@pytest.mark.parametrize("request_", REFUSED.values(), ids=REFUSED)
async def test_ambiguous_requests_are_refused(request_: bytes) -> None:
    """On a request that two parsers could read differently the answer is 400, then the end (S1)."""
    answer = await answer_to(request_)
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in answer
    assert b"Proxy-Status: hitless; error=http_request_error;" in answer


@pytest.mark.parametrize(("status", "request_"), OTHER_STATUS.values(), ids=OTHER_STATUS)
async def test_what_is_not_offered(status: int, request_: bytes) -> None:
    """What is well formed but not offered here is refused with the status that says so (S2)."""
    answer = await answer_to(request_)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer


@pytest.mark.parametrize(("status", "request_"), OVER_LIMITS.values(), ids=OVER_LIMITS)
async def test_limits(status: int, request_: bytes) -> None:
    """Each limit has its status, and is seen before the request is complete (S3)."""
    answer = await answer_to(request_, limits=LIMITS)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"\r\nConnection: close\r\n" in answer


async def test_refusals_repeat_nothing_of_the_request() -> None:
    """No byte of a request shows up in the balancer's own answer (S4)."""
    answer = await answer_to(get(b"/<script>alert(1)</script>"))
    assert b"script" not in answer


@pytest.mark.parametrize(
    ("part", "settings"),
    [
        (b"GET / HTTP/1.1\r\nHost:", Timeouts(head=0.2)),
        (b"G", Timeouts(head=0.2)),
        (post(b"Content-Length: 10\r\n", b"abc"), Timeouts(body=0.2)),
        (post(CHUNKED, b"5\r\nab"), Timeouts(body=0.2)),
    ],
    ids=["head", "first byte", "body", "chunk"],
)
async def test_slow_requests_end(part: bytes, settings: Timeouts) -> None:
    """A head or a body that does not arrive in time earns 408 (S5)."""
    async with backend(read_body=True) as one, local_balancer(timeouts=settings) as local:
        await local.attach(a_1=one)
        answer = await local.exchange(part)
    assert answer.startswith(b"HTTP/1.1 408 "), answer


async def test_a_trickle_does_not_extend_the_head() -> None:
    """The time for a head runs from its first byte, however many follow (S5)."""
    async with (
        local_balancer(timeouts=Timeouts(head=0.3)) as local,
        local.connection() as (reader, writer),
    ):
        reading = asyncio.ensure_future(reader.read())
        writer.write(b"GET / HTTP/1.1\r\n")
        while not reading.done():
            writer.write(b"A: b\r\n")
            await asyncio.wait({reading}, timeout=0.02)
        assert reading.result().startswith(b"HTTP/1.1 408 ")


async def test_idle_connections_end_without_a_word() -> None:
    """An idle connection is closed in time, with nothing written on it (S5)."""
    settings = Timeouts(keep_alive=0.2, head=0.2)
    async with backend() as one, local_balancer(timeouts=settings) as local:
        await local.attach(a_1=one)
        assert await local.exchange(b"") == b""
        assert (await local.exchange(get())).endswith(b"ok")


async def test_too_many_connections() -> None:
    """Connections over the limit get 503 and are closed; those within it are served (S6)."""
    async with backend() as one, local_balancer(limits=Limits(connections=2)) as local:
        await local.attach(a_1=one)
        async with local.connection() as first, local.connection() as second:
            for reader, writer in (first, second):
                writer.write(get())
                await reader.readuntil(b"ok")
            answer = await local.exchange(b"")
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"error=connection_limit_reached" in answer
            first[1].write(get())
            await first[0].readuntil(b"ok")


async def test_too_many_connections_of_one_client() -> None:
    """Connections of one address over its limit get 429 (S6)."""
    async with local_balancer(limits=Limits(client_connections=1)) as local, local.connection():
        assert (await local.exchange(b"")).startswith(b"HTTP/1.1 429 ")


ACCEPTED = {
    "brackets in the query": get(b"/?a[b]={c}|d^e`f"),
    "percent": get(b"/%41%zz?%"),
    "absolute form": get(b"http://t/x?y"),
    "absolute form, other case": get(b"HTTP://T/x"),
    "absolute form, no path": get(b"http://t?y"),
    "Host with a port": get(fields=b"Host: t:80\r\n"),
    "IPv6 Host": get(fields=b"Host: [::1]:80\r\n"),
    "Latin-1 value": get(fields=_HOST + b"A: \xe4\xf6\r\n"),
    "empty value": get(fields=_HOST + b"A:\r\n"),
    "tab in a value": get(fields=_HOST + b"A: b\tc\r\n"),
    "one empty line first": b"\r\n" + get(),
    "no Host in 1.0": get(fields=b"", version=b"HTTP/1.0"),
    "Chunked": post(b"Transfer-Encoding: Chunked\r\n", b"0\r\n\r\n"),
    "PATCH": b"PATCH / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx",
    "OPTIONS *": b"OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n",
    "body of GET": b"GET / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx",
}


@pytest.mark.parametrize("request_", ACCEPTED.values(), ids=ACCEPTED)
async def test_unusual_requests_pass(request_: bytes) -> None:
    """What is unusual but unambiguous, and sent by real clients, is served (S7)."""
    async with backend() as one, local_balancer() as local:
        await local.attach(a_1=one)
        async with local.connection() as (reader, writer):
            writer.write(request_)
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")


async def test_a_head_cut_anywhere_is_refused_all_the_same() -> None:
    """What is wrong in a head is seen wherever the bytes are cut (S1)."""
    wrong = b"GET / HTTP/1.1\r\nHost: t\r\nA: b\rc\r\nD: e\nF: g\r\n\r\n"
    async with local_balancer() as local:
        for place in range(1, len(wrong), 3):
            async with local.connection() as (reader, writer):
                writer.write(wrong[:place])
                await asyncio.sleep(0.002)
                writer.write(wrong[place:])
                assert (await reader.read()).startswith(b"HTTP/1.1 400 "), place


async def test_a_client_that_never_reads_cannot_make_us_buffer() -> None:
    """A client that sends requests and reads no answer is not read from for ever (P13)."""

    async def large(call: ReceivedRequest) -> None:
        call.writer.write(response(b"x" * 1_000_000))

    async with backend(large) as one, local_balancer() as local:
        await local.attach(a_1=one)
        async with local.connection() as (_, writer):
            sent = 0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    while sent < 100_000_000:
                        writer.write(get(b"/" + b"a" * 1000) * 50)
                        sent += 50_000
                        await writer.drain()
            assert sent < 50_000_000
            (client,) = local.balancer.data_plane.clients
            assert client.paused
