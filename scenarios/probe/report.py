"""PURE: the whole answer: the profile, what it means on each platform, and what to do about it."""

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from scenarios.probe.losses import Loss, keep_alive_race
from scenarios.probe.meaning import (
    Prediction,
    Settings,
    keeps_connections,
    predict,
    retried_methods,
    settings,
)
from scenarios.probe.profile import Profile
from scenarios.probe.terms import PLATFORMS, ROUTERS, Router, Terms, behind_router, terms_of

LONGEST_SECONDS = 5.0
_AN_HOUR = 3600.0

_KEEP_ALIVE: Mapping[str, str] = {
    "uvicorn": "--timeout-keep-alive {seconds}",
    "gunicorn": "--keep-alive {seconds}",
    "hypercorn": "--keep-alive {seconds}",
    "waitress": "--channel-timeout={seconds}",
    "aiohttp": "web.run_app(…, keepalive_timeout={seconds})",
    "sanic": "app.config.KEEP_ALIVE_TIMEOUT = {seconds}",
    "node": "server.keepAliveTimeout = {seconds}_000",
}
"""How each server is told to keep idle connections longer."""


class ProbeReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a probe found, and what it means.

    Attributes:
        schema: the version of this format.
        verdict: `lossless`; `loses`; `unknown`: nothing is known to be lost, but what decides that
            was left out.
        terms: on what terms the server is judged.
        behind: the router that it is judged behind; None: no keep-alive race counts.
        longest_seconds: how long a request may take.
        profile: what was seen.
        prediction: what a rolling update loses on these terms.
        race: the keep-alive race behind that router, if there is one.
        settings: for each platform, the least settings with which nothing is lost.
        keep_alive: for each router, the keep-alive race behind it, if there is one.
        advice: what to do besides, one sentence each.
    """

    schema: int = 1
    verdict: Literal["lossless", "loses", "unknown"]
    terms: Terms
    behind: Router | None
    longest_seconds: float
    profile: Profile
    prediction: Prediction
    race: Loss | None
    settings: tuple[Settings, ...]
    keep_alive: Mapping[str, str | None]
    advice: tuple[str, ...]

    @property
    def lost(self) -> tuple[Loss, ...]:
        """All that is lost."""
        return (*self.prediction.lost, *([self.race] if self.race is not None else []))

    def settings_of(self, platform: str) -> Settings:
        """The settings on a platform."""
        return next(one for one in self.settings if one.platform == platform)


def judge(
    profile: Profile,
    terms: Terms,
    *,
    behind: Router | None = None,
    longest_seconds: float = LONGEST_SECONDS,
) -> ProbeReport:
    """Say what a profile means; a router that is named chooses a replica for each request."""
    if behind is not None:
        terms = behind_router(terms)
    others = [terms if name == terms.platform else terms_of(name) for name in PLATFORMS]
    everywhere = [
        settings(
            profile,
            one if behind is None else behind_router(one),
            longest_seconds=longest_seconds,
        )
        for one in others
    ]
    races = {router.name: keep_alive_race(profile, router) for router in ROUTERS}
    prediction = predict(profile, terms, longest_seconds=longest_seconds)
    race = None if behind is None else races[behind.name]
    verdict: Literal["lossless", "loses", "unknown"] = "lossless"
    if prediction.lost or race is not None:
        verdict = "loses"
    elif prediction.unknown:
        verdict = "unknown"
    return ProbeReport(
        verdict=verdict,
        terms=terms,
        behind=behind,
        longest_seconds=longest_seconds,
        profile=profile,
        prediction=prediction,
        race=race,
        settings=tuple(everywhere),
        keep_alive={name: race.why if race else None for name, race in races.items()},
        advice=(
            *advice(profile, behind),
            *_about_kept_connections(profile, terms, longest_seconds),
        ),
    )


def advice(profile: Profile, behind: Router | None = None) -> list[str]:
    """What to do, or to know, on any platform; behind any router, if none is named."""
    wrapper = _about_the_wrapper(profile)
    if wrapper:
        # What else was seen is of a server that never heard of the stop.
        return [*wrapper, *_about_keep_alive(profile, behind), *_about_the_start(profile)]
    said = [
        *_about_the_end(profile),
        *_about_connections(profile),
        *_about_keep_alive(profile, behind),
        *_about_the_start(profile),
    ]
    if methods := retried_methods(profile):
        said.append(f"A router may repeat {', and '.join(methods)}; never a POST that it has sent.")
    return said


def _about_the_wrapper(profile: Profile) -> list[str]:
    signalled = profile.signalled
    if signalled is None or signalled.reaches_server:
        return []
    server = " and ".join(signalled.listening) or "the server"
    # npm writes what it runs over its own arguments: `npm start`, `npm exec CMD`.
    program = signalled.started.partition(" ")[0]
    if program in ("npm", "npx", "pnpm", "yarn"):
        cure = f"start {server} itself instead of by {program}"
    else:
        cure = f"write `exec` before the command that {signalled.started} runs"
    if signalled.fate == "orphaned":
        what = f"dies of the signal and leaves {server} running"
    else:
        what = f"keeps the signal from {server}"
    return [f"{signalled.started} {what}: {cure}."]


def _about_the_end(profile: Profile) -> list[str]:
    said = []
    if profile.idle is not None and profile.idle.exit.status is None:
        said.append(
            f"It does not end within {profile.idle.exit.seconds:.0f} s even when idle: each stop "
            "lasts the whole grace period."
        )
    if profile.exit_is_honest is False:
        said.append("Its exit status is 0 although it cut requests: the status tells nothing.")
    if profile.websocket is not None and profile.websocket.fate == "open":
        said.append(
            "It does not close WebSockets, and one of them holds up its end until the kill."
        )
    elif profile.websocket is not None and profile.websocket.code == 1006:  # noqa: PLR2004 - RFC 6455
        said.append("WebSockets end without a close frame: clients see an error (1006).")
    second = profile.second_signal
    first = profile.in_flight
    patient = first is not None and first.fate == "delivered"
    if patient and second is not None and second.effect == "cut":
        said.append("A second stop signal cuts what is in flight: send one, and wait.")
    return said


def _about_connections(profile: Profile) -> list[str]:
    said = []
    first, late = profile.in_flight, profile.new_connections
    if first is not None and first.fate == "delivered" and first.connection != "close":
        said.append(
            "Its last answers do not say `Connection: close`: a router may send the next request "
            "on a connection that is about to end."
        )
    if late is not None and any(one.fate in ("silent", "reset") for one in late.tries):
        said.append(
            "Its port accepts connections after the signal and does not serve them: a check that "
            "only connects says that it is up."
        )
    queue = profile.queue
    if queue is not None and queue.reset + queue.closed + queue.silent:
        said.append("A busy worker leaves others waiting in the accept queue, which a stop drops.")
    return said


def _about_kept_connections(profile: Profile, terms: Terms, longest_seconds: float) -> list[str]:
    """The moment that no setting takes away: a connection is closed while a request comes on it."""
    late = profile.new_connections
    if late is None or not late.idle_closed or not keeps_connections(profile, terms):
        return []
    if settings(profile, terms, longest_seconds=longest_seconds).impossible is not None:
        return []  # more than that is lost
    sentence = (
        "Clients keep their connections until it closes them at the stop: a request that is on its "
        "way at that moment fails, whatever the wait, unless its client repeats it."
    )
    return [sentence]


def _about_keep_alive(profile: Profile, behind: Router | None) -> list[str]:
    # Envoy's hour is lowered more easily than a server's timeout is raised above it.
    usual = [router for router in ROUTERS if router.idle_seconds < _AN_HOUR]
    routers = usual if behind is None else [behind]
    early = [router for router in routers if keep_alive_race(profile, router)]
    if not early:
        return []
    setting, seconds = keep_alive_setting(profile, early), _shorter_seconds(profile)
    other = f"have the router keep them for {seconds} s"
    if behind is not None:
        other += f": {router_setting(profile, behind)}"
    return [f"Keep idle connections longer than the router does: {setting}. Or {other}."]


def keep_alive_setting(profile: Profile, routers: Iterable[Router]) -> str:
    """With which setting the server keeps idle connections longer than these routers do."""
    seconds = math.ceil(max(router.idle_seconds for router in routers)) + 5
    name = (profile.server or "").partition(" ")[0]
    setting = _KEEP_ALIVE.get(name, "a keep-alive timeout of {seconds} s in the server")
    return setting.format(seconds=seconds)


def router_setting(profile: Profile, router: Router) -> str:
    """With which setting the router gives up an idle connection before the server does."""
    return router.setting.format(seconds=_shorter_seconds(profile))


def _shorter_seconds(profile: Profile) -> int:
    """A second less than the server keeps an idle connection, or says that it does."""
    kept = profile.keep_alive
    if kept is None:
        raise ValueError("how long it keeps idle connections is not known")
    least = kept.seconds if kept.announced is None else min(kept.seconds, kept.announced)
    return max(1, math.floor(least) - 1)


def _about_the_start(profile: Profile) -> list[str]:
    if not profile.startup.errors:
        return []
    gap = profile.startup.answer_seconds - profile.startup.listen_seconds
    sentence = (
        f"For {gap:.1f} s after its port was open it did not answer well: readiness must ask a "
        "path, not the port."
    )
    return [sentence]
