"""From what was seen to what is lost, and to the settings with which nothing is."""

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.personas import PERSONAS
from orchestrator.termination import longest
from scenarios.probe.losses import keep_alive_race
from scenarios.probe.meaning import predict, settings
from scenarios.probe.profile import (
    Delivery,
    Exit,
    Idle,
    KeepAlive,
    LateResponses,
    LeftOut,
    NewConnections,
    Profile,
    Queue,
    SecondSignal,
    Signalled,
    Startup,
    Upload,
)
from scenarios.probe.report import advice, judge, router_setting
from scenarios.probe.terms import PLATFORMS, ROUTERS, Terms, behind_router, router_of, terms_of
from tests.support.probe import GONE, profile

KUBERNETES = terms_of("kubernetes")
ENDS = st.builds(Exit, st.sampled_from([None, 0, -15]), st.floats(0.0, 15.0))


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    """Servers of every kind."""
    fate = draw(st.sampled_from(["delivered", "error", "cut", "silent"]))
    late = draw(st.sampled_from(["refused", "served", "unavailable", "closed", "reset", "silent"]))
    dropped = draw(st.integers(0, 6))
    reach = draw(st.sampled_from(["direct", "forwarded", "orphaned"]))
    return profile(
        signalled=Signalled(fate=reach, started="sh", listening=("server",), count=2),
        in_flight=draw(
            st.none()
            | st.builds(Delivery, fate=st.just(fate), seconds=st.floats(0.0, 4.0), exit=ENDS)
        ),
        long_request=draw(
            st.none()
            | st.builds(
                Delivery,
                fate=st.sampled_from(["cut", "silent"]),
                seconds=st.floats(0.0, 15.0),
                exit=ENDS,
            )
        ),
        new_connections=NewConnections(
            tries=(LateResponses(at=0.5, fate=late), LateResponses(at=2.0, fate=late)),
            health=LateResponses(at=1.0, fate=late),
            idle=LateResponses(at=0.7, fate=late) if draw(st.booleans()) else None,
            idle_closed=draw(st.booleans()),
            exit=GONE,
        ),
        upload=draw(
            st.none()
            | st.builds(
                Upload,
                fate=st.sampled_from(["served", "cut", "silent", "early"]),
                seconds=st.floats(0.0, 15.0),
                exit=ENDS,
            )
        ),
        idle=Idle(fate="closed", seconds=0.1, exit=draw(ENDS)),
        queue=Queue(
            sent=6,
            waiting=6,
            served=6 - dropped,
            late=0,
            reset=dropped,
            closed=0,
            silent=0,
            exit=GONE,
        ),
    )


TERMS = st.sampled_from(PLATFORMS).map(terms_of)
TERMS |= TERMS.map(behind_router)
LONGEST = st.integers(0, 600).map(lambda tenths: tenths / 10)


@given(server=profiles(), terms=TERMS, longest=LONGEST)
def test_the_settings_lose_nothing(server: Profile, terms: Terms, longest: float) -> None:
    """With the settings that are advised, nothing is predicted to be lost."""
    best = settings(server, terms, longest_seconds=longest)
    if best.impossible is not None:
        assert best.pre_stop_seconds is None
        return
    assert best.pre_stop_seconds is not None
    assert best.grace_seconds is not None
    advised = msgspec.structs.replace(
        terms, pre_stop_seconds=best.pre_stop_seconds, grace_seconds=best.grace_seconds
    )
    assert predict(server, advised, longest_seconds=longest).lost == ()


@given(server=profiles(), longest=LONGEST, more=st.floats(0.0, 60.0))
def test_waiting_longer_never_loses_more(server: Profile, longest: float, more: float) -> None:
    """A longer wait before the signal, with as much more until the kill, loses no further kind."""
    patient = msgspec.structs.replace(
        KUBERNETES,
        pre_stop_seconds=more,
        grace_seconds=KUBERNETES.grace_seconds + more,
    )
    before = predict(server, KUBERNETES, longest_seconds=longest)
    after = predict(server, patient, longest_seconds=longest)
    assert {loss.kind for loss in after.lost} <= {loss.kind for loss in before.lost}


