"""What was seen on the wire means what the findings say, whoever cuts the bytes into pieces."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.probe import findings
from scenarios.probe.profile import Exit
from scenarios.probe.transcript import Happened, Observation, Transcript, TranscriptMoment
from tests.support.probe import CLOSING, FAMILY, OK, observed

SENT, FIN, RST = Happened.SENT, Happened.FIN, Happened.RESET
CONNECTED, REFUSED = Happened.CONNECTED, Happened.REFUSED
FAILED = OK.replace(b"200 OK", b"500 No")
UNAVAILABLE = OK.replace(b"200 OK", b"503 No")
HALF = OK[:-1]


def in_pieces(seen: Observation) -> Observation:
    """The same, with every byte a piece of its own."""

    def cut(transcript: Transcript) -> Transcript:
        moments: list[TranscriptMoment] = []
        for moment in transcript.moments:
            if moment.what is Happened.HEARD:
                one_by_one = [moment.data[i : i + 1] for i in range(len(moment.data))]
                moments += [
                    TranscriptMoment(moment.at_ns, moment.what, byte) for byte in one_by_one
                ]
            else:
                moments.append(moment)
        return Transcript(transcript.connection, tuple(moments))

    cuts = {name: cut(transcript) for name, transcript in seen.transcripts.items()}
    return msgspec.structs.replace(seen, transcripts=cuts)


@pytest.mark.parametrize(
    ("said", "fate", "ending"),
    [
        (((-2, SENT), (3, OK)), "delivered", None),
        (((-2, SENT), (3, OK), (3, FIN)), "delivered", None),
        (((-2, SENT), (3, FAILED)), "error", None),
        (((-2, SENT), (0.1, FIN)), "cut", "FIN"),
        (((-2, SENT), (0.1, HALF), (0.2, RST)), "cut", "RST"),
        (((-2, SENT), (0.1, HALF)), "silent", None),
        (((-2, SENT),), "silent", None),
    ],
)
def test_a_request_in_flight(said: tuple, fate: str, ending: str | None) -> None:
    """Delivered means whole and good; half an answer, an error and silence are none."""
    seen = observed({"slow": said}, exited=(0, 5.0))
    found = findings.delivery(seen)
    assert found is not None
    assert (found.fate, found.ending, found.exit) == (fate, ending, Exit(0, 5.0))
    assert findings.delivery(in_pieces(seen)) == found


def test_a_request_that_was_over_before_says_nothing() -> None:
    """An answer that came before the signal is no finding about the stop."""
    assert findings.delivery(observed({"slow": ((-2, SENT), (-0.1, OK))})) is None
    assert findings.upload(observed({"upload": ((-2, SENT), (-0.1, OK))})) is None
    assert findings.stream(observed({"stream": ((-2, SENT), (-0.1, OK))})) is None
    assert findings.delivery(observed({})) is None


@pytest.mark.parametrize(
    ("said", "fate"),
    [
        (((-1, SENT), (-0.9, OK), (0.1, FIN)), "closed"),
        (((-1, SENT), (-0.9, OK)), "open"),
        (((-1, SENT), (-0.9, CLOSING), (0.1, FIN)), "none"),
        (((-1, SENT), (-0.9, OK), (-0.8, FIN)), "none"),
    ],
)
def test_an_idle_connection(said: tuple, fate: str) -> None:
    """A server that closes each connection after its answer has no idle ones."""
    found = findings.idle(observed({"idle": said}, exited=(-15, 0.2)))
    assert found is not None
    assert found.fate == fate


@pytest.mark.parametrize(
    ("said", "fate"),
    [
        (((0.5, REFUSED),), "refused"),
        (((0.5, CONNECTED), (0.5, SENT), (0.6, OK)), "served"),
        (((0.5, CONNECTED), (0.5, SENT), (0.6, UNAVAILABLE)), "unavailable"),
        (((0.5, CONNECTED), (0.5, SENT), (0.6, FAILED)), "error"),
        (((0.5, CONNECTED), (0.5, SENT), (3, RST)), "reset"),
        (((0.5, CONNECTED), (0.5, SENT), (3, FIN)), "closed"),
        (((0.5, CONNECTED), (0.5, SENT)), "silent"),
    ],
)
def test_who_comes_after_the_signal(said: tuple, fate: str) -> None:
    """Refused, served, reset and ignored are told apart."""
    found = findings.new_connections(observed({"new 0.5": said, "new 2": said, "health": said}))
    assert [one.fate for one in found.tries] == [fate, fate]
    assert found.health.fate == fate


@pytest.mark.parametrize(
    ("said", "fate", "closed"),
    [
        (((-1, SENT), (-0.9, OK), (0.1, FIN)), "closed", True),
        (((-1, SENT), (-0.9, OK), (0.7, SENT), (0.8, CLOSING)), "served", False),
        (((-1, SENT), (-0.9, OK), (0.7, SENT), (0.8, RST)), "reset", False),
        (((-1, SENT), (-0.9, OK), (0.7, SENT)), "silent", False),
        (((-1, SENT), (-0.9, CLOSING), (-0.9, FIN)), None, False),
    ],
)
def test_a_request_on_an_idle_connection(said: tuple, fate: str | None, *, closed: bool) -> None:
    """The first answer, which is from before the signal, is not taken for the second."""
    found = findings.new_connections(observed({"idle": said}))
    assert (found.idle.fate if found.idle else None, found.idle_closed) == (fate, closed)


@pytest.mark.parametrize(
    ("said", "fate"),
    [
        (((-0.7, SENT), (1, SENT), (1.1, OK)), "served"),
        (((-0.7, SENT), (0.2, OK)), "early"),
        (((-0.7, SENT), (0.1, FIN)), "cut"),
        (((-0.7, SENT), (1, SENT)), "silent"),
    ],
)
def test_a_half_sent_upload(said: tuple, fate: str) -> None:
    """An answer before the rest of the body was sent is not one to the upload."""
    found = findings.upload(observed({"upload": said}))
    assert found is not None
    assert found.fate == fate


@pytest.mark.parametrize(
    ("said", "signals", "effect"),
    [
        (((-1, SENT), (4, OK)), (0.0, 1.5), "ignored"),
        (((-1, SENT), (1.6, FIN)), (0.0, 1.5), "cut"),
        (((-1, SENT), (0.1, FIN)), (0.0,), "gone"),
    ],
)
def test_a_second_signal(said: tuple, signals: tuple[float, ...], effect: str) -> None:
    """A second signal that nobody was there to hear is told from one that was ignored."""
    found = findings.second_signal(observed({"slow": said}, signals=signals))
    assert found is not None
    assert found.effect == effect


@pytest.mark.parametrize(
    ("said", "fate", "seconds"),
    [
        (((0, SENT), (0.1, OK), (5.1, FIN)), "closed", 5.0),
        (((0, SENT), (0.1, OK)), "open", 14.9),
        (((0, SENT), (0.1, CLOSING), (0.1, FIN)), "none", 0.0),
    ],
)
def test_how_long_an_idle_connection_is_kept(said: tuple, fate: str, seconds: float) -> None:
    """The time counts from the answer's end."""
    found = findings.keep_alive(observed({"idle": said}, signals=()))
    assert found is not None
    assert (found.fate, found.seconds) == (fate, pytest.approx(seconds))


