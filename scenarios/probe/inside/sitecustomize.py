"""Lets a Python server answer a few paths of the probe, inside the user's own process.

The probe puts this folder on `PYTHONPATH`, so that every interpreter of the command, workers and
reloaders included, imports this module first. It waits for the modules of servers that it knows,
and has them serve `/.hitless-probe/…` beside the application that they were given: the server, its
workers, its handlers of signals and the application's own start-up and end stay what they are.

It is imported by any Python 3.8 or later, with nothing installed, so it imports nothing of ours.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.machinery
import importlib.util
import inspect
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

PREFIX = "/.hitless-probe/"
PIECE_SECONDS = 0.5
_HERE = os.path.dirname(os.path.abspath(__file__))

App = Any


# What is answered, whoever asks.


def _number(query: str, name: str) -> float:
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if key == name:
            return float(value)
    return 0.0


def _with_version(server: str) -> str:
    from importlib import metadata  # noqa: PLC0415 - it is slow to import, and few need it

    try:
        return f"{server} {metadata.version(server)}"
    except metadata.PackageNotFoundError:
        return server


def _headers(server: str, length: int | None) -> list[tuple[str, str]]:
    headers = [("Content-Type", "text/plain"), ("X-Hitless-Probe", _with_version(server))]
    return headers if length is None else [*headers, ("Content-Length", str(length))]


def _pieces(query: str) -> Iterator[bytes]:
    """The pieces of a stream: half a second apart; no end when 0 are asked for."""
    wanted, number = int(_number(query, "chunks")), 0
    while not wanted or number < wanted:
        number += 1
        yield b"piece %d\n" % number


async def _sleep(seconds: float) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        import trio  # type: ignore[import-not-found,unused-ignore] # noqa: PLC0415 - its loop runs

        await trio.sleep(seconds)
    else:
        await asyncio.sleep(seconds)


def mount(app: App, server: str) -> App:
    """The application, with the paths of the probe beside its own; ASGI or WSGI, as it is."""
    if getattr(app, "hitless_probe", False) or not callable(app):
        return app
    kind = _kind(app)
    if kind is None:
        return app
    mounted = _asgi(app, server) if kind == "asgi" else _wsgi(app, server)
    mounted.hitless_probe = True
    return mounted


def _kind(app: App) -> str | None:
    call = app if inspect.isfunction(app) or inspect.ismethod(app) else type(app).__call__
    if isinstance(app, functools.partial):
        call = app.func
    if not inspect.iscoroutinefunction(call):
        return "wsgi"
    names = [name for name in inspect.signature(call).parameters if name != "self"]
    return "asgi" if "receive" in names or len(names) >= 3 else None  # noqa: PLR2004 - its arguments


def _asgi(app: App, server: str) -> App:
    @functools.wraps(app, updated=())
    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await app(scope, receive, send)
            return
        what, query = scope["path"][len(PREFIX) :], scope["query_string"].decode()
        while (await receive()).get("more_body"):
            pass  # the body of an upload
        if what == "slow":
            await _sleep(_number(query, "seconds"))
        length = None if what == "stream" else 3
        headers = [(k.lower().encode(), v.encode()) for k, v in _headers(server, length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if what == "stream":
            for piece in _pieces(query):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                await _sleep(PIECE_SECONDS)
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "http.response.body", "body": b"ok\n"})

    return mounted


def _wsgi(app: App, server: str) -> App:
    def stream(query: str) -> Iterator[bytes]:
        for piece in _pieces(query):
            yield piece
            time.sleep(PIECE_SECONDS)

    @functools.wraps(app, updated=())
    def mounted(environ: Any, start_response: Any) -> Any:
        path = environ.get("PATH_INFO", "")
        if not path.startswith(PREFIX):
            return app(environ, start_response)
        what, query = path[len(PREFIX) :], environ.get("QUERY_STRING", "")
        if what == "upload":
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if what == "slow":
            time.sleep(_number(query, "seconds"))
        start_response("200 OK", _headers(server, None if what == "stream" else 3))
        return stream(query) if what == "stream" else [b"ok\n"]

    return mounted


# Where each server takes its application.


def _around_result(owner: Any, name: str, server: str) -> None:
    """Mount the application that a function of the owner returns."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def replaced(*args: Any, **kwargs: Any) -> Any:
        return mount(original(*args, **kwargs), server)

    setattr(owner, name, replaced)


