"""From the folder of a run to its verdict: the same after the run and a year later."""

from collections.abc import Iterator
from pathlib import Path

from scenarios.errors import EvidenceError
from scenarios.evidence import folder as files
from scenarios.evidence.backend import read_backends
from scenarios.evidence.event import read_events
from scenarios.evidence.exchange import Exchange
from scenarios.evidence.locks import read_locks
from scenarios.evidence.mail import read_mails
from scenarios.evidence.manifest import Manifest, read_manifest
from scenarios.evidence.ndjson import read_lines
from scenarios.evidence.outcome import read_outcomes
from scenarios.evidence.read import Read
from scenarios.evidence.server_log import read_server_log
from scenarios.evidence.subject import Subject, read_subjects
from scenarios.evidence.tick import read_ticks
from scenarios.verdict import Verdict, encode, judge
from scenarios.verdict.causes.surroundings import Surroundings
from scenarios.verdict.timeline import Timeline


def reach_verdict(folder: Path) -> Verdict:
    """Judge a run from its files alone, and write `verdict.json` beside them.

    Raises:
        EvidenceError: the folder is not that of a run, or a file in it is damaged.
        OSError: the verdict cannot be written.
    """
    check_folder(folder)
    log = folder / files.ACCESS_LOG
    locks = folder / files.LOCKS
    server_log = folder / files.SERVER_LOG
    backends = folder / files.BACKENDS
    reads = folder / files.READS
    manifest = read_manifest(folder / files.MANIFEST)
    verdict = judge(
        manifest,
        read_outcomes(folder / files.REQUESTS),
        read_events(folder / files.EVENTS),
        read_ticks(folder / files.TICKS),
        read_mails(folder / files.MAILS),
        _subjects(folder / files.BEFORE),
        _subjects(folder / files.AFTER),
        read_lines(log, Exchange) if log.is_file() else (),
        read_locks(locks) if locks.is_file() else None,
        read_server_log(server_log) if server_log.is_file() else (),
        read_backends(backends) if backends.is_file() else (),
        read_lines(reads, Read) if reads.is_file() else (),
    )
    # After the lines themselves, whose errors say more: which line, and what is wrong with it.
    files.check_files(folder, manifest.files)
    (folder / files.VERDICT).write_bytes(encode(verdict))
    return verdict


def check_folder(folder: Path) -> None:
    """See that the folder is that of a run.

    Raises:
        EvidenceError: it is not.
    """
    if not folder.is_dir():
        raise EvidenceError(f"{folder}: there is no such folder")
    if not (folder / files.MANIFEST).is_file():
        raise EvidenceError(f"{folder}: not the folder of a run: it has no {files.MANIFEST}")


def surroundings_of(folder: Path, manifest: Manifest, timeline: Timeline) -> Surroundings:
    """What went on around the requests of a run, from its files.

    Raises:
        EvidenceError: a file is damaged.
    """
    locks, log = folder / files.LOCKS, folder / files.SERVER_LOG
    backends = folder / files.BACKENDS
    return Surroundings(
        timeline,
        read_locks(locks) if locks.is_file() else (),
        read_server_log(log) if log.is_file() else (),
        read_backends(backends) if backends.is_file() else (),
        manifest.database,
    )


def _subjects(path: Path) -> Iterator[Subject] | None:
    return read_subjects(path) if path.is_file() else None
