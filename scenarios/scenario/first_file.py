"""A scenario file for somebody's own application, with comments that say what else there is."""

import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstFileAnswers:
    """What has to be known of an application.

    Attributes:
        name: what runs are called.
        old: the command of the version that serves.
        new: the command of the version to deploy; empty: the same, in another directory.
        old_cwd: the working directory of the old version, relative to the file.
        new_cwd: the same of the new one.
        health_path: what the balancer probes.
        visits: paths that users ask for.
        has_database: whether it uses Postgres.
        base: the command that makes the old version's schema in an empty database; may be empty.
        migrate: the command that migrates from it to the new version's; may be empty.
    """

    name: str
    old: Sequence[str]
    new: Sequence[str] = ()
    old_cwd: str = "."
    new_cwd: str = "."
    health_path: str = "/"
    visits: Sequence[str] = ("/",)
    has_database: bool = False
    base: Sequence[str] = ()
    migrate: Sequence[str] = ()


def first_file(answers: FirstFileAnswers) -> str:
    """The text of the scenario file (TOML 1.0)."""
    parts = [_head(answers), _versions(answers)]
    if answers.has_database:
        parts.append(_database(answers))
    parts += [_release(answers), _traffic(answers), _rest(answers)]
    return "\n".join(parts)


def _text(value: str) -> str:
    """A TOML basic string: JSON's escapes are among its own, but for DEL, which it also wants."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _array(values: Sequence[str]) -> str:
    return "[" + ", ".join(_text(value) for value in values) + "]"


def _head(answers: FirstFileAnswers) -> str:
    database = ""
    if answers.has_database:
        database = (
            '\nDATABASE_URL = "{database_url}" # postgresql://user:password@host:port/name; '
            "parts: {database_host} ..."
        )
    return f"""\
# A release of this application under traffic. Run it with:
#     hitless run scenario.toml --strategy rolling
# All paths start from this file's folder. Every key: hitless schema
name = {_text(answers.name)}

[application]
# The placeholders {{host}} and {{port}} say where a replica must listen. There are also
# {{version}}, {{replica_id}}, {{replica_dir}} (a private folder), {{python}}, {{smtp_url}} and
# {{base_url}}.
health_path = {_text(answers.health_path)} # what answers this with a 2xx is given users
# warm_up = ["/"] # what a new replica must answer before the balancer hears of it
# stop_signal = "SIGTERM"
# signal_group = true # when the parent dies and leaves its workers behind
# termination_grace_seconds = 10

[application.env]
HOST = "{{host}}"
PORT = "{{port}}"{database}
"""


def _versions(answers: FirstFileAnswers) -> str:
    new = answers.new or answers.old
    return f"""\
# The version that serves, and the one to deploy: usually two checkouts, each with its own
# environment, such as python = "old/.venv/bin/python" for the placeholder {{python}}.
[versions.old]
command = {_array(answers.old)}
cwd = {_text(answers.old_cwd)}

[versions.new]
command = {_array(new)}
cwd = {_text(answers.new_cwd)}
"""


def _database(answers: FirstFileAnswers) -> str:
    base = f"migrate = {_array(answers.base)}" if answers.base else _NO_BASE
    return f"""\
# A Postgres of the run's own, which is thrown away; hitless run --database URL uses another server.
[database]
# What makes the old version's schema: a command, run as the old version would be, or a directory
# of yoyo migrations.
{base}
# rows = {{ table = "items", columns = {{ name = "Item {{n}}" }}, count = 10_000 }}
"""


_NO_BASE = '# migrate = ["{python}", "-m", "alembic", "upgrade", "head"]'


def _release(answers: FirstFileAnswers) -> str:
    migrate = ""
    if answers.migrate:
        migrate = (
            f"    {{ migrate = {_array(answers.migrate)} }}, # run as the new version would be\n"
        )
    return f"""\
# Steps in order: migrations before the code or after it.
[release]
from = "old"
steps = [
{migrate}    {{ deploy = "new" }},
]

[policy]
replicas = 3
# max_surge = 1
# max_unavailable = 0
# min_ready_seconds = 0.5
# canary_steps = [5, 25, 50, 100]
"""


def _traffic(answers: FirstFileAnswers) -> str:
    journeys = "\n".join(
        f"""\
[[traffic.journeys]]
name = {_text(f"visit {path}")}
weight = 1
steps = [{{ path = {_text(path)}, expect = [200] }}]
"""
        for path in answers.visits
    )
    return f"""\
[traffic]
rate = 50 # journeys that start a second, whatever becomes of them

{journeys}
# A journey can have several steps, check what comes back, and pass it on:
#
# [[traffic.journeys]]
# name = "add an item and look at it"
#
# [[traffic.journeys.steps]]
# method = "POST"
# path = "/items"
# json = {{ name = "{{unique}}" }} # also form = {{...}}, body = "..."; {{uuid}}, {{user}} (email)
# expect = [201]
# subject = "{{unique}}" # see [integrity]
# capture = {{ id = {{ json = "id" }} }} # also {{ header = "Location", pattern = "/(\\\\d+)$" }}
#
# [[traffic.journeys.steps]]
# path = "/items/{{id}}"
# expect_body = {{ json = {{ name = "{{unique}}" }} }} # also contains = ["..."], lacks = ["..."]
#
# Users who stay, and come again whatever became of the last time, instead of being brought by the
# rate: users = 20 and every_seconds = 0.5 instead of weight.
# What no template can say: python = "journeys.py:checkout" instead of steps.
# Requests that are sent once, before the first journey: [[traffic.set_up]], with the same keys.
"""


def _rest(answers: FirstFileAnswers) -> str:
    integrity = ""
    if answers.has_database:
        integrity = """
# What was acknowledged must be there: a query for every subject that the steps above name.
# [integrity]
# subjects = "SELECT name AS subject FROM items"
# subject_endpoint = "POST /items"
"""
    return f"""\
[phases]
baseline_seconds = 3 # traffic before the release; it must be free of failures
settle_seconds = 2 # traffic after it

[objectives]
failed_requests = 0
# latency_seconds = 1.0
# slow_requests = 0
{integrity}"""