def test_an_announced_timeout() -> None:
    """What `Keep-Alive` promises is told beside what was seen."""
    announced = OK.replace(b"\r\n\r\n", b"\r\nKeep-Alive: max=10, timeout=5\r\n\r\n")
    found = findings.keep_alive(observed({"idle": ((0, SENT), (0.1, announced))}, signals=()))
    assert found is not None
    assert found.announced == 5


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, "continue"),
        (OK, "final"),
        (b"", "silent"),
    ],
)
def test_expect_continue(first: bytes, said: str) -> None:
    """What comes only after the body was sent does not count."""
    seen = observed({"expect": ((0, SENT), (0.1, first))}, signals=())
    assert findings.continues(seen) == said


FRAME = b"\x88\x02\x03\xf4"
UPGRADED = b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


@pytest.mark.parametrize(
    ("said", "fate", "code"),
    [
        (((-1, SENT), (-0.9, UPGRADED), (0.1, FRAME), (0.2, FIN)), "closed", 1012),
        (((-1, SENT), (-0.9, UPGRADED), (0.2, FIN)), "closed", 1006),
        (((-1, SENT), (-0.9, UPGRADED), (0.2, RST)), "closed", 1006),
        (((-1, SENT), (-0.9, UPGRADED)), "open", None),
    ],
)
def test_a_websocket(said: tuple, fate: str, code: int | None) -> None:
    """An end without a close frame is 1006, as clients are told."""
    seen = observed({"websocket": said})
    found = findings.websocket(seen)
    assert found is not None
    assert (found.fate, found.code) == (fate, code)
    assert findings.websocket(in_pieces(seen)) == found


STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PIECE = b"8\r\npiece 1\n\r\n"
LAST = b"0\r\n\r\n"
RAW = b"HTTP/1.0 200 OK\r\n\r\n"


@pytest.mark.parametrize(
    ("said", "fate", "chunks"),
    [
        (((-1, SENT), (-0.9, STREAM + PIECE), (1, PIECE), (2, LAST)), "complete", 2),
        (((-1, SENT), (-0.9, STREAM + PIECE), (1, PIECE), (2, FIN)), "cut", 2),
        (((-1, SENT), (-0.9, STREAM + PIECE), (1, PIECE)), "running", 2),
    ],
)
def test_a_stream(said: tuple, fate: str, chunks: int) -> None:
    """Only the last chunk makes a chunked stream whole; an orderly end before it is a cut."""
    seen = observed({"stream": said})
    found = findings.stream(seen)
    assert found is not None
    assert (found.fate, found.chunks) == (fate, chunks)
    assert findings.stream(in_pieces(seen)) == found


@pytest.mark.parametrize(("pieces", "fate"), [(3, "cut"), (10, "complete")])
def test_a_stream_without_framing(pieces: int, fate: str) -> None:
    """Where the connection's end is the only end, the pieces tell a cut from a whole stream."""
    body = b"".join(b"piece %d\n" % number for number in range(1, pieces + 1))
    seen = observed({"stream": ((-1, SENT), (-0.9, RAW + body), (0.1, FIN))})
    found = findings.stream(seen)
    assert found is not None
    assert (found.fate, found.chunks) == (fate, pieces)


@pytest.mark.parametrize("end", [LAST, b""])
def test_a_stream_without_an_end_is_cut_whatever_ends_it(end: bytes) -> None:
    """A last chunk does not make a stream whole that had no end."""
    said = ((-1, SENT), (-0.9, STREAM + PIECE), (0.1, end), (0.1, FIN))
    found = findings.endless_stream(observed({"stream": said}))
    assert found is not None
    assert (found.fate, found.ending) == ("cut", "FIN")


def test_an_idle_connection_whose_time_was_over_says_nothing() -> None:
    """A timeout before the signal is neither a close at the stop nor one after each answer."""
    seen = observed({"idle": ((-3, SENT), (-2.9, OK), (-0.2, FIN))})
    assert findings.idle(seen) is None


def test_who_waits_in_the_queue() -> None:
    """Each of those who came before is counted once, by what became of it."""
    slow = ((-1, SENT), (4, OK))
    found = findings.queue(
        observed(
            {
                "slow": slow,
                "queued 1": ((-0.5, SENT), (-0.4, OK)),
                "queued 2": ((-0.5, SENT), (4.1, OK)),
                "queued 3": ((-0.5, SENT), (5, RST)),
                "queued 4": ((-0.5, SENT), (5, FIN)),
                "queued 5": ((-0.5, SENT),),
            },
            waiting=4,
        )
    )
    assert found is not None
    assert (found.sent, found.waiting, found.served, found.late) == (5, 4, 2, 1)
    assert (found.reset, found.closed, found.silent) == (1, 1, 1)


@pytest.mark.parametrize(
    ("direct", "ended", "still", "fate"),
    [
        (True, True, False, "direct"),
        (True, False, None, "direct"),
        (False, True, False, "forwarded"),
        (False, True, True, "orphaned"),
        (False, False, None, "swallowed"),
    ],
)
def test_which_process_the_signal_reaches(
    *, direct: bool, ended: bool, still: bool | None, fate: str
) -> None:
    """A wrapper that dies alone is told from one that passes the signal on, and from a deaf one."""
    family = msgspec.structs.replace(FAMILY, direct=direct, still_serves=still)
    seen = observed({}, family=family, exited=(0, 0.1) if ended else None)
    assert findings.signalled(seen).fate == fate


@given(at=st.floats(0.0, 14.0), status=st.integers(-15, 255))
def test_an_exit_is_told_as_it_was(at: float, status: int) -> None:
    """The exit status and its time are those of the process; without one it was alive."""
    assert findings.exit_of(observed({}, exited=(status, at))) == Exit(status, round(at, 3))
    assert findings.exit_of(observed({}, watched=14.0)) == Exit(None, 14.0)
