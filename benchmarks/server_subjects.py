"""What `benchmarks.servers` measures: servers, wrappers, and the packages that they need."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from scenarios.probe.discovery import Asked

PYTHON_PACKAGES = (
    "uvicorn[standard]==0.54.0",
    "wsproto==1.3.2",
    "hypercorn[trio]==0.18.0",
    "granian==2.8.9",
    "gunicorn==27.0.1",
    "gevent==26.9.0",
    "uvicorn-worker==0.4.0",
    "waitress==3.0.2",
    "daphne==4.2.3",
    "cheroot==11.1.2",
    "aiohttp==3.14.5",
    "sanic==25.12.1",
    "tornado==6.6.1",
    "flask==3.1.3",
    "werkzeug==3.1.9",
    "django==6.1.3",
    "robyn==0.88.0",
    "honcho==2.0.0",
    "supervisor==4.3.0",
    "uv==0.13.9",
)
NODE_PACKAGES = (
    "express@5.3.0",
    "fastify@5.12.8",
    "@fastify/websocket@11.3.7",
    "close-with-grace@2.5.0",
    "koa@3.3.0",
    "ws@8.23.0",
)
BESIDE: Mapping[str, tuple[str, ...]] = {
    "uvicorn": ("wsproto",),
    "gunicorn": ("gevent", "uvicorn", "uvicorn-worker"),
    "werkzeug": ("flask",),
    "express": ("ws",),
    "fastify": ("@fastify/websocket", "close-with-grace"),
    "koa": ("ws",),
}
"""By package, what its servers need besides; Node's own server needs `ws` alone."""


class Subject(msgspec.Struct, frozen=True):
    """A server that is measured.

    Attributes:
        name: what the table calls it.
        needs: the distribution or package whose version the table shows; None: Node itself.
        words: its command; `{bin}` is the folder of the environment's programs.
        kind: what it runs on.
        asked: the paths that it has itself, where the probe can have none there.
    """

    name: str
    needs: str | None
    words: str
    kind: Literal["python", "node"] = "python"
    asked: Asked = Asked()


_GUNICORN = "{bin}/gunicorn -b {host}:{port}"
SUBJECTS = (
    Subject("uvicorn (httptools)", "uvicorn", "{bin}/uvicorn --port {port} hello_asgi:app"),
    Subject(
        "uvicorn (h11)",
        "uvicorn",
        "{bin}/uvicorn --http h11 --loop asyncio --port {port} hello_asgi:app",
    ),
    Subject(
        "uvicorn --workers 2", "uvicorn", "{bin}/uvicorn --workers 2 --port {port} hello_asgi:app"
    ),
    Subject("hypercorn asyncio", "hypercorn", "{bin}/hypercorn -b {host}:{port} hello_asgi:app"),
    Subject(
        "hypercorn asyncio -w 2",
        "hypercorn",
        "{bin}/hypercorn -w 2 -b {host}:{port} hello_asgi:app",
    ),
    Subject(
        "hypercorn trio", "hypercorn", "{bin}/hypercorn -k trio -b {host}:{port} hello_asgi:app"
    ),
    Subject(
        "granian asgi", "granian", "{bin}/granian --interface asgi --port {port} hello_asgi:app"
    ),
    Subject(
        "granian wsgi", "granian", "{bin}/granian --interface wsgi --port {port} hello_wsgi:app"
    ),
    Subject("gunicorn sync", "gunicorn", f"{_GUNICORN} hello_wsgi:app"),
    Subject("gunicorn gthread", "gunicorn", f"{_GUNICORN} -k gthread --threads 4 hello_wsgi:app"),
    Subject("gunicorn gevent", "gunicorn", f"{_GUNICORN} -k gevent hello_wsgi:app"),
    Subject("gunicorn asgi", "gunicorn", f"{_GUNICORN} -k asgi hello_asgi:app"),
    Subject(
        "gunicorn + uvicorn-worker",
        "gunicorn",
        f"{_GUNICORN} -k uvicorn_worker.UvicornWorker hello_asgi:app",
    ),
    Subject(
        "waitress-serve", "waitress", "{bin}/waitress-serve --listen {host}:{port} hello_wsgi:app"
    ),
    Subject("daphne", "daphne", "{bin}/daphne -b {host} -p {port} hello_asgi:app"),
    Subject("cheroot", "cheroot", "{bin}/cheroot --bind {host}:{port} hello_wsgi:app"),
    Subject("aiohttp run_app", "aiohttp", "{bin}/python with_aiohttp.py"),
    Subject(
        "python -m aiohttp.web",
        "aiohttp",
        "{bin}/python -m aiohttp.web -H {host} -P {port} with_aiohttp:make",
    ),
    Subject("sanic", "sanic", "{bin}/sanic with_sanic:app --host {host} --port {port}"),
    Subject(
        "sanic --single-process",
        "sanic",
        "{bin}/sanic with_sanic:app --single-process --host {host} --port {port}",
    ),
    Subject("tornado", "tornado", "{bin}/python with_tornado.py"),
    Subject("flask run", "werkzeug", "{bin}/flask --app with_flask run --port {port}"),
    Subject(
        "django runserver",
        "django",
        "{bin}/python with_django.py runserver --noreload {host}:{port}",
    ),
    Subject(
        "robyn",
        "robyn",
        "{bin}/python with_robyn.py",
        asked=Asked(
            slow="/slow?seconds={seconds}", upload="/upload", stream="/stream?chunks={chunks}"
        ),
    ),
    Subject("Node http", None, "node node_http.cjs", "node"),
    Subject("Node http + close()", None, "node node_http.cjs close", "node"),
    Subject("Express", "express", "node with_express.cjs", "node"),
    Subject("Express + close()", "express", "node with_express.cjs close", "node"),
    Subject("Fastify", "fastify", "node with_fastify.cjs", "node"),
    Subject("Fastify + close()", "fastify", "node with_fastify.cjs close", "node"),
    Subject("Fastify + close-with-grace", "fastify", "node with_fastify.cjs grace", "node"),
    Subject("Koa + close()", "koa", "node with_koa.cjs close", "node"),
)

_UVICORN = "{bin}/uvicorn --port {port} hello_asgi:app"
WRAPPERS: Mapping[str, tuple[str, ...]] = {
    "sh -c CMD": ("sh", "-c", _UVICORN),
    "sh -c 'CMD; echo'": ("sh", "-c", f"{_UVICORN}; echo"),
    "sh -c 'exec CMD'": ("sh", "-c", f"exec {_UVICORN}"),
    "sh -c 'CMD | cat'": ("sh", "-c", f"{_UVICORN} | cat"),
    "bash -c CMD": ("bash", "-c", _UVICORN),
    "timeout 100 CMD": ("timeout", "100", *_UVICORN.split()),
    "nohup CMD": ("nohup", *_UVICORN.split()),
    "npm start": ("npm", "start"),
    "npm start -s": ("npm", "start", "-s"),
    "uv run CMD": ("{bin}/uv", "run", "--no-project", *_UVICORN.split()),
    "honcho start": ("{bin}/honcho", "-f", "{folder}/Procfile", "start"),
    "supervisord": ("{bin}/supervisord", "-n", "-c", "{folder}/supervisord.conf"),
}
