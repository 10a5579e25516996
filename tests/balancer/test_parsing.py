"""The parser boundary: properties, cuts anywhere, and inputs that nobody wrote by hand."""

import random
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.errors import MessageError
from balancer.proxy.framing import ChunkedBody, chunk, last_chunk
from balancer.proxy.grammar import tokens
from balancer.proxy.request_fields import read_any_request
from balancer.proxy.request_head import RequestHead
from balancer.proxy.request_parser import read_request
from balancer.proxy.response_head import ResponseHead, read_any_response, read_response
from balancer.proxy.second_parser import SecondParser

TOKEN = st.from_regex(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,12}", fullmatch=True)
VALUE = st.from_regex(rb"[\x20-\x7e\x80-\xff]{0,20}", fullmatch=True)
KNOWN = st.sampled_from([
    b"Host: t", b"host:t", b"HOST: [::1]:8", b"Host: a b", b"Connection: close",
    b"Connection: keep-alive", b"connection: Keep-Alive", b"Connection: x, host",
    b"Content-Length: 3", b"content-length: 03", b"Content-Length: x", b"Content_Length: 3",
    b"Transfer-Encoding: chunked", b"TE: trailers", b"Upgrade: websocket", b"Cookie: a=b",
    b"X-Request-Id: 1", b"X-Request-ID: 2", b"x-request-id: a b", b"Via: 1.1 x",
    b"Expect: 100-continue", b"X-Forwarded-For: 1.1.1.1", b"Trailer: x", b"X-Served-By: x",
    b"Keep-Alive: 1", b"Proxy-Status: x", b"Idempotency-Key: 1", b"Hostx: t", b"X-Real-IP: 1",
    b"Content-Type: text/plain", b"Accept: */*", b"TEx: 1", b"Max-Forwards: 1",
])  # fmt: skip
LINE = st.one_of(KNOWN, st.builds(lambda name, value: name + b": " + value, TOKEN, VALUE))
LINES = st.lists(LINE, max_size=6).map(lambda lines: b"".join(one + b"\r\n" for one in lines))
METHOD = st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"CONNECT", b"Get"])
TARGET = st.sampled_from([b"/", b"/a?b[]=c", b"/a#b", b"*", b"http://t/", b"/%zz", b"a", b"/\xff"])
VERSION = st.sampled_from([b"HTTP/1.1"] * 5 + [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9"])
REQUEST = st.builds(
    lambda method, target, version, lines: b"%b %b %b\r\n%b\r\n" % (method, target, version, lines),
    METHOD,
    TARGET,
    VERSION,
    st.one_of(LINES, LINES.map(lambda lines: b"Host: t\r\n" + lines)),
)
STATUS = st.sampled_from([b"200 OK", b"204 No", b"304 No", b"100 Go", b"404", b"404 ", b"999 X"])
RESPONSE = st.builds(
    lambda version, status, lines: b"%b %b\r\n%b\r\nbody" % (version, status, lines),
    VERSION,
    STATUS,
    st.one_of(LINES, LINES.map(lambda lines: b"Content-Length: 4\r\n" + lines)),
)


def outcome(read: Callable[..., object], *arguments: object, **more: object) -> object:
    """What a reader makes of its arguments: the facts of a head, None, or a status."""
    try:
        head = read(*arguments, **more)
    except MessageError as error:
        return error.status
    if isinstance(head, RequestHead | ResponseHead):
        return {name: getattr(head, name) for name in dir(head) if not name.startswith("_")}
    return head


@given(REQUEST, st.binary(max_size=5))
def test_the_short_way_through_a_request_is_the_long_way(request: bytes, rest: bytes) -> None:
    """A request read by one expression is the request read field by field (S8)."""
    short = outcome(read_request, request + rest, cookies=False)
    long = outcome(read_any_request, request + rest)
    if isinstance(short, dict) and isinstance(long, dict):
        # Field by field, the cookie is noted even if nobody asks for it.
        short["cookie"] = long["cookie"] = None
    assert normal(short) == normal(long)
    assert normal(outcome(read_request, request, cookies=True)) == normal(
        outcome(read_any_request, request)
    )


def normal(head: object) -> object:
    """The same, with the spaces that the two ways may leave differently around an id."""
    if isinstance(head, dict):
        return head | {"fields": re.sub(rb"(?im)^(x-request-id): *", rb"\1: ", head["fields"])}
    return head


@given(RESPONSE, st.sampled_from([b"GET", b"HEAD"]))
def test_the_short_way_through_a_response_is_the_long_way(response: bytes, method: bytes) -> None:
    """A response read by one expression is the response read field by field (S8)."""
    assert outcome(read_response, response, method) == outcome(read_any_response, response, method)


@given(REQUEST)
def test_no_head_is_seen_before_its_end(request: bytes) -> None:
    """No proper beginning of a head is taken for a head, and what follows it is not part of it."""
    head = outcome(read_request, request, cookies=False)
    if isinstance(head, dict):
        assert head["size"] == len(request)
        for place in range(len(request)):
            assert read_request(request[:place], cookies=False) is None
        assert outcome(read_request, request + b"GET / HTTP/1.1\r\n", cookies=False) == head


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.data())
def test_chunks_survive_any_cut(pieces: list[bytes], data: st.DataObject) -> None:
    """A chunked body is the same however it is cut, and ends exactly where it ends (P4)."""
    body = b"".join(chunk([piece]) for piece in pieces) + last_chunk(b"X-A: b\r\n")
    stream = body + b"GET"
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=8).map(sorted))
    reader, got, used = ChunkedBody(), b"", 0
    for start, end in zip([0, *places], [*places, len(stream)], strict=True):
        if not reader.done:
            found, taken = reader.feed(stream[start:end])
            got += b"".join(found)
            used += taken
    assert reader.done
    assert got == b"".join(pieces)
    assert used == len(body)
    assert reader.trailers == b"X-A: b\r\n"