@given(server=profiles(), longest=LONGEST)
def test_a_router_that_drains_first_saves_every_server(server: Profile, longest: float) -> None:
    """Whoever is stopped only when nothing is in flight loses nothing, whatever it does then."""
    assert predict(server, terms_of("ecs"), longest_seconds=longest).lossless


@pytest.mark.parametrize("platform", ["compose", "systemd"])
def test_nothing_saves_a_server_that_stops_before_the_next_one_starts(platform: str) -> None:
    """Where the old one ends first, there is a gap, however good the server is."""
    terms = terms_of(platform)
    assert not predict(profile(), terms, longest_seconds=5.0).lossless
    assert settings(profile(), terms, longest_seconds=5.0).impossible is not None


def test_a_perfect_server_needs_no_setting() -> None:
    """A server that serves on after the signal needs no wait, even as the platform comes."""
    assert predict(profile(), KUBERNETES, longest_seconds=5.0).lossless
    assert settings(profile(), KUBERNETES, longest_seconds=5.0).pre_stop_seconds == 0


REFUSES = NewConnections(
    tries=(LateResponses(at=0.5, fate="refused"), LateResponses(at=2.0, fate="refused")),
    health=LateResponses(at=1.0, fate="refused"),
    idle=LateResponses(at=0.7, fate="closed"),
    idle_closed=True,
    exit=GONE,
)


def test_a_server_that_refuses_needs_the_routers_lag() -> None:
    """A server that finishes what it has, and refuses more, is saved by waiting for the routers."""
    server = profile(new_connections=REFUSES)
    kinds = {loss.kind for loss in predict(server, KUBERNETES, longest_seconds=5.0).lost}
    assert kinds == {"new_connections", "kept_connections"}
    best = settings(server, KUBERNETES, longest_seconds=5.0)
    assert best.pre_stop_seconds == KUBERNETES.lag_seconds
    assert best.lines[0] == "lifecycle.preStop.sleep.seconds: 1"


CUTS = Delivery(fate="cut", seconds=0.0, ending="FIN", exit=Exit(-15, 0.0))


def test_a_server_that_cuts_needs_the_longest_request_on_top() -> None:
    """Where a router chooses for each request, a server that cuts is saved by waiting for all."""
    server = profile(new_connections=REFUSES, in_flight=CUTS)
    best = settings(server, behind_router(KUBERNETES), longest_seconds=7.0)
    assert best.pre_stop_seconds == KUBERNETES.lag_seconds + 7.0


KEPT_AND_CUT = {
    "it cuts requests that are in flight": {"in_flight": CUTS},
    "it cuts uploads that are half there": {
        "upload": Upload(fate="cut", seconds=0.0, exit=Exit(-15, 0.0))
    },
    "it cuts requests that take longer than 3 s": {
        "long_request": Delivery(fate="cut", seconds=3.0, exit=Exit(0, 3.1))
    },
    "it accepts and resets requests on kept connections": {
        "new_connections": msgspec.structs.replace(
            REFUSES, idle=LateResponses(at=0.3, fate="reset"), idle_closed=False
        )
    },
    "it serves kept connections until it is killed": {
        "idle": Idle(fate="open", exit=Exit(None, 15.0)),
        "new_connections": msgspec.structs.replace(
            REFUSES, idle=LateResponses(at=0.3, fate="served", status=200), idle_closed=False
        ),
    },
    "it leaves connections open after its late answers": {
        "in_flight": Delivery(
            fate="delivered", seconds=2.5, connection="keep-alive", exit=Exit(0, 8.5)
        ),
        "new_connections": REFUSES,
    },
    "the signal ends sh": {
        "signalled": Signalled(fate="orphaned", started="sh", listening=("server",), count=2)
    },
}


