"""How the lines of each router's log are read: real lines, and any text at all."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.routers.exchange import LogEntry, Translate
from orchestrator.routers.logs import caddy, envoy, haproxy, nginx, traefik

TRANSLATIONS: tuple[Callable[[], Translate], ...] = (
    haproxy.translation,
    envoy.translation,
    nginx.translation,
    traefik.translation,
    caddy.translation,
)

HAPROXY = (
    "hitless at=1795812091162904 end=1795812091183071 Tc={tc} Tr={tr} st={st} ts={ts} rc={rc} "
    's={s} bytes=209 m=POST id="hang-1" path="/hang"'
)
ENVOY = {
    "attempts": 1,
    "bytes": 95,
    "details": "via_upstream",
    "failure": None,
    "first": None,
    "flags": "-",
    "id": "hang-1",
    "method": "POST",
    "path": "/hang?now=1",
    "start": "1795812092.974627000",
    "status": 503,
    "total": 30189451,
    "upstream": "127.0.0.1:20392",
}
NGINX = {
    "ended": "1795812094.077",
    "took": "0.025",
    "id": "hang-1",
    "method": "POST",
    "path": "/hang?now=1",
    "status": "502",
    "addr": "127.0.0.1:26185",
    "said": "502",
    "connect": "0.000",
    "head": "-",
    "done": "OK",
    "bytes": "157",
}
TRAEFIK = {
    "DownstreamContentSize": 11,
    "DownstreamStatus": 502,
    "Duration": 44754468,
    "OriginStatus": 502,
    "RequestMethod": "POST",
    "RequestPath": "/hang?now=1",
    "RetryAttempts": 0,
    "RouterName": "users@file",
    "ServiceAddr": "127.0.0.1:25859",
    "ServiceURL": "http://127.0.0.1:25859",
    "StartUTC": "2026-11-27T20:41:38.892816748Z",
    "request_X-Request-Id": "hang-1",
}
CADDY = {
    "level": "error",
    "ts": 1795812095.8311594,
    "logger": "http.log.access",
    "msg": "handled request",
    "request": {
        "remote_port": "44308",
        "method": "POST",
        "uri": "/hang?now=1",
        "headers": {"X-Request-Id": ["hang-1"]},
    },
    "duration": 0.021661404,
    "size": 0,
    "status": 502,
    "upstream": "127.0.0.1:13287",
}


def read(translation: Callable[[], Translate], *lines: str) -> LogEntry:
    """The one exchange that the lines tell of."""
    translate = translation()
    (found,) = [entry for line in lines if (entry := translate(line)) is not None]
    return found


def line(document: dict[str, object], **changes: object) -> str:
    return msgspec.json.encode({**document, **changes}).decode()


@pytest.mark.parametrize(
    ("state", "server", "status", "end"),
    [
        ("--", "a-1", 200, "complete"),
        ("SC", "<NOSRV>", 503, "destination_unavailable"),
        ("SC", "a-1", 503, "connection_refused"),
        ("sC", "a-1", 503, "connection_timeout"),
        ("SH", "a-1", 502, "connection_terminated"),
        ("sH", "a-1", 504, "http_response_timeout"),
        ("SD", "a-1", 200, "http_response_incomplete"),
        ("PH", "a-1", 502, "http_protocol_error"),
        ("CD", "a-1", 200, "client_gone"),
        ("cD", "a-1", 200, "client_timeout"),
        ("KD", "a-1", 200, "connection_terminated"),
        ("SD", "a-1", 101, "tunnel_ended"),
        ("sQ", "<NOSRV>", 503, "destination_unavailable"),  # it waited in the queue for too long
        ("SQ", "<NOSRV>", 503, "destination_unavailable"),
        ("sD", "a-1", 200, "connection_read_timeout"),
        ("SL", "a-1", 200, "http_response_incomplete"),
        ("sL", "a-1", 200, "connection_read_timeout"),
        ("PR", "<NOSRV>", 400, "http_request_denied"),
        ("PT", "<NOSRV>", 500, "http_request_denied"),  # http-request tarpit
        ("PC", "a-1", 503, "connection_limit_reached"),
        ("RC", "a-1", 503, "connection_limit_reached"),
        ("PD", "a-1", 200, "http_response_incomplete"),
        ("DD", "a-1", 200, "connection_terminated"),
        ("UD", "a-1", 200, "connection_terminated"),
        ("IH", "a-1", 500, "proxy_internal_error"),
        ("LR", "<NOSRV>", 200, "complete"),  # it answered by itself, as it was told to
        ("CH", "a-1", 0, "client_gone"),
        ("cR", "<NOSRV>", 408, "client_timeout"),
    ],
)
def test_haproxy_says_why_by_its_termination_state(
    state: str, server: str, status: int, end: str
) -> None:
    """HAProxy's termination state is kept in its own words, and has a neutral cause."""
    found = read(
        haproxy.translation,
        HAPROXY.format(tc=0, tr=-1, st=status, ts=state, rc=0, s=server),
    )
    assert found.end == end
    assert found.backend == (None if server == "<NOSRV>" else server)
    assert found.at_ns == 1795812091162904000
    assert found.total_ns == 20167000
    assert (found.reason is None) == (end in ("complete", "tunnel_ended"))
    assert found.reason is None or f"termination state {state}" in found.reason