@given(st.binary(max_size=60))
def test_any_bytes_as_chunks(data: bytes) -> None:
    """Whatever comes as a chunked body either makes sense or is refused, byte by byte as well."""
    whole: object
    parts: object
    try:
        reader = ChunkedBody()
        pieces, used = reader.feed(data)
        whole = (b"".join(pieces), used, reader.done)
    except MessageError:
        whole = "refused"
    try:
        reader, got, used = ChunkedBody(), b"", 0
        for place in range(len(data)):
            if reader.done:
                break
            pieces, taken = reader.feed(data[place : place + 1])
            got, used = got + b"".join(pieces), used + taken
        parts = (got, used, reader.done)
    except MessageError:
        parts = "refused"
    assert whole == parts


@given(st.lists(TOKEN, max_size=4), st.sampled_from([b",", b", ", b" ,\t", b",,"]))
def test_lists_of_tokens(words: list[bytes], comma: bytes) -> None:
    """A list of tokens is its tokens, however it is spaced."""
    assert tokens(comma.join(words)) == [word.lower() for word in words]


def test_lists_of_something_else() -> None:
    """What is no list of tokens is refused, not repaired."""
    with pytest.raises(MessageError):
        tokens(b'"close"')


SEEDS = (
    b"GET / HTTP/1.1\r\nHost: t\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc",
    b"POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET /x?y HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
)
SPICE = (b"\r", b"\n", b"\r\n", b" ", b"\t", b"\x00", b":", b",", b";", b"chunked", b"\xff", b"0")


def mutate(chance: random.Random) -> bytes:
    data = bytearray(chance.choice(SEEDS) + chance.choice((b"", chance.choice(SEEDS))))
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(data))
        kind = chance.randrange(4)
        if kind == 0:
            data[place : place + 1] = chance.choice(SPICE)
        elif kind == 1:
            data[place:place] = chance.choice(SPICE)
        elif kind == 2:
            del data[place : place + chance.randint(1, 3)]
        else:
            data[place] = chance.randrange(256)
    return bytes(data)


def test_fuzzing_finds_no_request_that_llhttp_reads_otherwise() -> None:
    """Ten thousand damaged requests: what the grammar takes, llhttp ends at the same byte (S8)."""
    chance = random.Random(20)
    taken = 0
    for _ in range(10_000):
        data = mutate(chance)
        head = outcome(read_request, data, cookies=False)
        if not isinstance(head, dict):
            continue
        try:
            SecondParser().head(data[: head["size"]], whole=head["length"] == 0)
        except MessageError:
            continue  # they disagree, so it is refused: that is the point
        taken += 1
        again = read_any_request(data)
        assert again is not None
        assert (again.size, again.length) == (head["size"], head["length"])
    assert taken > 500
