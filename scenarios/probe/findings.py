"""PURE: from what one experiment saw to what it says.

Each function takes an `Observation` and returns a finding of `scenarios.probe.profile`, or None
where the observation does not show it: where the request had been answered before the signal came,
for example.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec

from scenarios.probe.answer_reader import AnswerReader, RawAnswer
from scenarios.probe.plans import BODY, CHUNKS, HEALTH_AT, IDLE_AT, NEW_CONNECTIONS_AT
from scenarios.probe.profile import (
    Delivery,
    Ending,
    Exit,
    Idle,
    KeepAlive,
    LateResponses,
    NewConnections,
    Queue,
    SecondSignal,
    Signalled,
    StreamOutcome,
    Upload,
    Websocket,
)
from scenarios.probe.transcript import Family, Happened, Observation, Transcript

_SECOND = 1_000_000_000
_SERVER_ERROR, _UNAVAILABLE = 500, 503
_ABNORMAL = 1006
_AT_ONCE_NS = _SECOND // 2


def seconds(nanoseconds: int) -> float:
    """Nanoseconds as seconds, to the millisecond."""
    return round(nanoseconds / _SECOND, 3)


@dataclass(slots=True)
class Heard:
    """What one connection amounts to.

    Attributes:
        reader: what the server said.
        whole_ns: when each answer had come whole.
        sent_ns: when something was sent.
        refused: whether the connection was refused.
        ended_ns: when the connection ended.
        ending: how it ended.
    """

    reader: AnswerReader
    whole_ns: list[int]
    sent_ns: list[int]
    refused: bool = False
    ended_ns: int | None = None
    ending: Ending | None = None

    @property
    def answers(self) -> list[RawAnswer]:
        """The answers, the last of which may be incomplete."""
        return self.reader.answers

    @property
    def whole(self) -> RawAnswer | None:
        """The last answer that came whole."""
        return next((answer for answer in reversed(self.answers) if answer.complete), None)


def hear(transcript: Transcript | None) -> Heard:
    """Read a connection's moments; a connection that was never opened has none."""
    heard = Heard(AnswerReader(), [], [])
    for moment in transcript.moments if transcript else ():
        match moment.what:
            case Happened.SENT:
                heard.sent_ns.append(moment.at_ns)
            case Happened.REFUSED:
                heard.refused = True
            case Happened.HEARD:
                heard.reader.feed(moment.data)
            case Happened.FIN:
                heard.reader.end()
                heard.ended_ns, heard.ending = moment.at_ns, "FIN"
            case Happened.RESET:
                heard.ended_ns, heard.ending = moment.at_ns, "RST"
        while len(heard.whole_ns) < heard.reader.complete:
            heard.whole_ns.append(moment.at_ns)
    return heard


def exit_of(seen: Observation) -> Exit:
    """How the process ended."""
    if seen.exited is None:
        return Exit(None, seconds(seen.watched_ns))
    return Exit(seen.exited.status, seconds(seen.exited.at_ns))


def delivery(seen: Observation, connection: str = "slow") -> Delivery | None:
    """A request that was in flight at the signal."""
    heard = hear(seen.transcripts.get(connection))
    if not heard.sent_ns or (heard.whole_ns and heard.whole_ns[0] < 0):
        return None
    end, whole = exit_of(seen), heard.whole
    if whole is not None:
        fate: Literal["delivered", "error"] = (
            "error" if whole.status >= _SERVER_ERROR else "delivered"
        )
        at = seconds(heard.whole_ns[0])
        return Delivery(
            fate=fate, seconds=at, status=whole.status, connection=whole.connection, exit=end
        )
    if heard.ended_ns is not None:
        return Delivery(fate="cut", seconds=seconds(heard.ended_ns), ending=heard.ending, exit=end)
    return Delivery(fate="silent", seconds=seconds(seen.watched_ns), exit=end)


def idle(seen: Observation) -> Idle | None:
    """An idle connection at the signal."""
    heard = hear(seen.transcripts.get("idle"))
    if not heard.whole_ns:
        return None
    end = exit_of(seen)
    if _closes_each(heard):
        return Idle(fate="none", exit=end)
    if heard.ended_ns is None:
        return Idle(fate="open", exit=end)
    if heard.ended_ns < 0:
        return None  # its keep-alive time was over before the signal
    return Idle(fate="closed", seconds=seconds(heard.ended_ns), exit=end)


