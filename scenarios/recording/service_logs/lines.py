"""PURE: which log a line is of, and what it says of a request."""

import json
from collections.abc import Callable, Mapping
from typing import Final, get_args

from scenarios.evidence.service_line import Family, ServiceLine
from scenarios.recording.service_logs import caddy, envoy, haproxy, nginx, traefik

APPLICATION: Final = "app"
KINDS: Final = (*get_args(Family), APPLICATION)
"""What a log may be called before its path: `nginx:/var/log/nginx/access.log`."""

_Text = Callable[[str, int], ServiceLine | None]
_Json = Callable[[Mapping[str, object], int], ServiceLine | None]
_TEXTS: Mapping[Family, tuple[_Text, ...]] = {
    "haproxy": (haproxy.access,),
    "envoy": (envoy.access,),
    "traefik": (traefik.access, traefik.error),
    "nginx": (nginx.error, nginx.access),
}
_DOCUMENTS: Mapping[Family, tuple[_Json, ...]] = {
    "caddy": (caddy.any_json,),
    "traefik": (traefik.access_json, traefik.error_json),
    "envoy": (envoy.access_json,),
    "nginx": (nginx.access_json,),  # last, since its keys are its user's
}


def read_line(line: str, now_ns: int, family: Family | None = None) -> ServiceLine | None:
    """What a line says of a request; None if it is no line of a proxy's log.

    Args:
        line: the line. Something may stand before it, such as the name that `docker compose logs`
            or a syslog daemon puts there.
        now_ns: when it was read, in nanoseconds since 1970.
        family: whose log it is; None: whichever knows the line.
    """
    begin = line.find("{")
    if begin >= 0 and line.rstrip().endswith("}"):
        found = _in_json(line[begin:], now_ns, family)
        if found is not None:
            return found
    for name, readers in _TEXTS.items():
        if family in (None, name):
            for reader in readers:
                found = reader(line, now_ns)
                if found is not None:
                    return found
    return None


def _in_json(text: str, now_ns: int, family: Family | None) -> ServiceLine | None:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    for name, readers in _DOCUMENTS.items():
        if family in (None, name):
            for reader in readers:
                found = reader(document, now_ns)
                if found is not None:
                    return found
    return None