def test_haproxy_a_state_that_nobody_knows_is_a_symptom() -> None:
    """A termination state that is not in the table is not guessed at."""
    found = read(
        haproxy.translation, HAPROXY.format(tc=0, tr=-1, st=502, ts="XY", rc="+2", s="a-1")
    )
    assert (found.end, found.confidence, found.attempts) == ("unknown", "symptom", 3)
    assert found.reason == "termination state XY, retries +2"


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({"status": 200}, "complete"),
        ({"flags": "UH", "upstream": None}, "destination_unavailable"),
        ({"flags": "UF", "failure": "delayed_connect_error:_Connection_refused"},
         "connection_refused"),
        ({"flags": "UF", "details": "upstream_reset_before_response_started{connection_timeout}"},
         "connection_timeout"),
        ({"flags": "UC"}, "connection_terminated"),
        ({"flags": "UC", "details": "upstream_reset_after_response_started{connection_termination}",
          "status": 200}, "http_response_incomplete"),
        ({"flags": "UT", "status": 504}, "http_response_timeout"),
        ({"flags": "DC", "status": 0}, "client_gone"),
        ({"flags": "UF,URX"}, "connection_refused"),
        ({"flags": "NC", "upstream": None}, "destination_not_found"),
        ({"flags": "NR", "upstream": None, "status": 404}, "destination_not_found"),
        ({"flags": "DF"}, "dns_error"),
        ({"flags": "UR"}, "connection_terminated"),
        ({"flags": "SI", "status": 504}, "connection_read_timeout"),
        ({"flags": "DT", "status": 504}, "http_response_timeout"),
        ({"flags": "UPE", "status": 502}, "http_protocol_error"),
        ({"flags": "DPE", "status": 400, "upstream": None}, "http_request_error"),
        ({"flags": "UO"}, "connection_limit_reached"),
        ({"flags": "OM"}, "connection_limit_reached"),
        ({"flags": "RL", "status": 429}, "http_request_denied"),
        ({"flags": "UAEX", "status": 403}, "http_request_denied"),
        ({"flags": "LH"}, "destination_unavailable"),
        ({"flags": "LR"}, "proxy_internal_error"),
        ({"flags": "DR", "status": 0}, "client_gone"),
        ({"flags": "UC", "status": 101}, "tunnel_ended"),
        ({"flags": "ZZ"}, "unknown"),
    ],
)  # fmt: skip
def test_envoy_says_why_by_its_flags(changes: dict[str, object], end: str) -> None:
    """Envoy's response flags and details are kept, and have a neutral cause."""
    found = read(envoy.translation, line(ENVOY, **changes))
    assert found.end == end
    assert (found.path, found.at_ns) == ("/hang", 1795812092974627000)
    assert (found.confidence == "symptom") == (end == "unknown")
    assert found.reason is None or f"response flags {changes['flags']}" in found.reason


