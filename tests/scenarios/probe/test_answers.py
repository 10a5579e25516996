"""What a server's bytes say does not depend on how they are cut into pieces."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.probe.answer_reader import AnswerReader

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: Close\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"8\r\npiece 1\n\r\n8\r\npiece 2\n\r\n0\r\n\r\n"
)
UNTIL_END = b"HTTP/1.0 503 No\r\n\r\nhello"
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
NOTHING = b"HTTP/1.1 204 No Content\r\n\r\n"
UPGRADE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: x\r\n\r\n"
)
TEXT_FRAME = b"\x81\x02hi"
LONG_FRAME = b"\x82\x7e\x01\x00" + b"x" * 256
VERY_LONG_FRAME = b"\x82\x7f" + (70_000).to_bytes(8) + b"x" * 70_000
CLOSE_FRAME = b"\x88\x02\x03\xf4"  # 1012
BARE_CLOSE_FRAME = b"\x88\x00"
ALL = (LENGTH, CHUNKED, UNTIL_END, CONTINUED, NOTHING, UPGRADE + TEXT_FRAME + CLOSE_FRAME)


def read(data: bytes, cuts: set[int] | None = None, *, byte_by_byte: bool = False) -> AnswerReader:
    reader = AnswerReader()
    places = range(len(data) + 1) if byte_by_byte else sorted({0, len(data), *(cuts or set())})
    for start, end in itertools.pairwise(places):
        reader.feed(data[start:end])
    return reader


def told(reader: AnswerReader) -> object:
    return (
        reader.answers,
        reader.continued,
        reader.malformed,
        reader.upgraded,
        reader.close_code,
        reader.complete,
    )


@given(data=st.sampled_from(ALL), cuts=st.sets(st.integers(1, 120)))
def test_pieces_make_no_difference(data: bytes, cuts: set[int]) -> None:
    """However the bytes are cut, they say the same as all at once, and byte by byte."""
    whole = told(read(data))
    assert told(read(data, {cut for cut in cuts if cut < len(data)})) == whole
    assert told(read(data, byte_by_byte=True)) == whole


def test_an_answer_with_a_length_is_whole_at_its_last_byte() -> None:
    """An answer is complete when its last byte has come, and not before."""
    reader = read(LENGTH[:-1], byte_by_byte=True)
    assert (reader.complete, reader.answers[0].status) == (0, 200)
    reader.feed(LENGTH[-1:])
    assert (reader.complete, reader.answers[0].body) == (1, b"hello")
    assert reader.answers[0].connection == "close"


def test_chunks_are_counted_without_the_last_one() -> None:
    """A cut stream tells how many pieces came whole; the empty last chunk is not one of them."""
    cut = read(CHUNKED[: -len(b"2\n\r\n0\r\n\r\n")], byte_by_byte=True)
    assert (cut.answers[0].chunks, cut.complete) == (1, 0)
    whole = read(CHUNKED, byte_by_byte=True)
    assert (whole.answers[0].chunks, whole.complete) == (2, 1)


def test_an_end_completes_what_lasts_until_it() -> None:
    """Without any framing only the connection's orderly end makes an answer whole."""
    reader = read(UNTIL_END)
    assert (reader.complete, reader.answers[0].until_end) == (0, True)
    reader.end()
    assert (reader.complete, reader.answers[0].body) == (1, b"hello")


@pytest.mark.parametrize("data", [LENGTH[:-1], CHUNKED[:-2]])
def test_an_end_completes_nothing_that_is_framed(data: bytes) -> None:
    """An orderly end in the middle of a framed body is a cut all the same."""
    reader = read(data)
    reader.end()
    assert reader.complete == 0


def test_an_interim_answer_is_none() -> None:
    """`100 Continue` is noted, and is not taken for the answer."""
    reader = read(CONTINUED, byte_by_byte=True)
    assert (reader.continued, [answer.status for answer in reader.answers]) == (True, [201])


@pytest.mark.parametrize(
    ("head", "closes"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Close", True),
        (b"HTTP/1.1 200 OK", True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0", True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive", False),
    ],
)
def test_whether_a_connection_ends_with_an_answer(head: bytes, *, closes: bool) -> None:
    """HTTP/1.1 keeps it unless the answer says otherwise; HTTP/1.0 does not (RFC 9112, 9.3)."""
    (answer,) = read(head + b"\r\n\r\n").answers
    assert answer.closes is closes


def test_answers_in_a_row() -> None:
    """Two answers on one connection are two."""
    reader = read(LENGTH.replace(b"Close", b"keep-alive") + NOTHING, byte_by_byte=True)
    assert [answer.status for answer in reader.answers] == [200, 204]
    assert reader.complete == 2


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (b"", None),
        (TEXT_FRAME, None),
        (CLOSE_FRAME[:-1], None),
        (CLOSE_FRAME, 1012),
        (BARE_CLOSE_FRAME, 1005),
        (TEXT_FRAME + LONG_FRAME + VERY_LONG_FRAME + CLOSE_FRAME, 1012),
        (CLOSE_FRAME + BARE_CLOSE_FRAME, 1012),
    ],
)
def test_the_code_of_a_close_frame(frames: bytes, code: int | None) -> None:
    """The first close frame's code counts, whatever came before it, byte by byte."""
    reader = read(UPGRADE + frames, byte_by_byte=True)
    assert (reader.upgraded, reader.close_code) == (True, code)


@pytest.mark.parametrize("data", [b"\x15\x03\x03\x00\x02\x02\x50", b"-ERR unknown command\r\n"])
def test_what_is_no_http_is_said(data: bytes) -> None:
    """A TLS alert or another protocol's error is not HTTP, and whatever follows changes nothing."""
    reader = read(data, byte_by_byte=True)
    reader.feed(LENGTH)
    assert (reader.malformed, reader.answers) == (True, [])