@pytest.mark.parametrize("why", KEPT_AND_CUT)
@pytest.mark.parametrize("platform", ["kubernetes", "swarm", "ecs", "nomad"])
def test_no_wait_saves_who_cuts_requests_on_kept_connections(why: str, platform: str) -> None:
    """Where clients keep their connections until the signal, requests meet it after any wait."""
    server, terms = profile(**KEPT_AND_CUT[why]), terms_of(platform)
    patient = msgspec.structs.replace(terms, pre_stop_seconds=60.0, grace_seconds=300.0)
    kept = platform in ("kubernetes", "swarm")
    lost = predict(server, patient, longest_seconds=5.0).lost
    assert any(why in loss.why for loss in lost) is kept
    best = settings(server, terms, longest_seconds=5.0)
    assert (why in (best.impossible or "")) is kept
    if platform == "kubernetes":
        assert best.behind_router[0].startswith("lifecycle.preStop.sleep.seconds: ")


@pytest.mark.parametrize("why", KEPT_AND_CUT)
def test_behind_a_named_router_no_client_keeps_a_connection_to_a_replica(why: str) -> None:
    """A router that chooses a replica for each request is told, and then a wait saves again."""
    report = judge(profile(**KEPT_AND_CUT[why]), KUBERNETES, behind=router_of("envoy"))
    best = report.settings_of("kubernetes")
    assert best.impossible is None
    alone = judge(profile(**KEPT_AND_CUT[why]), KUBERNETES).settings_of("kubernetes")
    assert alone.behind_router == best.lines


def test_a_server_that_closes_each_connection_keeps_none() -> None:
    """Nobody has a connection to such a server that a request could come on after the wait."""
    server = profile(
        in_flight=CUTS,
        new_connections=msgspec.structs.replace(REFUSES, idle=None, idle_closed=False),
        idle=Idle(fate="none", exit=GONE),
    )
    best = settings(server, KUBERNETES, longest_seconds=5.0)
    assert best.pre_stop_seconds == KUBERNETES.lag_seconds + 5.0


@pytest.mark.parametrize(
    ("connection", "end", "next_says", "core_wait", "left_open"),
    [
        ("keep-alive", Exit(0, 8.5), None, 0.0, True),
        ("keep-alive", Exit(None, 15.0), None, 0.0, True),
        (None, Exit(0, 8.5), None, 0.0, True),
        ("close", Exit(0, 8.5), None, 0.0, False),
        ("keep-alive", Exit(0, 3.0), None, 0.0, False),
        ("keep-alive", Exit(0, 8.5), "close", 0.0, False),
        ("keep-alive", Exit(0, 5.0), None, 2.0, False),
    ],
)
def test_a_connection_that_outlives_its_late_answer_is_used_again(
    *, connection: str | None, end: Exit, next_says: str | None, core_wait: float, left_open: bool
) -> None:
    """A client goes on using it, unless an answer says `Connection: close` or the server ends."""
    served = LateResponses(at=0.3, fate="served", status=200, connection=next_says)
    late = msgspec.structs.replace(
        REFUSES,
        idle=served if next_says else REFUSES.idle,
        idle_closed=next_says is None,
    )
    server = profile(
        in_flight=Delivery(fate="delivered", seconds=2.5, connection=connection, exit=end),
        new_connections=late,
        core_wait={"in_flight": core_wait},
    )
    waits = msgspec.structs.replace(KUBERNETES, pre_stop_seconds=5.0, grace_seconds=60.0)
    lost = predict(server, waits, longest_seconds=5.0).lost
    assert ("killed" in {loss.kind for loss in lost}) is left_open
    assert predict(server, behind_router(waits), longest_seconds=5.0).lossless


def test_the_moment_of_closing_is_told_and_is_no_loss() -> None:
    """A server that finishes what it has and closes idle connections is saved by a wait.

    A request that is on its way at that moment depends on its client, and the advice says so.
    """
    server = profile(new_connections=REFUSES)
    waits = msgspec.structs.replace(KUBERNETES, pre_stop_seconds=1.0)
    report = judge(server, waits)
    assert report.verdict == "lossless"
    assert any("on its way at that moment" in sentence for sentence in report.advice)
    cuts = profile(new_connections=REFUSES, in_flight=CUTS)
    others = ((server, terms_of("nomad")), (profile(), KUBERNETES), (cuts, KUBERNETES))
    for other in (judge(one, terms) for one, terms in others):
        assert not any("on its way at that moment" in sentence for sentence in other.advice)


