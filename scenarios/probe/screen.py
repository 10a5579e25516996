"""A report for people: on one screen, as Markdown, and as JUnit XML."""

import shlex
from collections.abc import Iterable
from xml.etree import ElementTree as ET

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from scenarios.probe.meaning import Settings
from scenarios.probe.profile import Profile
from scenarios.probe.report import ProbeReport, keep_alive_setting, router_setting
from scenarios.probe.terms import ROUTERS, Terms
from scenarios.probe.words import rows


def terms_text(terms: Terms) -> str:
    """The terms in one line."""
    if terms.order == "drain-first":
        return (
            f"On {terms.platform} the router stops sending requests first; SIGTERM comes when "
            f"those in flight have ended, and the kill {terms.grace_seconds:g} s later"
        )
    signal, since = "at once", "later"
    if terms.pre_stop_seconds:
        signal = f"after {terms.pre_stop_seconds:g} s"
        since = "after the stop begins" if terms.grace_includes_pre_stop else "after SIGTERM"
    hears = {
        "together": f"routers send {_what_comes(terms)}",
        "stop-first": "routers hear of it after the end",
        "checks-only": "routers have to notice by themselves",
    }[terms.order]
    kill = f"the kill {terms.grace_seconds:g} s {since}"
    return f"On {terms.platform} SIGTERM comes {signal}, and {kill}; {hears}"


def _what_comes(terms: Terms) -> str:
    if not terms.keeps_connections:
        return f"requests for up to {terms.lag_seconds:g} s more (--lag)"
    return (
        f"new connections for up to {terms.lag_seconds:g} s more (--lag), and clients use those "
        "that they have until the server closes them"
    )


_HEADLINES = {
    "lossless": ("LOSES NOTHING", "bold green"),
    "loses": ("LOSES REQUESTS", "bold red"),
    "unknown": ("NOT KNOWN", "bold yellow"),
}


def headline(report: ProbeReport) -> str:
    """The finding in two words."""
    return _HEADLINES[report.verdict][0]


def cure(report: ProbeReport) -> str:
    """With which settings nothing is lost on the platform that is asked about."""
    best = report.settings_of(report.terms.platform)
    if best.impossible is not None:
        saves = _saves(best, reached=report.profile.signal_reaches_server)
        return f"No setting of {best.platform} saves this server: {best.impossible}. {saves}"
    lines = best.lines if report.prediction.lost else ()
    if report.race is not None and report.behind is not None:
        server = keep_alive_setting(report.profile, [report.behind])
        router = router_setting(report.profile, report.behind)
        lines = (*lines, f"{server} (or in {report.behind.name}: {router})")
    return f"Loses nothing with  {'   '.join(lines)}"


def _saves(best: Settings, *, reached: bool) -> str:
    """What saves a server that no setting of the platform does."""
    if not best.behind_router:
        return "What does: a router that takes a replica out, and waits, before it is stopped."
    server = "a server that loses nothing at SIGTERM" if reached else "a signal that reaches it"
    return (
        f"What does: {server}; or a router that chooses a replica for each request (--behind), "
        f"with  {'   '.join(best.behind_router)}"
    )


def print_report(console: Console, report: ProbeReport) -> None:
    """Print it, the findings first."""
    profile = report.profile
    head = Text.assemble(_HEADLINES[report.verdict], "  ", (shlex.join(profile.command), "bold"))
    console.print(head, soft_wrap=False, overflow="ellipsis", no_wrap=True)
    longest = f"requests take up to {report.longest_seconds:g} s (--longest)"
    console.print(_marked(" ", f"{terms_text(report.terms)}; {longest}.", "dim"))
    for loss in report.lost:
        console.print(_marked("✗", loss.why, "red"))
    if report.verdict == "loses":
        console.print(_marked("→", cure(report), "bold"))
    for unknown in report.prediction.unknown:
        console.print(_marked("?", f"Not known: {unknown}", "yellow"))
    for sentence in report.advice:
        console.print(_marked("•", sentence, ""))
    console.print()
    console.print(_seen(profile))
    console.print()
    console.print(_platforms(report))
    for line in _left_out(profile):
        console.print(Text(line, "dim"))


def _marked(mark: str, sentence: str, style: str) -> RenderableType:
    grid = Table.grid(padding=0)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(f"  {mark} ", style), Text(sentence, style))
    return grid


