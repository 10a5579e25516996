"""The requests of several generators become those of one run, with stamps of the run's clock."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from scenarios.evidence.outcome import Outcome
from scenarios.evidence.recorder import Recorder
from scenarios.runner.generators.clock_track import ClockTrack

_CHUNK = 1024 * 1024


class DamagedError(Exception):
    """What came from a generator is not what it sent; the message says how."""


def on_run_clock(outcome: Outcome, clock: ClockTrack) -> Outcome:
    """PURE: the same request with its stamps on the run's clock."""
    sent, first = outcome.sent_ns, outcome.first_byte_ns
    return msgspec.structs.replace(
        outcome,
        planned_ns=clock.at(outcome.planned_ns),
        sent_ns=None if sent is None else clock.at(sent),
        first_byte_ns=None if first is None else clock.at(first),
        done_ns=clock.at(outcome.done_ns),
    )


def append_requests(
    evidence: Path, clock: ClockTrack, target: Recorder[Outcome], *, sha256: str | None
) -> int:
    """Add the requests of one generator to those of the run; returns how many there were.

    Args:
        evidence: what came from the generator.
        clock: how its clock relates to the run's.
        target: where the requests of the run go.
        sha256: what all of it must amount to; None for a generator that was lost, whose last line
            may be cut.

    Raises:
        DamagedError: it is not what the generator sent.
    """
    if sha256 is not None and _digest(evidence) != sha256:
        raise DamagedError("its evidence has another SHA-256 than it had in the pod")
    decoder = msgspec.json.Decoder(Outcome)
    count = 0
    with evidence.open("rb") as lines:
        for line in _whole(lines, cut=sha256 is None):
            try:
                outcome = decoder.decode(line)
            except msgspec.DecodeError as error:
                raise DamagedError(f"line {count + 1} of its evidence: {error}") from error
            target.write(on_run_clock(outcome, clock))
            count += 1
    return count


def _whole(lines: Iterable[bytes], *, cut: bool) -> Iterator[bytes]:
    for line in lines:
        if line.endswith(b"\n") or not cut:
            yield line


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
