"""A 404 is blamed on the mixed fleet where the evidence says so, request by request."""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from scenarios.evidence.mail import Mail
from scenarios.evidence.outcome import Outcome
from scenarios.reports.prometheus import metrics
from scenarios.review import explain
from scenarios.verdict import Verdict
from tests.support import evidence as make
from tests.support.evidence import Evidence

REPLICAS = {"a": "a-1", "b": "b-2"}
NO_ROUTE = {"status": 404, "served_by": "a-1"}


class Story:
    """Users who subscribe, get a mail, and open its link; evidence is planted piece by piece."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.mails: list[Mail] = []

    def subscribed(self, number: int, replica: str | None = "b-2", **fields: Any) -> str:
        """A subscription; its id."""
        request_id = f"s7-{number:06}-1"
        self.outcomes.append(
            make.request(
                number,
                3 + number / 1000,
                endpoint=make.SUBSCRIBE,
                request_id=request_id,
                subject=f"u{number}@example.com",
                **{"served_by": replica, **fields},
            )
        )
        return request_id

    def mailed(self, number: int, sender: str | None, when: float = 3.3, **fields: Any) -> None:
        """A mail to its user."""
        known = {"request_id": f"s7-{number:06}-1", "sent_by": sender, **fields}
        recipient = f"u{number}@example.com"
        self.mails.append(Mail(at_ns=make.at(when), recipient=recipient, **known))

    def opened(self, number: int, cause_id: str | None, step: int = 2, **fields: Any) -> str:
        """A link that is opened; its id."""
        request_id: str = fields.pop("request_id", f"s7-{number:06}-{step}")
        self.outcomes.append(
            make.request(
                number,
                3.5 + number / 1000 + step / 10000,
                request_id=request_id,
                subject=f"u{number}@example.com",
                cause_id=cause_id,
                **{"endpoint": make.CONFIRM, "served_by": "a-1", **fields},
            )
        )
        return request_id

    def run(self) -> Evidence:
        return make.clean().but(outcomes=self.outcomes, mails=self.mails, before=None, after=None)

    def judge(self) -> Verdict:
        return self.run().judge()


@pytest.fixture
def story() -> Story:
    """Evidence without anything in it yet."""
    return Story()


def causes(verdict: Verdict) -> list[tuple[str, str, int]]:
    return [(one.cause, one.confidence, one.count) for one in verdict.causes]


EXPLAINED = [("status:404", "likely", 1)]
A_SYMPTOM = [("status:404", "symptom", 1)]


def test_a_link_that_another_version_mailed(story: Story) -> None:
    """B mailed it, A does not know it, B was never asked: versions and requests are named."""
    led = story.subscribed(1)
    story.mailed(1, "b-2")
    failed = story.opened(1, led, **NO_ROUTE)
    verdict = story.judge()
    assert causes(verdict) == EXPLAINED
    (cause,) = verdict.causes
    assert cause.title == "HTTP 404: version a lacks a route that version b handed out"
    assert cause.evidence.note is not None
    assert cause.evidence.note.startswith(
        "version a answered 404 to GET /subscriptions/confirm, a link that version b had mailed "
        f"({failed} by {led})"
    )
    assert verdict.unattributed == 0


def test_an_answer_of_another_version_that_led_there(story: Story) -> None:
    """Where no mail names its sender, whoever answered the request that led there is named."""
    led = story.subscribed(1)
    story.mailed(1, None)
    story.opened(1, led, **NO_ROUTE)
    verdict = story.judge()
    assert causes(verdict) == EXPLAINED
    note = verdict.causes[0].evidence.note or ""
    assert "followed from an answer of version b" in note


@pytest.mark.parametrize("replica", ["a-1", None])
def test_what_the_same_version_or_nobody_led_to(story: Story, replica: str | None) -> None:
    """A handed it out itself, or nobody knows who did: a symptom."""
    story.opened(1, story.subscribed(1, replica), **NO_ROUTE)
    assert causes(story.judge()) == A_SYMPTOM


def test_a_request_that_nothing_led_to(story: Story) -> None:
    """Without a cause there is nothing to go by."""
    story.subscribed(1)
    story.opened(1, None, **NO_ROUTE)
    assert causes(story.judge()) == A_SYMPTOM


def test_the_sender_of_the_mail_counts_more_than_who_answered(story: Story) -> None:
    """The link is from whoever mailed it: from B, though A subscribed, and the other way round."""
    led = story.subscribed(1, "a-1")
    story.mailed(1, "b-2")
    story.opened(1, led, **NO_ROUTE)
    led = story.subscribed(2, "b-2")
    story.mailed(2, "a-1")
    unknown = story.opened(2, led, **NO_ROUTE)
    verdict = story.judge()
    assert causes(verdict) == [*EXPLAINED, *A_SYMPTOM]
    assert verdict.causes[1].evidence.requests == (unknown,)
    assert verdict.unattributed == 1


def test_a_mail_without_a_request_id(story: Story) -> None:
    """It is joined by its recipient."""
    led = story.subscribed(1, "a-1")
    story.mailed(1, "b-2", request_id=None)
    story.opened(1, led, **NO_ROUTE)
    assert causes(story.judge()) == EXPLAINED


def test_mails_of_both_versions(story: Story) -> None:
    """Nobody knows which of two links was opened."""
    led = story.subscribed(1)
    story.mailed(1, "a-1")
    story.mailed(1, "b-2")
    story.opened(1, led, **NO_ROUTE)
    assert causes(story.judge()) == A_SYMPTOM


def test_a_mail_that_came_afterwards(story: Story) -> None:
    """It cannot have led there."""
    led = story.subscribed(1, "a-1")
    story.mailed(1, "b-2", when=4.0)
    story.opened(1, led, **NO_ROUTE)
    assert causes(story.judge()) == A_SYMPTOM


def test_a_subscription_whose_answer_was_lost(story: Story) -> None:
    """It may have been mailed all the same; the mail says by whom."""
    lost = {"status": None, "error": "timeout", "first_byte_ns": None}
    led = story.subscribed(1, None, **lost)
    story.mailed(1, "b-2")
    story.opened(1, led, **NO_ROUTE)
    assert ("status:404", "likely", 1) in causes(story.judge())


def test_a_chain_of_requests(story: Story) -> None:
    """A request that failed handed out nothing: what led to it led to the next one, too."""
    first = story.opened(1, story.subscribed(1), step=2, **NO_ROUTE)
    second = story.opened(1, first, step=3, **NO_ROUTE)
    story.opened(1, second, step=4, **NO_ROUTE)
    verdict = story.judge()
    assert causes(verdict) == [("status:404", "likely", 3)]
    assert f"{second} by s7-000001-1" in (verdict.causes[0].evidence.note or "")


def test_a_chain_that_bites_its_tail(story: Story) -> None:
    """Damaged causes lead nowhere, and do not lead there for ever."""
    story.opened(1, "s7-000001-3", step=2, **NO_ROUTE)
    story.opened(1, "s7-000001-2", step=3, **NO_ROUTE)
    assert causes(story.judge()) == [("status:404", "symptom", 2)]


def test_the_other_version_does_not_know_it_either(story: Story) -> None:
    """A link that B mailed and B does not know is B's mistake, on A as well."""
    for number, replica in ((1, "a-1"), (2, "b-2")):
        story.opened(number, story.subscribed(number), status=404, served_by=replica)
    assert causes(story.judge()) == [("status:404", "symptom", 2)]


