"""From the folder of a run to its verdict: the same after the run and a year later."""

from pathlib import Path

import msgspec

from scenarios.errors import EvidenceError
from scenarios.evidence.run_folder import RunFolder, write
from scenarios.reports.page.comparison import Compared
from scenarios.verdict import SCHEMA, Judgement, decode, encode, judge


def review(folder: Path) -> Judgement:
    """Judge a run from its files alone, and write `verdict.json` beside them.

    Each file of the evidence is opened once; the reports are made from what this returns.

    Raises:
        EvidenceError: the folder is not that of a run, or a file in it is damaged.
        StorageError: the verdict cannot be written.
    """
    run = RunFolder(folder)
    judgement = judge(run.evidence())
    write(run.verdict, encode(judgement.verdict))
    return judgement


def recall(folder: Path) -> Compared:
    """A run as it is compared with others: its verdict as it was reached, journal and ticks.

    The evidence is judged only if nobody has done so yet.

    Raises:
        EvidenceError: the folder is not that of a run, or a file in it is damaged.
        StorageError: the verdict cannot be written.
    """
    run = RunFolder(folder)
    if not run.verdict.is_file():
        judgement = review(folder)
        return Compared(
            folder=str(folder),
            verdict=judgement.verdict,
            events=tuple(judgement.around.timeline.events),
            ticks=judgement.ticks,
        )
    try:
        verdict = decode(run.verdict.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        message = f"{run.verdict}: {error}; `hitless report {folder}` rewrites it"
        raise EvidenceError(message) from error
    if verdict.schema > SCHEMA:
        raise EvidenceError(
            f"{run.verdict}: its schema is {verdict.schema}, and this hitless reads up to {SCHEMA}"
        )
    return Compared(
        folder=str(folder),
        verdict=verdict,
        events=tuple(run.events.read()),
        ticks=tuple(run.ticks.read()),
    )