def _closes_each(heard: Heard) -> bool:
    """Whether the server closes its connection after the answer: it says so, or does so at once."""
    whole = heard.whole
    said = whole is not None and whole.closes
    ended = heard.ended_ns
    return said or (ended is not None and ended < min(0, heard.whole_ns[0] + _AT_ONCE_NS))


def late(heard: Heard, at: float, answers_before: int = 0) -> LateResponses:
    """Somebody who came after the signal; `answers_before` are from before it."""
    if heard.refused:
        return LateResponses(at=at, fate="refused", seconds=at)
    if len(heard.whole_ns) > answers_before and (answer := heard.whole) is not None:
        fate: Literal["served", "unavailable", "error"] = "served"
        if answer.status == _UNAVAILABLE:
            fate = "unavailable"
        elif answer.status >= _SERVER_ERROR:
            fate = "error"
        return LateResponses(
            at=at,
            fate=fate,
            status=answer.status,
            connection=answer.connection,
            seconds=seconds(heard.whole_ns[-1]),
        )
    if heard.ended_ns is None:
        return LateResponses(at=at, fate="silent")
    ended: Literal["reset", "closed"] = "reset" if heard.ending == "RST" else "closed"
    return LateResponses(at=at, fate=ended, seconds=seconds(heard.ended_ns))


def new_connections(seen: Observation) -> NewConnections:
    """Who came after the signal."""
    kept = hear(seen.transcripts.get("idle"))
    asked_again = len(kept.sent_ns) > 1
    idle_late: LateResponses | None = None
    if asked_again:
        idle_late = late(kept, IDLE_AT, answers_before=1)
    elif not _closes_each(kept) and kept.ended_ns is not None:
        idle_late = LateResponses(at=IDLE_AT, fate="closed", seconds=seconds(kept.ended_ns))
    return NewConnections(
        tries=tuple(
            late(hear(seen.transcripts.get(f"new {at:g}")), at) for at in NEW_CONNECTIONS_AT
        ),
        health=late(hear(seen.transcripts.get("health")), HEALTH_AT),
        idle=idle_late,
        idle_closed=idle_late is not None and not asked_again,
        exit=exit_of(seen),
    )


def upload(seen: Observation) -> Upload | None:
    """A request whose body was half there at the signal."""
    heard = hear(seen.transcripts.get("upload"))
    if not heard.sent_ns or (heard.whole_ns and heard.whole_ns[0] < 0):
        return None
    end = exit_of(seen)
    if (whole := heard.whole) is not None:
        rest_sent = len(heard.sent_ns) > 1 and heard.sent_ns[1] < heard.whole_ns[0]
        fate: Literal["served", "early"] = "served" if rest_sent else "early"
        return Upload(fate=fate, seconds=seconds(heard.whole_ns[0]), status=whole.status, exit=end)
    if heard.ended_ns is not None:
        return Upload(fate="cut", seconds=seconds(heard.ended_ns), exit=end)
    return Upload(fate="silent", seconds=seconds(seen.watched_ns), exit=end)


def second_signal(seen: Observation) -> SecondSignal | None:
    """What the second signal did to the request in flight."""
    first = delivery(seen)
    if first is None:
        return None
    if len(seen.signals_ns) == 1:  # it is not sent to a process that has ended
        return SecondSignal(effect="gone", exit=first.exit)
    if first.fate in ("cut", "error"):
        return SecondSignal(effect="cut", seconds=first.seconds, exit=first.exit)
    return SecondSignal(effect="ignored", exit=first.exit)


def keep_alive(seen: Observation) -> KeepAlive | None:
    """How long an idle connection was kept, while nobody stopped the server."""
    heard = hear(seen.transcripts.get("idle"))
    if not heard.whole_ns or (whole := heard.whole) is None:
        return None
    announced = _announced(whole.headers.get("keep-alive", ""))
    since = heard.whole_ns[0]
    if whole.closes:
        return KeepAlive(fate="none", seconds=0.0)
    if heard.ended_ns is None:
        return KeepAlive(fate="open", seconds=seconds(seen.watched_ns - since), announced=announced)
    return KeepAlive(
        fate="closed",
        seconds=seconds(heard.ended_ns - since),
        announced=announced,
        ending=heard.ending,
    )