def test_a_version_that_serves_it_otherwise(story: Story) -> None:
    """A 404 of a version that serves that endpoint to others is no lack of a route."""
    story.opened(1, story.subscribed(1), **NO_ROUTE)
    story.opened(2, story.subscribed(2))
    story.opened(3, story.subscribed(3), served_by="b-2")
    assert causes(story.judge()) == A_SYMPTOM


IDS = {"arrivals": "s7-{:06}-2", "clicks": "s7-{:06}-2-3", "stays": "s7-u{:06}-9-2"}


@pytest.mark.parametrize("name", IDS.values(), ids=list(IDS))
def test_a_link_with_its_token_in_the_path(story: Story, name: str) -> None:
    """Each user has an endpoint of its own; A serves that step to others, so it lacks no route."""
    for number in range(4):
        mine = {"endpoint": f"GET /confirm/t{number}", "request_id": name.format(number)}
        story.opened(number, story.subscribed(number), **mine, status=404 if number == 3 else 200)
    assert causes(story.judge()) == A_SYMPTOM


def test_links_of_two_kinds(story: Story) -> None:
    """Both versions mail links with tokens, on routes of their own: A serves but its own."""
    for number in range(6):
        kind, replica = ("old", "a-1") if number % 2 else ("new", "b-2")
        led = story.subscribed(number, replica)
        story.opened(number, led, endpoint=f"GET /{kind}/t{number}", served_by=replica)
    for number in (6, 8):
        led = story.subscribed(number)
        story.opened(number, led, endpoint=f"GET /new/t{number}", **NO_ROUTE)
    assert causes(story.judge()) == [("status:404", "likely", 2)]


def test_another_step_is_another_route(story: Story) -> None:
    """That A serves what looks alike in another step says nothing of this one."""
    for number in range(3):
        led = story.subscribed(number)
        story.opened(number, led, endpoint=f"GET /t{number}")
        story.opened(number, led, step=3, endpoint=f"GET /u{number}", status=404)
    assert causes(story.judge()) == [("status:404", "likely", 3)]


