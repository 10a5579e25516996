"""A response means the same however it is cut into pieces."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.traffic.wire.response import MalformedResponse, ResponseReader

RESPONSES = {
    "length": b"HTTP/1.1 200 OK\r\nX-Served-By: b-4\r\nContent-Length: 5\r\n\r\nhello",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Served-By: b-4\r\n\r\n"
    b"5;ext=1\r\nhello\r\n0\r\nX-Served-By: a-trailer\r\n\r\n",
    "interim": b"HTTP/1.1 103 Early Hints\r\nX-Served-By: x-9\r\n"
    b"Content-Type: application/problem+json\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nX-Served-By: b-4\r\nContent-Length: 2\r\n\r\n{}",
    "no content": b"HTTP/1.1 204 No Content\r\nX-Served-By: b-4\r\n\r\n",
    "problem": b"HTTP/1.1 500 No\r\nContent-Type: application/problem+json; charset=utf-8\r\n"
    b'X-Served-By: b-4\r\nContent-Length: 32\r\n\r\n{"title":"x","sqlstate":"42703"}',
}


def read(pieces: list[bytes]) -> ResponseReader:
    reader = ResponseReader()
    for piece in pieces:
        assert not reader.complete
        reader.feed(piece)
    return reader


@pytest.mark.parametrize("name", RESPONSES)
def test_byte_by_byte_is_the_same_as_at_once(name: str) -> None:
    """A response is complete with its last byte and not before, and says the same."""
    response = RESPONSES[name]
    for reader in (read([response]), read([bytes([byte]) for byte in response])):
        assert reader.complete
        assert reader.keep_alive
        assert reader.served_by == "b-4"
        assert reader.status == int(response.rpartition(b"HTTP/1.1 ")[2][:3])
        assert reader.problem().sqlstate == ("42703" if name == "problem" else None)


@given(name=st.sampled_from(sorted(RESPONSES)), data=st.data())
def test_any_cut_is_the_same(name: str, data: st.DataObject) -> None:
    """Two pieces, cut anywhere, are one response."""
    response = RESPONSES[name]
    at = data.draw(st.integers(1, len(response) - 1))
    reader = ResponseReader()
    reader.feed(response[:at])
    reader.feed(response[at:])
    assert reader.complete


@given(st.binary(max_size=200))
def test_noise_is_malformed_or_incomplete(noise: bytes) -> None:
    """Nothing but a response is ever taken for one, and no noise raises anything else."""
    reader = ResponseReader()
    with contextlib.suppress(MalformedResponse):
        reader.feed(noise)
    assert not reader.complete or noise.startswith(b"HTTP/1.")


def test_one_reader_reads_response_after_response() -> None:
    """Nothing of a response is left over for the next one."""
    reader = ResponseReader()
    reader.feed(RESPONSES["problem"])
    reader.begin(is_head=False)
    reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert (reader.complete, reader.status, reader.served_by) == (True, 200, None)
    assert reader.problem().title is None


def test_a_broken_problem_document_is_no_problem() -> None:
    """A body that is not what its type promises leaves the status to tell."""
    for body in (b"{", b"[]", b'{"title":5}', b"\xff\xfe"):
        reader = ResponseReader()
        reader.feed(
            b"HTTP/1.1 500 No\r\nContent-Type: application/problem+json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        assert reader.complete
        assert reader.problem().title is None


def test_a_huge_problem_document_is_not_kept() -> None:
    """Memory is not the server's to spend: what is beyond the limit is read and dropped."""
    reader = ResponseReader()
    reader.feed(
        b"HTTP/1.1 500 No\r\nContent-Type: application/problem+json\r\n"
        b"Content-Length: 10000000\r\n\r\n"
    )
    for _ in range(100):
        reader.feed(b"x" * 100_000)
    assert reader.complete
    assert len(reader._body) <= 200_000