def _announced(header: str) -> float | None:
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name.lower() == "timeout" and value.isdigit():
            return float(value)
    return None


def continues(seen: Observation) -> Literal["continue", "final", "silent"] | None:
    """What came before the body of a request that asked whether to go on (RFC 9110, 10.1.1)."""
    transcript = seen.transcripts.get("expect")
    heard = hear(_until_body(transcript)) if transcript else None
    if heard is None or not heard.sent_ns:
        return None
    if heard.reader.continued:
        return "continue"
    return "final" if heard.answers else "silent"


def _until_body(transcript: Transcript) -> Transcript:
    before = []
    for moment in transcript.moments:
        if moment.what is Happened.SENT and moment.data == BODY:
            break
        before.append(moment)
    return Transcript(transcript.connection, tuple(before))


def websocket(seen: Observation) -> Websocket | None:
    """A WebSocket that was open at the signal."""
    heard = hear(seen.transcripts.get("websocket"))
    if not heard.reader.upgraded:
        return None
    end = exit_of(seen)
    code, at = heard.reader.close_code, heard.ended_ns
    if code is None and at is None:
        return Websocket(fate="open", exit=end)
    return Websocket(
        fate="closed",
        code=_ABNORMAL if code is None else code,
        seconds=None if at is None else seconds(at),
        exit=end,
    )


def stream(seen: Observation) -> StreamOutcome | None:
    """A streamed answer that had begun before the signal."""
    heard = hear(seen.transcripts.get("stream"))
    if not heard.answers or (heard.whole_ns and heard.whole_ns[0] < 0):
        return None
    answer, end = heard.answers[0], exit_of(seen)
    pieces, complete = answer.chunks, answer.complete
    if answer.until_end:
        # Without any framing an end looks like a cut; in our own stream the pieces are counted.
        pieces = answer.body.count(b"\n")
        complete = complete and (pieces >= CHUNKS or not answer.body.startswith(b"piece 1\n"))
    if complete:
        return StreamOutcome(
            fate="complete", chunks=pieces, seconds=seconds(heard.whole_ns[0]), exit=end
        )
    if heard.ended_ns is not None:
        at = seconds(heard.ended_ns)
        return StreamOutcome(fate="cut", chunks=pieces, seconds=at, ending=heard.ending, exit=end)
    return StreamOutcome(fate="running", chunks=pieces, seconds=seconds(seen.watched_ns), exit=end)


def endless_stream(seen: Observation) -> StreamOutcome | None:
    """A stream without an end that had begun before the signal: whatever ends it is a cut."""
    found = stream(seen)
    if found is None or found.fate != "complete":
        return found
    ending = hear(seen.transcripts.get("stream")).ending
    return msgspec.structs.replace(found, fate="cut", ending=ending)


def queue(seen: Observation) -> Queue | None:
    """Requests that came before the signal while the server was busy with another one."""
    slow = hear(seen.transcripts.get("slow"))
    if not slow.sent_ns or (slow.whole_ns and slow.whole_ns[0] < 0):
        return None
    queued = [
        hear(transcript)
        for name, transcript in sorted(seen.transcripts.items())
        if name.startswith("queued ")
    ]
    served = [heard for heard in queued if heard.whole_ns]
    others = [heard for heard in queued if not heard.whole_ns]
    return Queue(
        sent=len(queued),
        waiting=seen.waiting,
        served=len(served),
        late=_count(heard.whole_ns[0] >= 0 for heard in served),
        reset=_count(heard.ending == "RST" for heard in others),
        closed=_count(heard.ending == "FIN" for heard in others),
        silent=_count(heard.ending is None for heard in others),
        exit=exit_of(seen),
    )


def _count(facts: Iterable[bool]) -> int:
    return sum(facts)


def signalled(seen: Observation) -> Signalled:
    """Which process the signal reached."""
    family, fate = seen.family, _reach(seen.family, ended=seen.exited is not None)
    return Signalled(
        fate=fate,
        started=family.started,
        listening=family.listening,
        count=family.count,
        left=family.left,
        still_serves=family.still_serves,
    )


def _reach(
    family: Family, *, ended: bool
) -> Literal["direct", "forwarded", "orphaned", "swallowed"]:
    if family.direct:
        return "direct"
    if not ended:
        return "swallowed"
    return "orphaned" if family.still_serves else "forwarded"
