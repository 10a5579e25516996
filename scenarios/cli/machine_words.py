"""What a machine did during a run that says nothing: its figures, so that no release is blamed."""

from collections.abc import Sequence
from pathlib import Path

from scenarios.errors import EvidenceError
from scenarios.evidence.machine import MachineSample
from scenarios.evidence.run_folder import RunFolder
from scenarios.reports.words import share
from scenarios.verdict import Verdict

NOTICEABLE = 0.1
"""From this share of the processors on, what others use is worth a word."""


NO_MATTER_OF_LOAD = ("sqlstate:", "status:4", "transport:connect_refused")
"""How the ids of causes begin that no busy machine brings about."""


def machine_words(verdict: Verdict, folder: Path) -> str:
    """The machine's figures for people; empty unless the run is invalid and they explain it."""
    samples = RunFolder(folder).machine_samples
    if verdict.verdict != "invalid" or verdict.interrupted or not samples.exists:
        return ""
    if not load_may_explain([one.cause for one in verdict.causes]):
        return ""
    try:
        return words_of(list(samples.read()))
    except EvidenceError:  # the verdict itself has told what is damaged
        return ""


def load_may_explain(causes: Sequence[str]) -> bool:
    """PURE: whether a busy machine may be why a run says nothing.

    Args:
        causes: the ids of the causes of its failures; none if nothing failed.
    """
    return not causes or not all(one.startswith(NO_MATTER_OF_LOAD) for one in causes)


def words_of(samples: Sequence[MachineSample]) -> str:
    """PURE: what others used of the processors on average and at most, if that is noticeable."""
    seconds = sum(one.seconds for one in samples)
    if not seconds:
        return ""
    used = [min(max(one.busy - one.own, 0.0) + one.steal, 1.0) for one in samples]
    average = sum(part * one.seconds for part, one in zip(used, samples, strict=True)) / seconds
    if average < NOTICEABLE:
        return ""
    cores = samples[-1].cores
    noun = "processor" if cores == 1 else f"{cores} processors"
    return (
        f"The machine was busy with other things: others used {share(average)} of its {noun} "
        f"during this run, and up to {share(max(used))}. Try again when it is quieter."
    )