def test_a_limit_of_its_own_counts() -> None:
    """A server that works on for three seconds loses what takes longer, and nothing else."""
    server = profile(long_request=Delivery(fate="cut", seconds=3.0, exit=Exit(0, 3.1)))
    assert predict(server, KUBERNETES, longest_seconds=2.0).lossless
    assert not predict(server, KUBERNETES, longest_seconds=5.0).lossless


def test_a_kill_before_the_end_is_a_loss() -> None:
    """What is still in flight when the platform kills is lost, however patient the server is."""
    nomad = msgspec.structs.replace(terms_of("nomad"), pre_stop_seconds=5.0)
    assert predict(profile(), nomad, longest_seconds=4.0).lossless
    lost = predict(profile(), nomad, longest_seconds=9.0).lost
    assert [loss.kind for loss in lost] == ["killed"]


def test_a_wait_that_the_platform_does_not_have() -> None:
    """Where nobody waits before the signal, the answer says so and names the reason."""
    swarm = behind_router(terms_of("swarm"))
    best = settings(profile(in_flight=CUTS), swarm, longest_seconds=5.0)
    assert best.impossible is not None
    assert "swarm" in best.impossible


def test_a_wrapper_that_dies_alone_loses_everything() -> None:
    """Behind a shell that dies of the signal, the server is killed with what is in flight."""
    orphan = Signalled(fate="orphaned", started="sh", listening=("uvicorn",), count=2, left=1)
    kinds = {
        loss.kind for loss in predict(profile(signalled=orphan), KUBERNETES, longest_seconds=5).lost
    }
    assert kinds == {"new_connections", "in_flight"}
    assert "exec" in advice(profile(signalled=orphan))[0]


@pytest.mark.parametrize("title", ["npm start", "npm exec node server.js", "yarn"])
def test_a_runner_of_scripts_is_left_out(title: str) -> None:
    """`exec` helps in a shell; who starts a server by npm starts it by itself instead."""
    orphan = Signalled(fate="orphaned", started=title, listening=("server.js",), count=3)
    (sentence,) = advice(profile(signalled=orphan))[:1]
    assert sentence.endswith(f"start server.js itself instead of by {title.partition(' ')[0]}.")
    assert "exec`" not in sentence


def test_systemd_signals_every_process() -> None:
    """A wrapper does no harm where the signal goes to all processes."""
    orphan = Signalled(fate="orphaned", started="sh", listening=("uvicorn",), count=2, left=1)
    kinds = {
        loss.kind
        for loss in predict(profile(signalled=orphan), terms_of("systemd"), longest_seconds=5).lost
    }
    assert "in_flight" not in kinds


@pytest.mark.parametrize("router", ROUTERS, ids=lambda router: router.name)
def test_the_keep_alive_race(router: Any) -> None:
    """A server that closes idle connections before its router does loses requests, else not."""
    early = profile(keep_alive=KeepAlive(fate="closed", seconds=router.idle_seconds - 1))
    late = profile(keep_alive=KeepAlive(fate="closed", seconds=router.idle_seconds + 5))
    never = profile(keep_alive=KeepAlive(fate="none", seconds=0.0))
    assert keep_alive_race(early, router) is not None
    assert keep_alive_race(late, router) is None
    assert keep_alive_race(never, router) is None


def test_behind_a_router_the_race_counts() -> None:
    """With `--behind`, a keep-alive race makes the verdict; without, it is advice."""
    server = profile(keep_alive=KeepAlive(fate="closed", seconds=5.0), server="uvicorn 0.54.0")
    assert judge(server, KUBERNETES).verdict == "lossless"
    assert judge(server, KUBERNETES, behind=router_of("alb")).verdict == "loses"
    assert any("--timeout-keep-alive 125" in sentence for sentence in advice(server))
    behind_alb = advice(server, router_of("alb"))
    assert any("--timeout-keep-alive 65" in sentence for sentence in behind_alb)