def test_a_404_that_was_expected_is_no_service(story: Story) -> None:
    """Who expects a 404 of B has not shown that B serves it; nor has who got one failed."""
    story.opened(1, story.subscribed(1, "a-1"), **NO_ROUTE)
    story.opened(2, story.subscribed(2), served_by="b-2", status=404, expected=(404,))
    verdict = story.judge()
    assert causes(verdict) == A_SYMPTOM
    assert verdict.requests.failed == 1


def test_the_balancer_lacks_no_route(story: Story) -> None:
    """What the balancer answers by itself says nothing of a version."""
    proxy = "hitless; error=http_request_denied"
    story.opened(1, story.subscribed(1), status=501, served_by="a-1", proxy_status=proxy)
    assert causes(story.judge()) == [("balancer:http_request_denied", "certain", 1)]


def test_a_group_is_split(story: Story, tmp_path: Path) -> None:
    """Explained and unexplained 404s are two causes, each with its own requests and count."""
    explained = [story.opened(n, story.subscribed(n), **NO_ROUTE) for n in (1, 3, 5)]
    unknown = [story.opened(n, story.subscribed(n, "a-1"), **NO_ROUTE) for n in (2, 4)]
    verdict = story.judge()
    assert causes(verdict) == [("status:404", "likely", 3), ("status:404", "symptom", 2)]
    assert [list(one.evidence.requests) for one in verdict.causes] == [explained, unknown]
    assert verdict.causes[1].evidence.note is None
    assert verdict.unattributed == 2
    families = {f.name: f for f in text_string_to_metric_families(metrics(verdict).decode())}
    assert [one.value for one in families["hitless_failures"].samples] == [5]
    folder = story.run().write(tmp_path / "run")
    for cause in verdict.causes:
        for request_id in cause.evidence.requests:
            told = explain(folder, request_id)
            assert (told.cause, told.confidence, told.title) == (
                *(cause.cause, cause.confidence, cause.title),
            )


def test_several_lacks_in_one_cause(story: Story) -> None:
    """Each pair of versions and each endpoint is told of, with how often."""
    for number in (1, 2):
        story.opened(number, story.subscribed(number), **NO_ROUTE)
    led = story.subscribed(3, "a-1")
    story.opened(3, led, endpoint="GET /old", status=404, served_by="b-2")
    note = story.judge().causes[0].evidence.note or ""
    assert note.startswith("2 of them: version a answered 404 to GET /subscriptions/confirm, ")
    assert "; 1 of them: version b answered 404 to GET /old, a request that followed" in note
    assert "followed from an answer of version a" in note


class Visit(NamedTuple):
    """A user's visit: who subscribed them, who mailed them, who answered the link, and how."""

    subscribed: str | None
    mailed: str | None
    answered: str
    status: int


def unexplained(visits: Sequence[Visit]) -> set[int]:
    """Which 404s nothing explains: the rule in its plainest words."""
    serve = {visit.answered for visit in visits if visit.status == 200}
    refuse = {visit.answered for visit in visits if visit.status == 404}
    return {
        number
        for number, visit in enumerate(visits)
        if visit.status == 404
        and (
            visit.answered in serve
            or not (
                serve
                or (visit.mailed or visit.subscribed or visit.answered)
                not in refuse | {visit.answered}
            )
        )
    }


VERSIONS = st.sampled_from(["a", "b", None])


@given(
    in_path=st.booleans(),
    visits=st.lists(
        st.builds(
            Visit, VERSIONS, VERSIONS, st.sampled_from("ab"), st.sampled_from([404, 404, 404, 200])
        ),
        max_size=8,
    ),
    randomly=st.randoms(use_true_random=False),
)
def test_unattributed_is_exact(*, in_path: bool, visits: list[Visit], randomly: Random) -> None:
    """Whatever is planted, in whatever order: each 404 is explained exactly if something does.

    Whether the links have their token in the query, or in the path, where it makes an endpoint for
    each user.
    """
    story = Story()
    for number, visit in enumerate(visits):
        led = story.subscribed(number, visit.subscribed and REPLICAS[visit.subscribed])
        if visit.mailed is not None:
            story.mailed(number, REPLICAS[visit.mailed])
        story.opened(
            number,
            led,
            endpoint=f"{make.CONFIRM}/t{number}" if in_path else make.CONFIRM,
            status=visit.status,
            served_by=REPLICAS[visit.answered],
        )
    randomly.shuffle(story.outcomes)
    randomly.shuffle(story.mails)
    verdict = story.judge()
    symptoms = {f"s7-{number:06}-2" for number in unexplained(visits)}
    found = [one for one in verdict.causes if one.confidence == "symptom"]
    assert {name for one in found for name in one.evidence.requests} == symptoms
    assert verdict.unattributed == len(symptoms)
    assert sum(one.count for one in verdict.causes) == verdict.requests.failed