def _seen(profile: Profile) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for _, title, text in rows(profile):
        grid.add_row(title, Text(text))
    about = f"{profile.starts} starts in {profile.seconds:.0f} s"
    if profile.server is not None:
        about = f"{profile.server}; {about}"
    return Group(
        Text(f"What was seen ({about}; @ is seconds after {profile.stop_signal})", "dim"), grid
    )


def _platforms(report: ProbeReport) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for best in report.settings:
        text = "; ".join(best.lines)
        if best.impossible is not None:
            text = f"none: {best.impossible}"
        if best.behind_router:
            text += f"; behind a router for each request: {'; '.join(best.behind_router)}"
        grid.add_row(best.platform, Text(text, "" if best.impossible is None else "yellow"))
    races = keep_alive_text(report)
    if races is not None:
        grid.add_row("behind", Text(races))
    return Group(Text("The least settings that lose nothing", "dim"), grid)


def keep_alive_text(report: ProbeReport) -> str | None:
    """Behind which routers the server closes idle connections too early."""
    if report.profile.keep_alive is None:
        return None
    early = [f"{r.name} ({r.idle_seconds:.0f} s)" for r in ROUTERS if report.keep_alive[r.name]]
    fine = [r.name for r in ROUTERS if not report.keep_alive[r.name]]
    kept = report.profile.keep_alive
    if kept.fate == "open":
        safe = [r.name for r in ROUTERS if r.idle_seconds < kept.seconds]
        return f"it keeps idle connections longer than {', '.join(safe) or 'was watched'}"
    if not early:
        return f"no keep-alive race with {', '.join(fine)}"
    text = f"it closes idle connections before these do: {', '.join(early)}"
    return f"{text}; not before {', '.join(fine)}" if fine else text


def _left_out(profile: Profile) -> Iterable[str]:
    reasons: dict[str, list[str]] = {}
    for left in profile.left_out:
        reasons.setdefault(left.reason, []).append(left.experiment.replace("_", " "))
    for reason, names in reasons.items():
        yield f"Left out: {', '.join(names)}: {reason}"


def markdown(report: ProbeReport) -> str:
    """The same as Markdown, for a pull request."""
    profile = report.profile
    lines = [
        f"### {headline(report)}: `{shlex.join(profile.command)}`",
        "",
        terms_text(report.terms),
    ]
    lines += ["", *(f"- ✗ {loss.why}" for loss in report.lost)]
    lines += [f"- → {cure(report)}"] if report.verdict == "loses" else []
    lines += [f"- {sentence}" for sentence in report.advice]
    lines += ["", "| Question | Seen |", "|---|---|"]
    lines += [f"| {title} | {_cell(text)} |" for _, title, text in rows(profile)]
    lines += ["", "| Platform | Loses nothing with |", "|---|---|"]
    for best in report.settings:
        lines.append(f"| {best.platform} | {_cell(_settings_cell(best))} |")
    lines += ["", *_left_out(profile)]
    return "\n".join(lines).rstrip() + "\n"


def _settings_cell(best: Settings) -> str:
    text = "<br>".join(f"`{line}`" for line in best.lines or best.behind_router)
    if best.impossible is None:
        return text
    why = f"none: {best.impossible}"
    return f"{why}<br>behind a router for each request: {text}" if text else why


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def junit(report: ProbeReport) -> bytes:
    """One test case for each kind of request, one for each experiment that was left out."""
    name = f"hitless probe {shlex.join(report.profile.command)}"
    suite = ET.Element("testsuite", name=name, time=str(report.profile.seconds))
    lost = {loss.kind: loss.why for loss in report.lost}
    for kind in dict.fromkeys((*report.prediction.saved, *lost)):
        case = ET.SubElement(suite, "testcase", classname=report.terms.platform, name=kind)
        if kind in lost:
            failure = ET.SubElement(case, "failure", message=lost[kind])
            failure.text = f"{lost[kind]}\n{cure(report)}"
    for left in report.profile.left_out:
        case = ET.SubElement(suite, "testcase", classname="left out", name=left.experiment)
        ET.SubElement(case, "skipped", message=left.reason)
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    suite.set("skipped", str(len(suite.findall("testcase/skipped"))))
    root = ET.Element("testsuites")
    root.append(suite)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))
