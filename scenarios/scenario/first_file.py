"""The first scenario file for a user's own application; its comments show further settings."""

from collections.abc import Sequence
from dataclasses import dataclass

from scenarios.scenario.drafts import toml
from scenarios.scenario.drafts.draft import Draft


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstFileAnswers:
    """What `hitless init` must know about an application.

    Attributes:
        name: the name of the scenario.
        old: the command of the version that serves.
        new: the command of the version to deploy; empty: the command of the old version.
        old_cwd: the working directory of the old version, relative to the file.
        new_cwd: the working directory of the new version, likewise.
        health_path: the path of the health check.
        visits: the paths that users request, unless there is a draft.
        draft: journeys from a file of another tool.
        draft_file: the name of that file.
        has_database: whether the application uses Postgres.
        base: the command that creates the old version's schema in an empty database; may be empty.
        migrate: the command that migrates that schema for the new version; may be empty.
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
    draft: Draft | None = None
    draft_file: str = ""


def first_file(answers: FirstFileAnswers) -> str:
    """The text of the scenario file (TOML 1.0)."""
    parts = [_head(answers), _versions(answers)]
    if answers.has_database:
        parts.append(_database(answers))
    parts += [_release(answers), _traffic(answers), _rest(answers)]
    return "\n".join(parts)


def _array(values: Sequence[str]) -> str:
    return "[" + ", ".join(toml.text(value) for value in values) + "]"


def _head(answers: FirstFileAnswers) -> str:
    database = ""
    if answers.has_database:
        database = (
            '\nDATABASE_URL = "{database_url}" # postgresql://user:password@host:port/name; '
            "parts: {database_host} ..."
        )
    return f"""\
# Deploys a release of this application under traffic. Run it with:
#     hitless run scenario.toml --strategy rolling
# Paths are relative to the folder of this file. `hitless schema` describes every key.
name = {toml.text(answers.name)}

[application]
# A replica must listen on {{host}} and {{port}}. Further placeholders: {{version}}, {{replica_id}},
# {{replica_dir}} (a private folder), {{python}}, {{smtp_url}} and {{base_url}}.
# A replica gets traffic once it answers this with a 2xx.
health_path = {toml.text(answers.health_path)}
# warm_up = ["/"] # paths that a new replica must answer before the balancer knows it
# stop_signal = "SIGTERM"
# signal_group = true # if the parent process ends without stopping its workers
# termination_grace_seconds = 10

[application.env]
HOST = "{{host}}"
PORT = "{{port}}"{database}
"""


def _versions(answers: FirstFileAnswers) -> str:
    new = answers.new or answers.old
    return f"""\
# The version that serves, and the version to deploy: usually two checkouts, each with its own
# environment. The key python, such as "old/.venv/bin/python", fills the placeholder {{python}}.
[versions.old]
command = {_array(answers.old)}
cwd = {toml.text(answers.old_cwd)}

[versions.new]
command = {_array(new)}
cwd = {toml.text(answers.new_cwd)}
"""


def _database(answers: FirstFileAnswers) -> str:
    base = f"migrate = {_array(answers.base)}" if answers.base else _NO_BASE
    return f"""\
# Each run has a Postgres of its own, which is removed afterwards. `hitless run --database URL` uses
# another server.
[database]
# This creates the schema of the old version: a command, which runs with the directory and the
# environment of the old version, or a directory of yoyo migrations.
{base}
# rows = {{ table = "items", columns = {{ name = "Item {{n}}" }}, count = 10_000 }}
"""


_NO_BASE = '# migrate = ["{python}", "-m", "alembic", "upgrade", "head"]'


def _release(answers: FirstFileAnswers) -> str:
    migrate = ""
    if answers.migrate:
        migrate = f"    {{ migrate = {_array(answers.migrate)} }}, # runs like the new version\n"
    return f"""\
# The steps run in this order. Put migrations before or after the code that needs them.
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
# persona = "kubernetes" # stop replicas as there by default; see `hitless list --personas`
"""


_NO_RATE = """\
# rate = 50 # journeys that start per second; absent: what this machine carries, as measured"""


def _traffic(answers: FirstFileAnswers) -> str:
    if answers.draft is None:
        return _visits(answers)
    return _drafted(answers.draft.without_visits_to(answers.health_path), answers.draft_file)


def _drafted(draft: Draft, file: str) -> str:
    notes = "".join(f"# - {' '.join(note.split())}\n" for note in draft.notes)
    rate = (
        _NO_RATE
        if draft.rate is None
        else f"rate = {toml.value(draft.rate)} # journeys that start per second"
    )
    parts = [
        f"""\
# The journeys come from {" ".join(file.split())}. Read them, and remove what your users do not do.
{notes}[traffic]
{rate}
""",
        toml.set_up(draft.set_up),
        *(toml.journey(each) for each in draft.journeys),
    ]
    return "\n".join(part for part in parts if part)


def _visits(answers: FirstFileAnswers) -> str:
    journeys = "\n".join(
        f"""\
[[traffic.journeys]]
name = {toml.text(f"visit {path}")}
weight = 1
steps = [{{ path = {toml.text(path)}, expect = [200] }}]
"""
        for path in answers.visits
    )
    return f"""\
[traffic]
{_NO_RATE}

{journeys}
# A journey can have several steps. It can check a response, and use parts of it in later steps:
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
# expect_headers = {{ Content-Type = {{ contains = "json" }} }}
#
# With users = 20 and every_seconds = 0.5 instead of weight, 20 users stay for the whole run and
# repeat the journey every 0.5 seconds; the rate does not count for them.
# With python = "journeys.py:checkout" instead of steps, a coroutine is the journey.
# [[traffic.set_up]] has the same keys as a step; its requests are sent once, before all journeys.
"""


def _rest(answers: FirstFileAnswers) -> str:
    integrity = ""
    if answers.has_database:
        integrity = """
# Rows that a response acknowledged must exist. The query lists the subjects that exist.
# [integrity]
# subjects = "SELECT name AS subject FROM items"
# subject_endpoint = "POST /items"
"""
    return f"""\
[phases]
baseline_seconds = 3 # traffic before the release; none of it may fail
settle_seconds = 2 # traffic after the release

[objectives]
failed_requests = 0
# latency_seconds = 1.0
# slow_requests = 0
{integrity}"""