def _around_argument(owner: Any, name: str, position: int, keyword: str, server: str) -> None:
    """Mount the application that a function of the owner is given."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def replaced(*args: Any, **kwargs: Any) -> Any:
        if keyword in kwargs:
            kwargs[keyword] = mount(kwargs[keyword], server)
        elif len(args) > position:
            args = (*args[:position], mount(args[position], server), *args[position + 1 :])
        return original(*args, **kwargs)

    setattr(owner, name, replaced)


def _uvicorn(module: Any, server: str) -> None:
    original = module.Config.load

    @functools.wraps(original)
    def load(self: Any) -> None:
        original(self)
        self.loaded_app = mount(self.loaded_app, server)

    module.Config.load = load


def _gunicorn(module: Any, server: str) -> None:
    _around_result(module.BaseApplication, "wsgi", server)


def _hypercorn(module: Any, server: str) -> None:
    # What is loaded there has the shape of the server's own already: its arguments are one more.
    original = module.load_application

    @functools.wraps(original)
    def load_application(*args: Any, **kwargs: Any) -> Any:
        wrapper = original(*args, **kwargs)
        wrapper.app = mount(wrapper.app, server)
        return wrapper

    module.load_application = load_application


def _granian(module: Any, server: str) -> None:
    _around_result(module, "load_target", server)


def _waitress(module: Any, server: str) -> None:
    _around_argument(module, "create_server", 0, "application", server)


def _werkzeug(module: Any, server: str) -> None:
    _around_argument(module.BaseWSGIServer, "__init__", 3, "app", server)


def _wsgiref(module: Any, server: str) -> None:
    _around_argument(module.WSGIServer, "set_app", 1, "application", server)


def _cheroot(module: Any, server: str) -> None:
    _around_argument(module.Server, "__init__", 2, "wsgi_app", server)


def _daphne(module: Any, server: str) -> None:
    _around_argument(module.Server, "__init__", 1, "application", server)


def _aiohttp(module: Any, server: str) -> None:
    original = module.Application._handle  # noqa: SLF001 - there is no public place

    async def handle(self: Any, request: Any) -> Any:
        if not request.path.startswith(PREFIX):
            return await original(self, request)
        from aiohttp import web  # noqa: PLC0415 - the application's own

        what = request.path[len(PREFIX) :]
        await request.read()
        if what == "slow":
            await asyncio.sleep(_number(request.query_string, "seconds"))
        if what != "stream":
            return web.Response(text="ok\n", headers=dict(_headers(server, None)))
        response = web.StreamResponse(headers=dict(_headers(server, None)))
        response.enable_chunked_encoding()
        await response.prepare(request)
        for piece in _pieces(request.query_string):
            await response.write(piece)
            await asyncio.sleep(PIECE_SECONDS)
        await response.write_eof()
        return response

    module.Application._handle = handle  # noqa: SLF001 - the same


def _sanic(module: Any, server: str) -> None:
    # Sanic compiles its own methods anew, so a route of ours is all that can be added.
    original = module.Sanic.__init__

    async def answer(request: Any, what: str) -> None:
        query = request.query_string
        if what == "slow":
            await asyncio.sleep(_number(query, "seconds"))
        length = None if what == "stream" else 3
        headers = dict(_headers(server, length))
        response = await request.respond(headers=headers, content_type="text/plain")
        if what == "stream":
            for piece in _pieces(query):
                await response.send(piece)
                await asyncio.sleep(PIECE_SECONDS)
            await response.eof()
        else:
            await response.send("ok\n", end_stream=True)

    @functools.wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        route = PREFIX + "<what:path>"
        self.add_route(answer, route, methods=("GET", "POST"), name="hitless_probe")

    module.Sanic.__init__ = init


def _tornado(module: Any, server: str) -> None:
    class Handler(module.RequestHandler):  # type: ignore[misc] # the class is only known there
        async def get(self) -> None:
            what, query = self.request.path[len(PREFIX) :], self.request.query
            for name, value in _headers(server, None):
                self.set_header(name, value)
            if what == "slow":
                await asyncio.sleep(_number(query, "seconds"))
            for piece in _pieces(query) if what == "stream" else ():
                self.write(piece)
                await self.flush()
                await asyncio.sleep(PIECE_SECONDS)
            if what != "stream":
                self.finish(b"ok\n")

        post = get

    original = module.Application.find_handler

    def find_handler(self: Any, request: Any, **kwargs: Any) -> Any:
        if request.path.startswith(PREFIX):
            return self.get_handler_delegate(request, Handler)
        return original(self, request, **kwargs)

    module.Application.find_handler = find_handler


_SERVERS: dict[str, tuple[str, Callable[[Any, str], None]]] = {
    # the module: what its distribution is called, and how it takes an application
    "uvicorn.config": ("uvicorn", _uvicorn),
    "gunicorn.app.base": ("gunicorn", _gunicorn),
    "hypercorn.utils": ("hypercorn", _hypercorn),
    "granian._internal": ("granian", _granian),
    "waitress.server": ("waitress", _waitress),
    "werkzeug.serving": ("werkzeug", _werkzeug),
    "wsgiref.simple_server": ("wsgiref", _wsgiref),
    "cheroot.wsgi": ("cheroot", _cheroot),
    "daphne.server": ("daphne", _daphne),
    "aiohttp.web_app": ("aiohttp", _aiohttp),
    "sanic.app": ("sanic", _sanic),
    "tornado.web": ("tornado", _tornado),
}


class _Finder:
    """Finds those modules as everybody does, and changes each once it has been loaded."""

    def find_spec(
        self, name: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in _SERVERS:
            return None
        spec = None
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    break
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            distribution, change = _SERVERS[name]
            try:
                change(module, distribution)
            except Exception as error:  # noqa: BLE001 - the server must start all the same
                message = f"hitless probe: no paths of its own in {name}: {error!r}\n"
                sys.stderr.write(message)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign] # of this one only
        return spec


def _run_their_own() -> None:
    """Run the `sitecustomize` that would have been imported, had this one not been there."""
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != _HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


sys.meta_path.insert(0, _Finder())
_run_their_own()
