"""PURE: HAProxy's log, as `option httplog` and `option httpslog` write it.

Source: HAProxy's configuration manual, sections 8.2.3 and 8.5. A request has an id if the frontend
captures it: `capture request header X-Request-Id len 64`.
"""

import re

from orchestrator.routers.logs.haproxy import end_of
from scenarios.evidence.service_line import CLIENT_GONE, COMPLETE, ServiceLine
from scenarios.recording.service_logs.fields import request_line
from scenarios.recording.service_logs.stamps import clf_ns

_LINE = re.compile(
    r"(?<!\S)(?P<client>\S+):(?P<port>\d+) \[(?P<at>[^\]]{1,40})\] (?P<frontend>\S+) "
    r"(?P<backend>[^\s/]+)/(?P<server>\S+) "
    r"(?P<tR>-?\d+)/(?P<tw>-?\d+)/(?P<tc>-?\d+)/(?P<tr>-?\d+)/\+?(?P<ta>-?\d{1,12}) "
    r"(?P<status>-?\d{1,3}) \+?\d+ \S+ \S+ (?P<state>[\w-]{4}) "
    r"\d+/\d+/\d+/\d+/\+?(?P<retries>\d{1,9}) \d+/\d+ (?:\{[^}]*\} ?){0,2}"
    r'(?:\S+/\S+/\S+/\S+ )?"(?P<request>[^"]*)"?'
)
_MILLISECOND = 1_000_000
_NOBODY = "<NOSRV>"


def access(line: str, now_ns: int) -> ServiceLine | None:
    """A line of a request."""
    found = _LINE.search(line)
    if found is None:
        return None
    at_ns, asked = clf_ns(found["at"], now_ns), request_line(found["request"])
    if at_ns is None or asked is None:
        return None
    method, path = asked
    status, state = max(int(found["status"]), 0), found["state"][:2]
    server = None if found["server"] == _NOBODY else found["server"]
    end, confidence = end_of(state, server, status)
    upstream = None if server is None else f"{found['backend']}/{server}"
    retries = int(found["retries"])
    tried = f" after {retries} retries" if retries else ""
    ended = end not in (COMPLETE, CLIENT_GONE)
    return ServiceLine(
        family="haproxy",
        at_ns=at_ns,
        stamped="begin",
        resolution_ns=_MILLISECOND,
        method=method,
        path=path,
        status=status,
        upstream=upstream,
        upstream_status=status if end == COMPLETE and server is not None and status else None,
        attempts=0 if server is None else 1 + retries,
        end=end,
        confidence=confidence,
        reason=f"termination state {found['state']} at {upstream or found['backend']}{tried}"
        if ended
        else None,
        total_ns=max(int(found["ta"]), 0) * _MILLISECOND,
    )
