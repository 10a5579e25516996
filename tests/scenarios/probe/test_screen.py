"""What people and machines are shown."""

import io
from xml.etree import ElementTree as ET

import msgspec
import pytest
from rich.console import Console

from scenarios.probe.profile import Delivery, Exit, KeepAlive, LeftOut, Profile
from scenarios.probe.report import ProbeReport, judge
from scenarios.probe.screen import cure, junit, markdown, print_report, terms_text
from scenarios.probe.terms import PLATFORMS, router_of, terms_of, terms_with
from scenarios.probe.words import TITLES, rows
from tests.support.probe import profile

CUTS = Delivery(fate="cut", seconds=0.0, ending="FIN", exit=Exit(-15, 0.0))
LEFT = (LeftOut("websocket", "none at /ws: --websocket PATH"),)
BAD = profile(in_flight=CUTS, left_out=LEFT)


def shown(server: Profile, platform: str = "kubernetes", width: int = 80) -> str:
    text = io.StringIO()
    print_report(Console(file=text, width=width), judge(server, terms_of(platform)))
    return text.getvalue()


def test_the_findings_come_first() -> None:
    """The first line is the verdict, the next ones say why and what to do."""
    lines = shown(BAD).splitlines()
    assert lines[0].startswith("LOSES REQUESTS  server")
    assert "✗ it cuts requests that are in flight at SIGTERM" in shown(BAD)
    assert "No setting of kubernetes saves this server" in " ".join(lines[:8])
    assert "(--behind), with lifecycle.preStop.sleep.seconds: 6" in " ".join(shown(BAD).split())
    assert shown(profile()).startswith("LOSES NOTHING")


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_terms_are_told_in_one_sentence(platform: str) -> None:
    """When SIGTERM comes, when the kill does, and what routers know by then."""
    text = terms_text(terms_of(platform))
    assert text.startswith(f"On {platform} ")
    assert "SIGTERM comes" in text
    assert f"the kill {terms_of(platform).grace_seconds:g} s" in text
    assert "router" in text


def test_a_wait_before_the_signal_is_told_with_what_the_kill_counts_from() -> None:
    """Kubernetes counts its grace period from the beginning of the stop, Nomad from SIGTERM."""
    kubernetes = terms_text(terms_with("kubernetes", pre_stop=5))
    assert "SIGTERM comes after 5 s, and the kill 30 s after the stop begins" in kubernetes
    nomad = terms_text(terms_with("nomad", pre_stop=5))
    assert "SIGTERM comes after 5 s, and the kill 5 s after SIGTERM" in nomad


def test_a_keep_alive_race_is_cured_by_the_keep_alive() -> None:
    """Where only the race behind a router loses requests, the server's timeout or its own helps."""
    server = profile(
        keep_alive=KeepAlive(fate="closed", seconds=5.0, ending="FIN"), server="uvicorn 0.54.0"
    )
    report = judge(server, terms_of("ecs"), behind=router_of("alb"))
    assert cure(report) == (
        "Loses nothing with  --timeout-keep-alive 65 (or in alb: idle_timeout.timeout_seconds=4)"
    )
    both = judge(
        msgspec.structs.replace(server, in_flight=CUTS),
        terms_of("kubernetes"),
        behind=router_of("alb"),
    )
    assert "preStop" in cure(both)
    assert "--timeout-keep-alive 65" in cure(both)


@pytest.mark.parametrize("width", [60, 80, 160])
def test_it_fits_the_terminal(width: int) -> None:
    """No line is wider than the terminal, and at 80 columns all of it is one screen."""
    lines = shown(BAD, width=width).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    assert width < 80 or len(lines) <= 50


def test_each_platform_has_its_settings() -> None:
    """All platforms are named, those that nothing saves with the reason."""
    text = shown(BAD)
    assert all(platform in text for platform in PLATFORMS)
    assert "none: it ends the old one before the new one runs" in " ".join(text.split())


def test_what_was_left_out_is_named() -> None:
    """An experiment that was not made is named with what it would take."""
    assert "Left out: websocket: none at /ws: --websocket PATH" in shown(BAD)


def test_markdown_has_every_finding() -> None:
    """The Markdown says the same, as a list and two tables."""
    text = markdown(judge(BAD, terms_of("kubernetes")))
    assert text.startswith("### LOSES REQUESTS: `server`")
    for _, title, finding in rows(BAD):
        assert f"| {title} | {finding} |" in text


def test_junit_fails_what_is_lost_and_skips_what_was_left_out() -> None:
    """One case for each kind of request: lost ones fail, with the settings that would save them."""
    suite = ET.fromstring(junit(judge(BAD, terms_of("kubernetes"))))[0]  # noqa: S314 - our own
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    skipped = [case.get("name") for case in suite if case.find("skipped") is not None]
    assert (failed, skipped) == (["in_flight"], ["websocket"])
    assert (suite.get("failures"), suite.get("skipped")) == ("1", "1")
    assert "preStop" in "".join(suite.itertext())


def test_json_holds_everything() -> None:
    """What is printed as JSON is read back as the same report."""
    report = judge(BAD, terms_of("nomad"))
    assert msgspec.json.decode(msgspec.json.encode(report), type=ProbeReport) == report


def test_every_finding_has_words() -> None:
    """Each finding of a full profile is named in the order of the titles."""
    names = [name for name, _, _ in rows(BAD)]
    assert names == [name for name in TITLES if name in names]
    assert {"in_flight", "health", "late_request", "connection"} <= set(names)
