"""The stories in a report's data are those of the requests, and a comparison has each run."""

import re
from html import unescape
from pathlib import Path

import msgspec
import pytest

from scenarios.reports import words
from scenarios.reports.matrix import FACTS
from scenarios.reports.page.comparison import compare_report
from scenarios.reports.page.stories import Stories, pack
from scenarios.reports.story import ABOUT, facts
from scenarios.review import recall, review
from scenarios.verdict import Judgement
from scenarios.verdict.story import tell_story
from tests.support.evidence import START, Evidence, clean


@pytest.fixture(scope="module")
def judgement(broken: Evidence) -> Judgement:
    return broken.judgement()


def packed(judgement: Judgement, most: int = 20_000) -> Stories:
    return pack((*judgement.failed, *judgement.slow), START, most)


def test_each_story_can_be_read_again(judgement: Judgement) -> None:
    """Every failed request has a row from which the script can tell its whole story."""
    stories = packed(judgement)
    assert stories.total == len(stories.rows) == len(judgement.failed)
    for row, one in zip(stories.rows, judgement.failed, strict=True):
        story = tell_story(one.failure, one, START)
        assert (row.id, row.at, row.took) == (story.request_id, story.at, story.seconds)
        shown = (row.asked, row.got, row.replica, row.step, row.cause)
        assert [stories.texts[index] for index in shown] == [
            words.clean(text)
            for text in (
                f"{story.endpoint} ({story.connection})",
                *(story.got, story.replica or "-", story.step, story.cause or ""),
            )
        ]
        known = [stories.facts[index] for index in stories.sets[row.facts]]
        assert known == [(n, words.clean(text)) for n, text in facts(story) if n != ABOUT]
        assert row.about == (story.subject or "")
        moments = [stories.moments[index] for index in stories.sequences[row.sequence]]
        assert moments == [(words.clean(m.source), words.clean(m.text)) for m in story.moments]
        assert [round(row.at + at, 5) for at in row.times] == [
            round(m.at or 0.0, 5) for m in story.moments
        ]
    assert stories.causes() == sorted({one.finding.cause for one in judgement.failed})


def test_where_there_are_too_many_each_cause_keeps_some(judgement: Judgement) -> None:
    """Small causes are whole, large ones spread over their time, and the total is still told."""
    stories = packed(judgement, most=40)
    every = packed(judgement)
    assert stories.total == every.total > 40 >= len(stories.rows)
    assert stories.causes() == every.causes()
    for cause in every.causes():
        mine = [row for row in stories.rows if stories.texts[row.cause] == cause]
        all_of_it = [row for row in every.rows if every.texts[row.cause] == cause]
        assert mine
        if len(all_of_it) <= 40 // len(every.causes()):
            assert [row.id for row in mine] == [row.id for row in all_of_it]
        else:
            span = all_of_it[-1].at - all_of_it[0].at
            assert mine[0].id == all_of_it[0].id
            assert mine[-1].at - mine[0].at > span / 2
    assert [row.at for row in stories.rows] == sorted(row.at for row in stories.rows)


def test_a_comparison_has_each_runs_numbers(broken: Evidence, tmp_path: Path) -> None:
    """Both columns of each fact, both releases on the axis, and how to run each of them again."""
    folders = [tmp_path / "one", tmp_path / "two"]
    failing = msgspec.structs.replace(broken.ticks[9], failed=5)
    broken = broken.but(ticks=[*broken.ticks[:9], failing, *broken.ticks[10:]])
    for run, folder in zip((broken, clean().asked(strategy="canary")), folders, strict=True):
        review(run.write(folder))
    runs = [recall(folder) for folder in folders]
    text = compare_report(runs)
    assert text.count('<rect class="phase"') == text.count("the release, 2.00 s") == 2
    assert 'class="bad"' in text
    flat = " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())
    for name, show in FACTS:
        cells = [" ".join(show(run.verdict).split()) for run in runs]
        assert f"{name} {cells[0]} {cells[1]}" in flat
    for run in runs:
        assert f"requests failed: {run.verdict.requests.failed:,}" in flat
        assert run.folder in flat
        assert run.verdict.replay in flat
        assert f"{run.verdict.verdict.upper()} {run.verdict.scenario}" in flat