@pytest.mark.parametrize(
    ("changes", "end", "confidence"),
    [
        ({"status": "200", "said": "200", "head": "0.020"}, "complete", "certain"),
        ({}, "connection_terminated", "likely"),
        ({"connect": "-"}, "connection_refused", "likely"),
        ({"connect": "-", "status": "504", "said": "504"}, "connection_timeout", "likely"),
        ({"status": "504", "said": "504"}, "http_response_timeout", "likely"),
        ({"addr": "app"}, "destination_unavailable", "likely"),
        ({"status": "499", "said": "-"}, "client_gone", "certain"),
        ({"status": "502", "said": "502", "head": "0.020"}, "complete", "certain"),
        ({"status": "200", "said": "200", "head": "0.020", "done": ""},
         "http_response_incomplete", "symptom"),
    ],
)  # fmt: skip
def test_nginx_says_what_follows_from_its_variables(
    changes: dict[str, object], end: str, confidence: str
) -> None:
    """What nginx does not say follows from its upstream variables, and is only likely.

    A 502 with a response head is the replica's own.
    """
    found = read(nginx.translation, line(NGINX, **changes))
    assert (found.end, found.confidence) == (end, confidence)
    assert found.at_ns == 1795812094052000000
    assert found.resolution_ns == 1_000_000


def test_nginx_the_last_of_several_servers_counts() -> None:
    """After a retry the server that was asked last is the backend, and each one is an attempt."""
    found = read(
        nginx.translation,
        line(
            NGINX,
            addr="127.0.0.1:1, 127.0.0.1:2",
            said="502, 200",
            connect="-, 0.001",
            head="-, 0.004",
            status="200",
        ),
    )
    assert (found.end, found.backend, found.attempts) == ("complete", "127.0.0.1:2", 2)
    assert (found.connect_ns, found.first_byte_ns) == (1_000_000, 4_000_000)


@pytest.mark.parametrize(
    ("changes", "end", "confidence"),
    [
        ({"DownstreamStatus": 200}, "complete", "certain"),
        ({}, "unknown", "symptom"),
        ({"DownstreamStatus": 503, "ServiceAddr": "", "ServiceURL": ""},
         "destination_unavailable", "likely"),
        ({"DownstreamStatus": 404, "RouterName": ""}, "destination_not_found", "certain"),
        ({"DownstreamStatus": 404}, "complete", "certain"),
        ({"DownstreamStatus": 499}, "client_gone", "certain"),
    ],
)  # fmt: skip
def test_traefik_does_not_say_why(changes: dict[str, object], end: str, confidence: str) -> None:
    """Traefik's log does not tell its own 502 from the replica's, so it is only a symptom."""
    found = read(traefik.translation, line(TRAEFIK, **changes))
    assert (found.end, found.confidence) == (end, confidence)
    assert found.at_ns == 1795812098892816748
    assert found.reason is None


@pytest.mark.parametrize(
    ("error", "end"),
    [
        ("EOF", "connection_terminated"),
        ("dial tcp 127.0.0.1:1: connect: connection refused", "connection_refused"),
        ("dial tcp 127.0.0.1:1: i/o timeout", "connection_timeout"),
        ("no upstreams available", "destination_unavailable"),
        ("context canceled", "client_gone"),
        ("something new", "unknown"),
    ],
)
def test_caddy_says_why_on_another_line(error: str, end: str) -> None:
    """Caddy's error line comes first, and is joined with the access line of its request only."""
    said = line(CADDY, logger="http.log.error", msg=error)
    found = read(caddy.translation, said, line(CADDY))
    assert found.end == end
    assert found.reason == error
    other = {**CADDY["request"], "headers": {"X-Request-Id": ["else-1"]}}  # type: ignore[dict-item]
    assert read(caddy.translation, said, line(CADDY, request=other, status=200)).end == "complete"


@pytest.mark.parametrize("translation", TRANSLATIONS)
@given(text=st.text())
def test_any_text_is_read_or_left_out(translation: Callable[[], Translate], text: str) -> None:
    """A line that is none of the log's, or is cut short, is left out; it never is an error."""
    assert translation()(text) is None


@pytest.mark.parametrize(
    ("translation", "whole"),
    [
        (haproxy.translation, HAPROXY.format(tc=0, tr=1, st=200, ts="--", rc=0, s="a-1")),
        (envoy.translation, line(ENVOY)),
        (nginx.translation, line(NGINX)),
        (traefik.translation, line(TRAEFIK)),
        (caddy.translation, line(CADDY)),
    ],
)
def test_a_line_that_was_cut_short_is_left_out(
    translation: Callable[[], Translate], whole: str
) -> None:
    """Whatever part of a line is there, only the whole of it is an exchange."""
    assert translation()(whole) is not None
    assert all(translation()(whole[:end]) is None for end in range(len(whole)))
