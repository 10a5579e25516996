"""PURE: weighted visits from an access log.

A log has no bodies, so only GET and HEAD become steps. The others are named, with their share.

Sources: Apache's and nginx's formats `common` and `combined`; the JSON logs of Caddy and Traefik;
JSON lines whose keys are nginx's names of variables.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import urlsplit

import msgspec

from scenarios.scenario.drafts.draft import Draft
from scenarios.traffic.journeys.templates import PLACEHOLDER
from scenarios.traffic.settings import Journey, Step

_LINE = re.compile(
    r"\S+ \S+ .*?\[(?P<at>[^\]]+)\] "
    r'"(?P<method>[A-Z]+) (?P<path>\S+)(?: HTTP/[\d.]+)?" (?P<status>\d{3}) '
    r'(?:\S+)(?: "[^"]*" "(?P<agent>(?:[^"\\]|\\.)*)")?'
)
_CLOCK = "%d/%b/%Y:%H:%M:%S %z"
_ID = re.compile(r"\d+|[0-9a-f]{8}-[0-9a-f-]{27}|(?=.*\d)[0-9A-Za-z_-]{16,}", re.IGNORECASE)
_PROBES = re.compile(
    r"kube-probe|ELB-HealthChecker|GoogleHC|Consul Health|HAProxy|Prometheus|Uptime|bot\b|spider",
    re.IGNORECASE,
)
_MOST = 30
_LEAST_READABLE = 0.5
_RATES = (5.0, 200.0)
_OURS = ("method", "path", "status", "at", "agent")
_KEYS: Mapping[str, Sequence[str]] = {
    "method": ("request_method", "RequestMethod", "method"),
    "path": ("request_uri", "RequestPath", "uri", "path", "url"),
    "status": ("status", "DownstreamStatus", "status_code"),
    "at": ("ts", "time_iso8601", "StartUTC", "time_local", "time", "timestamp", "@timestamp"),
    "agent": ("http_user_agent", "request_User-Agent", "user_agent"),
}


@dataclass(frozen=True, slots=True)
class _Request:
    """One line of a log."""

    method: str
    path: str
    status: int
    at: float | None
    agent: str


def draft(lines: Sequence[str]) -> Draft:
    """The visits of a log.

    Raises:
        ValueError: most of its lines are of no known format, or none is of a page that was served.
    """
    written = [line for line in lines if line.strip()]
    requests = [one for line in written if (one := _request(line)) is not None]
    if len(requests) <= _LEAST_READABLE * len(written):
        if not requests:
            raise ValueError("")
        line = next(at for at, text in enumerate(lines, 1) if text.strip() and not _request(text))
        raise ValueError(f"line {line}: this is no line of an access log")
    people = [one for one in requests if not _PROBES.search(one.agent)]
    notes: list[str] = []
    if len(people) < len(requests):
        left = len(requests) - len(people)
        notes.append(f"requests of health checks and bots are left out: {left}")
    shown = _visits(people, notes)
    if not shown:
        raise ValueError("it has no GET that was answered with a 2xx or 3xx")
    return Draft(journeys=shown, rate=_busiest(people, notes), notes=notes)


def _visits(requests: Sequence[_Request], notes: list[str]) -> list[Journey]:
    good: dict[str, Counter[tuple[str, str, int]]] = defaultdict(Counter)
    others: Counter[str] = Counter()
    for one in requests:
        endpoint = _endpoint(one.path)
        if one.method not in {"GET", "HEAD"}:
            others[f"{one.method} {endpoint}"] += 1
        elif one.status < HTTPStatus.BAD_REQUEST and not PLACEHOLDER.search(one.path):
            good[f"{one.method} {endpoint}"][one.method, one.path, one.status] += 1
    ranked = sorted(good.items(), key=lambda pair: -pair[1].total())
    whole = sum(seen.total() for _, seen in ranked)
    if len(ranked) > _MOST:
        left = sum(seen.total() for _, seen in ranked[_MOST:])
        notes.append(
            f"{len(ranked) - _MOST} rarer endpoints are left out: "
            f"{_percent(left, whole)} of the GETs"
        )
    shown: list[Journey] = []
    for name, seen in ranked[:_MOST]:
        method, path, _ = seen.most_common(1)[0][0]
        statuses = {status for (_, where, status), _ in seen.items() if where == path}
        expect = tuple(
            sorted({200 if status == HTTPStatus.NOT_MODIFIED else status for status in statuses})
        )
        if _endpoint(path) != urlsplit(path).path:
            notes.append(f"{name}: {path} must exist in the database of the run")
        step = Step(path=path, method=method, expect=expect)
        weight = max(0.1, round(100 * seen.total() / whole, 1))
        shown.append(Journey(name=name, weight=weight, steps=(step,)))
    for name, number in others.most_common(_MOST):
        notes.append(
            f"{name} is left out, since a log has no bodies: "
            f"{_percent(number, len(requests))} of all requests"
        )
    return shown


def _busiest(requests: Sequence[_Request], notes: list[str]) -> float | None:
    """Requests a second in the busiest minute, in bounds that one machine can carry."""
    moments = [one.at for one in requests if one.at is not None]
    if not moments:
        return None
    number = max(Counter(int(at // 60) for at in moments).values())
    rate = min(max(round(number / 60, 1), _RATES[0]), _RATES[1])
    notes.append(f"the busiest minute had {number} requests; the rate is {rate:g} a second")
    return rate


def _request(line: str) -> _Request | None:
    if line.lstrip().startswith("{"):
        return _of_json(line)
    found = _LINE.match(line)
    if found is None:
        return None
    status, at = int(found["status"]), _clock(found["at"])
    return _of(found["method"], found["path"], status, at, found["agent"] or "")


def _of_json(line: str) -> _Request | None:
    try:
        document = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return None
    inner = document.get("request")
    if isinstance(inner, dict):  # Caddy
        agents = (inner.get("headers") or {}).get("User-Agent") or [""]
        document = {**document, **inner, "http_user_agent": agents[0]}
    elif isinstance(inner, str) and inner.count(" "):
        method, path = inner.split(" ")[:2]
        document = {"method": method, "uri": path, **document}
    given = {
        name: next((document[key] for key in _KEYS[name] if key in document), None)
        for name in _OURS
    }
    try:
        status = int(str(given["status"]))
    except ValueError:
        return None
    if not isinstance(given["method"], str) or not isinstance(given["path"], str):
        return None
    return _of(
        given["method"], given["path"], status, _clock(given["at"]), str(given["agent"] or "")
    )


def _of(method: str, path: str, status: int, at: float | None, agent: str) -> _Request | None:
    parts = urlsplit(path)  # a proxy's own line has a whole URL
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Request(method, target, status, at, agent) if target.startswith("/") else None


def _clock(given: object) -> float | None:
    if isinstance(given, int | float):
        return float(given)
    try:
        moment = datetime.fromisoformat(str(given))
    except ValueError:
        try:
            moment = datetime.strptime(str(given), _CLOCK)  # noqa: DTZ007 - %z is in it
        except ValueError:
            return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _endpoint(path: str) -> str:
    segments = urlsplit(path).path.split("/")
    return "/".join("*" if _ID.fullmatch(each) else each for each in segments)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %"