@pytest.mark.parametrize("router", ROUTERS, ids=lambda router: router.name)
@given(kept=st.floats(2.0, 3000.0), announced=st.none() | st.integers(2, 3000).map(float))
def test_a_router_that_gives_up_first_has_no_race(
    router: Any, kept: float, announced: float | None
) -> None:
    """With the setting that is advised for a router, the server is never the first to close."""
    server = profile(keep_alive=KeepAlive(fate="closed", seconds=kept, announced=announced))
    said = router_setting(server, router)
    seconds = float(re.findall(r"\d+", said)[0])
    assert 1 <= seconds < kept
    assert "{" not in said.replace("{idle_timeout", "")


def test_what_is_not_known_is_not_called_lossless() -> None:
    """Without a slow request nobody knows what becomes of one, and the verdict says so."""
    reason = LeftOut("in_flight", "no slow path is known: --slow PATH")
    report = judge(profile(in_flight=None, left_out=(reason,)), KUBERNETES)
    assert report.verdict == "unknown"
    (unknown,) = report.prediction.unknown
    assert unknown == f"whether it finishes requests in flight: {reason.reason}"


@pytest.mark.parametrize("fate", ["refused", "reset", "silent"])
def test_a_router_that_repeats_saves_what_was_refused(fate: str) -> None:
    """Whoever is refused is sent elsewhere; whoever was accepted may have been heard."""
    late = profile().new_connections
    assert late is not None
    tries = tuple(LateResponses(at=at, fate=fate) for at in (0.5, 2.0))
    server = profile(new_connections=msgspec.structs.replace(late, tries=tries))
    repeats = msgspec.structs.replace(KUBERNETES, retry=True)
    for terms, saved in ((KUBERNETES, False), (repeats, fate == "refused")):
        lost = predict(server, terms, longest_seconds=1.0).lost
        assert ("new_connections" not in {loss.kind for loss in lost}) is saved


def test_what_is_not_known_is_not_relied_on() -> None:
    """Settings that lose nothing then wait until every request has ended by itself."""
    unknown = profile(in_flight=None, long_request=None)
    cuts = profile(in_flight=Delivery(fate="cut", seconds=0.1, ending="FIN", exit=Exit(-15, 0.2)))
    for server in (unknown, cuts):
        advised = settings(server, behind_router(KUBERNETES), longest_seconds=5.0)
        assert advised.pre_stop_seconds == KUBERNETES.lag_seconds + 5.0


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"idle": Idle(fate="open", exit=Exit(None, 15.0))}, "even when idle"),
        (
            {"in_flight": Delivery(fate="cut", seconds=0.1, exit=Exit(0, 0.2))},
            "exit status is 0 although",
        ),
        (
            {"second_signal": SecondSignal(effect="cut", seconds=1.6, exit=GONE)},
            "second stop signal",
        ),
        (
            {"startup": Startup(listen_seconds=0.1, answer_seconds=3.0, errors=("503",))},
            "readiness",
        ),
    ],
)
def test_advice(changes: dict[str, Any], word: str) -> None:
    """What hurts is said; of a server that does none of it, nothing is."""
    assert any(word in sentence for sentence in advice(profile(**changes)))
    assert not any(word in sentence for sentence in advice(profile()))


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_terms_are_those_of_a_run(platform: str) -> None:
    """A probe judges by the same defaults with which a run lets replicas leave."""
    terms, persona = terms_of(platform), PERSONAS[platform].termination
    assert terms.order == persona.order
    assert terms.lag_seconds == longest(persona.deregistration_lag_seconds)
    assert terms.pre_stop_seconds == persona.pre_stop_seconds
    assert terms.grace_seconds == persona.grace_seconds
    assert terms.retry == PERSONAS[platform].handling.retry
    assert terms.grace_includes_pre_stop == persona.grace_includes_pre_stop
    assert terms.keeps_connections is not persona.close_idle
