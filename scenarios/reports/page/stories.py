"""The stories of failed and slow requests, packed for the report's script, which only shows them.

Texts, facts, moments and sequences of moments are each kept once, in a table, and rows refer to
them by their index: so tens of thousands of stories fit a page that opens at once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

import msgspec

from scenarios.reports import words
from scenarios.reports.story import ABOUT, facts
from scenarios.verdict.causes.attribution import Attributed
from scenarios.verdict.story import Story, tell_story

MOST_STORIES = 20_000
"""More do not fit a page that opens at once; `requests.ndjson` has all of them."""

K = TypeVar("K")


class StoryRow(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One story; `FIELDS` names its columns.

    Attributes:
        id: the request's id.
        at: its planned time, in seconds of the run.
        took: seconds from then until its outcome was known.
        asked: what it asked for and how; an index into the texts.
        got: what the client got; likewise.
        replica: who answered or was asked; likewise.
        step: what the rollout was doing; likewise.
        cause: the cause's id; likewise.
        facts: what else is known, but for its subject; an index into the sets of facts.
        about: its subject; empty if it has none.
        sequence: its moments in order, as an index into the sequences.
        times: when each of them was, in seconds from `at`.
    """

    id: str
    at: float
    took: float
    asked: int
    got: int
    replica: int
    step: int
    cause: int
    facts: int
    about: str
    sequence: int
    times: tuple[float, ...]


FIELDS = StoryRow.__struct_fields__


class Stories(msgspec.Struct, frozen=True, kw_only=True):
    """Stories of failed and slow requests, as the report's script reads them.

    Attributes:
        total: how many requests there are to tell of.
        texts: every text that rows refer to.
        facts: every fact, as a name and a text.
        sets: every set of facts, as indices into `facts`.
        moments: every moment, as who says it and what.
        sequences: every sequence of moments, as indices into `moments`.
        rows: one for each request that is told of, by planned time.
    """

    total: int = 0
    texts: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    sets: tuple[tuple[int, ...], ...] = ()
    moments: tuple[tuple[str, str], ...] = ()
    sequences: tuple[tuple[int, ...], ...] = ()
    rows: tuple[StoryRow, ...] = ()

    def causes(self) -> list[str]:
        """The ids of the causes, in order of the alphabet."""
        return sorted({self.texts[row.cause] for row in self.rows})


def pack(requests: Sequence[Attributed], origin_ns: int, most: int = MOST_STORIES) -> Stories:
    """Tell the stories of failed and slow requests.

    Args:
        requests: all of them.
        origin_ns: the instant 0.0.
        most: how many may be told; of each cause some are, spread over its time.
    """
    groups: dict[str, list[Attributed]] = {}
    for one in sorted(requests, key=_place):
        groups.setdefault(one.finding.cause, []).append(one)
    chosen = sorted((one for group in _shared(groups, most) for one in group), key=_place)
    tables = _Tables()
    rows = tuple(tables.row(tell_story(one.failure, one, origin_ns)) for one in chosen)
    return Stories(
        total=len(requests),
        texts=tables.texts.all(),
        facts=tables.facts.all(),
        sets=tables.sets.all(),
        moments=tables.moments.all(),
        sequences=tables.sequences.all(),
        rows=rows,
    )


def _place(one: Attributed) -> tuple[int, str]:
    return one.failure.outcome.planned_ns, one.failure.outcome.request_id


def _shared(groups: Mapping[str, list[Attributed]], most: int) -> Iterator[list[Attributed]]:
    """At most that many in all: small groups whole, large ones evenly spread."""
    left, waiting = most, len(groups)
    for _, group in sorted(groups.items(), key=lambda item: (len(item[1]), item[0])):
        share = max(left // waiting, 1)
        step = max(len(group) / share, 1.0)
        shared = [group[int(number * step)] for number in range(min(share, len(group)))]
        left, waiting = left - len(shared), waiting - 1
        yield shared


class _Table(Generic[K]):
    """Things that are kept once, in the order in which they came."""

    def __init__(self) -> None:
        self._indices: dict[K, int] = {}

    def index(self, thing: K) -> int:
        return self._indices.setdefault(thing, len(self._indices))

    def all(self) -> tuple[K, ...]:
        return tuple(self._indices)


class _Tables:
    """What the rows refer to."""

    def __init__(self) -> None:
        self.texts = _Table[str]()
        self.facts = _Table[tuple[str, str]]()
        self.sets = _Table[tuple[int, ...]]()
        self.moments = _Table[tuple[str, str]]()
        self.sequences = _Table[tuple[int, ...]]()

    def row(self, story: Story) -> StoryRow:
        shared = (fact for fact in facts(story) if fact[0] != ABOUT)
        return StoryRow(
            id=words.clean(story.request_id),
            at=story.at,
            took=story.seconds,
            asked=self._text(f"{story.endpoint} ({story.connection})"),
            got=self._text(story.got),
            replica=self._text(story.replica or words.MISSING),
            step=self._text(story.step),
            cause=self._text(story.cause or ""),
            facts=self.sets.index(tuple(self._pairs(self.facts, shared))),
            about=words.clean(story.subject or ""),
            sequence=self.sequences.index(
                tuple(
                    self._pairs(
                        self.moments, ((moment.source, moment.text) for moment in story.moments)
                    )
                )
            ),
            times=tuple(round((moment.at or 0.0) - story.at, 6) for moment in story.moments),
        )

    def _text(self, text: str) -> int:
        return self.texts.index(words.clean(text))

    def _pairs(
        self, table: _Table[tuple[str, str]], pairs: Iterable[tuple[str, str]]
    ) -> Iterator[int]:
        for name, text in pairs:
            yield table.index((words.clean(name), words.clean(text)))
