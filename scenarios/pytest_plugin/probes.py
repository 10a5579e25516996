"""What a test can ask of one server: how it stops, and what that loses on a platform."""

import asyncio
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from scenarios.probe.discovery import Asked
from scenarios.probe.meaning import Settings
from scenarios.probe.probing import WATCH_SECONDS, probe
from scenarios.probe.profile import Profile
from scenarios.probe.report import LONGEST_SECONDS, ProbeReport, judge
from scenarios.probe.server import Target
from scenarios.probe.terms import Terms, router_of, terms_with
from scenarios.probe.words import rows


class Probe:
    """What was found out about a server.

    Attributes:
        profile: all of it.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile

    @property
    def completes_in_flight(self) -> bool:
        """Whether a request in flight at the stop is answered whole.

        Raises:
            ValueError: nobody knows, for want of a slow path; the message says what to give.
        """
        return self.profile.completes_in_flight

    @property
    def signal_reaches_server(self) -> bool:
        """Whether the process that listens hears of the stop."""
        return self.profile.signal_reaches_server

    def lost(
        self,
        persona: str = "kubernetes",
        *,
        pre_stop: float | None = None,
        grace: float | None = None,
        lag: float | None = None,
        longest: float = LONGEST_SECONDS,
        behind: str | None = None,
    ) -> list[str]:
        """What a rolling update there loses, a sentence each; empty: nothing.

        Args:
            persona: the platform.
            pre_stop: the seconds before the signal, as they are set; absent: the platform's own.
            grace: the seconds until the kill, as they are set; absent: the platform's own.
            lag: the seconds until no router sends to it any more; absent: the platform's own.
            longest: how long a request may take, in seconds.
            behind: the router in front, such as `nginx`, which chooses a replica for each request;
                absent: the platform's own.

        Raises:
            UsageError: there is no such platform or router, or it has no such setting.
        """
        terms = terms_with(persona, pre_stop=pre_stop, grace=grace, lag=lag)
        report = self._judged(terms, longest, behind)
        return [loss.why for loss in report.lost]

    def settings(
        self,
        persona: str = "kubernetes",
        *,
        longest: float = LONGEST_SECONDS,
        behind: str | None = None,
    ) -> Settings:
        """The least settings there with which nothing is lost.

        Raises:
            UsageError: there is no such platform or router.
        """
        return self._judged(terms_with(persona), longest, behind).settings_of(persona)

    def _judged(self, terms: Terms, longest: float, behind: str | None) -> ProbeReport:
        router = None if behind is None else router_of(behind)
        return judge(self.profile, terms, behind=router, longest_seconds=longest)

    def __repr__(self) -> str:
        """What decides: pytest shows as much of a value below a failed assertion."""
        told = {name: text for name, _, text in rows(self.profile)}
        decides = [told[name] for name in ("signalled", "in_flight") if name in told]
        return f"<Probe: {'; '.join(decides)}>"


class Hitless:
    """What the fixture `hitless` gives a test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def probe(
        self,
        command: str | Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | str | None = None,
        watch_seconds: float = WATCH_SECONDS,
        experiments: Sequence[str] | None = None,
        **paths: str,
    ) -> Probe:
        """Find out how a server stops.

        Args:
            command: what starts it, with {host} and {port} in it.
            env: variables on top of this process's own.
            cwd: its working directory; absent: the test's folder.
            watch_seconds: how long each experiment is watched at most.
            experiments: the names of those that are wanted, such as `in_flight`; absent: all.
            paths: what it can be asked: `get`, `health`, `slow`, `upload`, `stream`, `websocket`.

        Raises:
            DidNotStart: it did not become a server that answers.
            UsageError: a path does not do what it is given for.
        """
        words = shlex.split(command) if isinstance(command, str) else command
        target = Target(
            command=tuple(words),
            env=dict(env or {}),
            cwd=Path(cwd) if cwd is not None else self._folder,
        )
        asked = msgspec.convert(paths, Asked)
        return Probe(
            asyncio.run(probe(target, asked, watch_seconds=watch_seconds, experiments=experiments))
        )
