"""The admin API: JSON over HTTP, on a unix socket or a loopback address."""

import contextlib
import hmac
import ipaddress
import json
import math
import re
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from balancer import metrics
from balancer.config import Config
from balancer.control_plane import ControlPlane
from balancer.errors import (
    BalancerError,
    ConfigError,
    ConflictError,
    HandedOverError,
    UnknownBackendError,
)

_DRAIN_SECONDS = 30.0


def build_app(control: ControlPlane, config: Config) -> web.Application:
    """Make the admin API's application."""
    api = _Api(control)
    app = web.Application(
        middlewares=[_errors, _guard(config), _while_in_charge(control)], client_max_size=1 << 20
    )
    app.add_routes(
        [
            web.get("/backends", api.backends),
            web.put("/backends/{id}", api.put_backend),
            web.post("/backends/{id}/drain", api.drain),
            web.delete("/backends/{id}", api.delete),
            web.put("/active", api.set_active),
            web.put("/weights", api.set_weights),
            web.get("/statistics", api.statistics),
            web.get("/events", api.events),
            web.get("/metrics", api.metrics),
        ]
    )
    return app


class _Api:
    def __init__(self, control: ControlPlane) -> None:
        self._control = control

    async def backends(self, request: web.Request) -> web.Response:
        del request
        control = self._control
        return web.json_response(
            {
                "sequence": control.events.sequence,
                "backends": [control.describe(one) for one in control.pool.backends],
            }
        )

    async def put_backend(self, request: web.Request) -> web.Response:
        body = await _object(request, {"address", "version", "weight"})
        weight = body.get("weight", 1.0)
        if not isinstance(weight, int | float) or isinstance(weight, bool):
            raise ConfigError('"weight" must be a number')
        address, version = body.get("address"), body.get("version", "default")
        if not isinstance(address, str) or not isinstance(version, str):
            raise ConfigError('"address" and "version" must be strings')
        backend = self._control.put(
            request.match_info["id"], address=address, version=version, weight=_float(weight)
        )
        return web.json_response(self._control.describe(backend))

    async def drain(self, request: web.Request) -> web.Response:
        timeout = _seconds(request, "timeout")
        drained = await self._control.drain(
            request.match_info["id"],
            timeout=_DRAIN_SECONDS if timeout is None else timeout,
            tunnel_timeout=_seconds(request, "tunnel_timeout"),
            close_idle=_flag(request, "close_idle", default=True),
        )
        return web.json_response(drained._asdict())

    async def delete(self, request: web.Request) -> web.Response:
        return web.json_response({"cut": self._control.delete(request.match_info["id"])})

    async def set_active(self, request: web.Request) -> web.Response:
        ids = (await _object(request, {"ids"})).get("ids")
        if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
            raise ConfigError('"ids" must be a list of backend ids')
        self._control.set_active(ids)
        return await self.backends(request)

    async def set_weights(self, request: web.Request) -> web.Response:
        body = await _object(request, {"weights"})
        weights = body.get("weights")
        if not isinstance(weights, dict) or not all(
            isinstance(weight, int | float) and not isinstance(weight, bool)
            for weight in weights.values()
        ):
            raise ConfigError('"weights" must be an object: backend ids with a number each')
        self._control.set_weights({key: _float(weight) for key, weight in weights.items()})
        return await self.backends(request)

    async def statistics(self, request: web.Request) -> web.Response:
        del request
        return web.json_response(self._control.statistics())

    async def metrics(self, request: web.Request) -> web.Response:
        del request
        text = metrics.render(self._control)
        return web.Response(
            body=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def events(self, request: web.Request) -> web.StreamResponse:
        events = self._control.events
        after = events.sequence
        if "after" in request.query:
            text = request.query["after"]
            if not re.fullmatch(r"[0-9]{1,18}", text):
                raise ConfigError('"after" must be a sequence number')
            after = min(int(text), after)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        snapshot = {
            "sequence": after,
            "event": "snapshot",
            "backends": [self._control.describe(one) for one in self._control.pool.backends],
        }
        await response.prepare(request)
        with contextlib.suppress(ConnectionResetError):  # a reader may leave at any time
            await response.write(_line(snapshot))
            async for event in events.follow(after):
                await response.write(_line(event))
        return response


def _line(event: dict[str, object]) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"


async def _object(request: web.Request, known: set[str]) -> dict[str, object]:
    try:
        body = json.loads(await request.read() or b"{}")
    except (ValueError, RecursionError):
        raise ConfigError("the body is not JSON") from None
    if not isinstance(body, dict):
        raise ConfigError("the body is not a JSON object")
    if unknown := set(body) - known:
        raise ConfigError(
            f"{min(unknown)!r} is not a key of this object; the keys are {', '.join(sorted(known))}"
        )
    return body


def _float(number: float) -> float:
    """A number of JSON as a float; a whole number beyond all floats is infinite."""
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _seconds(request: web.Request, name: str) -> float | None:
    text = request.query.get(name)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0:
        raise ConfigError(f'"{name}" must be a number of seconds, 0 or more')
    return seconds


def _flag(request: web.Request, name: str, *, default: bool) -> bool:
    text = request.query.get(name)
    if text is None:
        return default
    if text not in ("true", "false"):
        raise ConfigError(f'"{name}" must be true or false')
    return text == "true"


def _problem(status: int, detail: str) -> web.Response:
    return web.json_response(
        {"title": HTTPStatus(status).phrase, "status": status, "detail": detail},
        status=status,
        content_type="application/problem+json",
    )


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except UnknownBackendError as error:
        return _problem(404, str(error))
    except ConflictError as error:
        return _problem(409, str(error))
    except HandedOverError as error:
        response = _problem(503, str(error))
        response.force_close()
        return response
    except BalancerError as error:
        return _problem(400, str(error))
    except web.HTTPException as error:
        return _problem(error.status, error.reason)


def _guard(config: Config) -> Middleware:
    """Refuse requests without the token; without a token, refuse requests of web pages.

    A web page open on the same machine can send requests to a loopback address: such requests
    carry an Origin, or (after DNS rebinding) a Host that is no loopback name, and are refused.
    """
    expected = None if config.admin_token is None else f"Bearer {config.admin_token}".encode()
    local = config.admin is None or config.admin.path is not None

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if expected is not None:
            given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
            if not hmac.compare_digest(given, expected):
                return _problem(401, "a bearer token is required")
        elif not local and ("Origin" in request.headers or not _is_loopback(request.host)):
            return _problem(
                403, "without a token, only direct requests to a loopback host are served"
            )
        return await handler(request)

    return guard


def _while_in_charge(control: ControlPlane) -> Middleware:
    """Answer 503 once a successor serves: the caller then connects anew, and reaches that one."""

    @web.middleware
    async def in_charge(request: web.Request, handler: Handler) -> web.StreamResponse:
        if control.handed_over:
            raise HandedOverError("a successor has taken over; ask again")
        return await handler(request)

    return in_charge


def _is_loopback(host: str) -> bool:
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
