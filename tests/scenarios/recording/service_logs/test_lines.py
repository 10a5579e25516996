"""What the lines of other people's proxies say of requests, whoever reads them in which pieces."""

import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.evidence.service_line import ServiceLine
from scenarios.recording.error_block import request_id_in
from scenarios.recording.service_logs import nginx
from scenarios.recording.service_logs.lines import read_line
from scenarios.recording.service_logs.stamps import any_ns, clf_ns, iso_ns

RECORDED: list[dict[str, Any]] = tomllib.loads(
    Path(__file__).with_name("recorded_lines.toml").read_text()
)["line"]
NOW = 1_795_844_240 * 10**9
SECOND = 10**9
DEFAULTS = {"tells": "access", "confidence": "certain"}


def read(text: str) -> ServiceLine | None:
    return read_line(text, NOW)


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda one: f"{one['by']}: {one.get('path')}")
def test_what_real_programs_wrote(recorded: dict[str, Any]) -> None:
    """Each line says of its request what it really met, and which log has it is seen by itself."""
    line = read(recorded["text"])
    assert line is not None
    for key in ("family", "at_ns", "stamped", "method", "path", "status", "end", "tells"):
        assert getattr(line, key) == recorded.get(key, DEFAULTS.get(key, "")), key
    for key in ("upstream", "upstream_status", "attempts", "reason"):
        assert getattr(line, key) == recorded.get(key), key
    assert line.confidence == recorded.get("confidence", "certain")


def test_what_each_upstream_is_called() -> None:
    """Whatever the proxy, the same trouble has the same name."""
    ends: dict[str, set[str]] = {}
    for one in RECORDED:
        vague = one["end"] in ("complete", "unknown") or one.get("confidence") == "symptom"
        if "path" in one and not vague:
            ends.setdefault(one["path"].split("/")[1], set()).add(one["end"])
    assert ends["dead"] == {"connection_refused"}
    assert ends["eof"] == ends["reset"] == {"connection_terminated"}
    assert ends["slow"] == {"http_response_timeout", "client_gone"}
    assert ends["bad"] == {"http_protocol_error"}
    assert ends["partial"] == {"http_response_incomplete", "http_protocol_error"}
    # nginx's own pick of two dead servers, once both were tried: nobody is left.
    assert ends["none"] == {"destination_unavailable", "connection_refused"}


@pytest.mark.parametrize("before", ["web-1  | ", "<134>Nov 28 05:36:44 host proxy[17]: "])
def test_something_may_stand_before_a_line(before: str) -> None:
    """`docker compose logs` and syslog put words before each line, which change nothing."""
    for recorded in RECORDED:
        assert read(before + recorded["text"]) == read(recorded["text"])


@given(st.sampled_from(RECORDED), st.data())
def test_a_damaged_line_is_no_error(recorded: dict[str, Any], data: st.DataObject) -> None:
    """A line that is cut, or has foreign characters in it, is read or is not; nothing is raised."""
    text = recorded["text"]
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, len(text)))
    read(text[:start] + data.draw(st.text(max_size=5)) + text[stop:])


@given(st.text())
def test_any_text_is_read_or_not(text: str) -> None:
    """No text makes a reader fail."""
    read(text)
    read("{" + text + "}")


@pytest.mark.parametrize(
    "part",
    ["insert into t values (1, 'a') ", "QUJDx9Z", "a:1", "1234567890", "a.B.", "ERROR ",
     "a-b c - d ", '{"a":', 'a - - ["x" ', "[2024-11-28T05:36:37 ", "10.0.0.1:1 [", '\\\\"'],
)  # fmt: skip
def test_a_huge_line_is_soon_read(part: str) -> None:
    """An application may log a whole file in one line, and nothing else waits for its reading.

    A search that tried every place with every other would end at the time limit.
    """
    line = part * (200_000 // len(part))
    assert read(line) is None
    assert read(f"{{{line}}}") is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", f'"{"9" * 5000}"'),
        ("msec", "9" * 400),
        ("msec", "99999999999"),
        ("msec", "-1"),
        ("time", '"0001-01-01T00:00:00Z"'),
        ("time", '"9999-12-31T23:59:59Z"'),
    ],
)
def test_a_number_that_is_too_large(field: str, value: str) -> None:
    """A status or a stamp that cannot be one is none, as the zero time of Go."""
    fields = {"method": '"GET"', "path": '"/"', "status": "500", field: value}
    stamp = {} if field != "status" else {"msec": "1795844240.123"}
    text = ", ".join(f'"{key}": {one}' for key, one in (fields | stamp).items())
    assert read(f"{{{text}}}") is None
    flooded = f'[2026-11-28T05:36:37.123Z] "GET / HTTP/1.1" {"9" * 5000} - 0 0 1 - "-" "-" "-" "-"'
    assert read(f'{flooded} "-"') is None


def test_the_lines_of_applications_are_none_of_a_proxy() -> None:
    """Lines that tell of no request are left to whoever looks for errors."""
    for text in (
        "Traceback (most recent call last):",
        "2026-11-28 05:36:37 ERROR could not save",
        '{"level":"error","msg":"could not save","time":"2026-11-28T05:36:37Z"}',
        "2026/11/28 05:36:37 [notice] 1#1: start worker processes",
        "INFO:     127.0.0.1:5000 - GET / 500",
    ):
        assert read(text) is None


def test_the_id_of_a_request_is_found_wherever_it_stands() -> None:
    """In the User-Agent, in a captured header, in a field of JSON."""
    for one in RECORDED:
        if "hitless/" in one["text"]:
            assert request_id_in(one["text"]).startswith("s7-00")


@given(st.integers(-48, 56), st.integers(0, 5 * SECOND))
def test_a_stamp_without_a_zone_is_of_any_zone(quarters: int, ago_ns: int) -> None:
    """A proxy in a container has a zone of its own; the time of reading tells which."""
    written = NOW - ago_ns
    local = written // SECOND * SECOND + quarters * 900 * SECOND
    moment = datetime.fromtimestamp(local // SECOND, UTC)
    assert iso_ns(moment.strftime("%Y/%m/%d %H:%M:%S"), NOW) == written // SECOND * SECOND
    assert clf_ns(moment.strftime("%d/%b/%Y:%H:%M:%S"), NOW) == written // SECOND * SECOND


def test_stamps_of_json() -> None:
    """Seconds and milliseconds since 1970, ISO 8601 and CLF; anything else is no stamp."""
    at = 1_795_844_240_123_000_000
    assert any_ns(1795844240.123, NOW) == any_ns("1795844240.123", NOW) == at
    assert any_ns(1795844240123, NOW) == at
    assert any_ns("2026-11-28T05:37:20.123Z", NOW) == at
    assert any_ns("28/Nov/2026:05:37:20 +0000", NOW) == at // SECOND * SECOND
    for other in (True, None, [], "yesterday", "2026-99-99T00:00:00Z", float("1e300")):
        assert any_ns(other, NOW) is None


def test_a_socket_as_upstream() -> None:
    """An application behind a Unix socket is named by it."""
    line = nginx.error(
        "2026/11/28 05:36:37 [crit] 7#7: *1 connect() to unix:/run/app.sock failed (2: No such "
        "file or directory) while connecting to upstream, client: 10.0.0.1, server: shop.test, "
        'request: "POST /orders HTTP/1.1", upstream: "http://unix:/run/app.sock:/orders", '
        'host: "shop.test"',
        NOW,
    )
    assert line is not None
    assert (line.end, line.upstream) == ("connection_refused", "unix:/run/app.sock")
