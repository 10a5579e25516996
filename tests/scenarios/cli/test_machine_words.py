"""A run that says nothing comes with the machine's figures, where they explain it."""

from pathlib import Path

import msgspec
import pytest

from scenarios.cli.machine_words import load_may_explain, machine_words, words_of
from scenarios.evidence.machine import MachineSample
from scenarios.evidence.run_folder import RunFolder
from tests.support.evidence import clean


def samples(*busy: float, own: float = 0.2) -> list[MachineSample]:
    return [
        MachineSample(at_ns=number, seconds=0.5, cores=2, busy=one, own=own)
        for number, one in enumerate(busy)
    ]


def test_what_others_used_is_told() -> None:
    """On average and at most; what the run itself used does not count."""
    text = words_of(samples(0.8, 1.0))
    assert "others used 70 % of its 2 processors during this run, and up to 80 %" in text


def test_a_quiet_machine_is_no_excuse() -> None:
    """Where others used hardly anything, nothing is said; nor where nothing was measured."""
    assert words_of(samples(0.25, 0.29)) == ""
    assert words_of([]) == ""


def test_only_an_invalid_run_gets_the_figures(tmp_path: Path) -> None:
    """A verdict about the release needs no word about the machine."""
    run = RunFolder(tmp_path)
    with run.machine_samples.recorder() as recorder:
        for one in samples(1.0, 1.0):
            recorder.write(one)
    verdict = clean().judge()
    assert machine_words(verdict, tmp_path) == ""
    assert machine_words(msgspec.structs.replace(verdict, verdict="invalid"), tmp_path)


@pytest.mark.parametrize(
    ("causes", "may"),
    [
        ([], True),
        (["transport:timeout"], True),
        (["transport:connect_refused", "transport:timeout"], True),
        (["transport:connect_refused"], False),
        (["sqlstate:42703", "status:404"], False),
    ],
)
def test_what_no_load_brings_about(causes: list[str], may: object) -> None:
    """Where every failure has a cause that no load brings about, a busy machine is no excuse."""
    assert load_may_explain(causes) is may
