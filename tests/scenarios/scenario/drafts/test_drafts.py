"""Journeys from files of other tools.

The three files are of one application (`benchmarks/draft_apps/notes.py`): its OpenAPI document, as
FastAPI writes it; a visit, as Playwright recorded it in Chromium; and nginx's access log.
"""

import base64
import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.errors import UsageError
from scenarios.scenario.drafts import toml
from scenarios.scenario.drafts.captures import RecordedResponse, captured
from scenarios.scenario.drafts.draft import Draft
from scenarios.scenario.drafts.source import draft_from
from scenarios.traffic.settings import Journey, Step

FILES = Path(__file__).parent / "files"
COMMAND = ["--old", "serve", "--health", "/health", "--no-postgres"]


def of(document: object, folder: Path, name: str = "x.json") -> Draft:
    """The draft of a document that is written into a file."""
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / name).write_text(text)
    return draft_from(folder / name)


def requests_of(journey: Journey) -> list[str]:
    """As people write them."""
    return [f"{step.method} {step.path}" for step in journey.steps]


def test_an_api_is_logged_into_and_its_things_are_made_read_changed_and_removed() -> None:
    """The token of the login and the id of what was made are captured for later steps."""
    draft = draft_from(FILES / "notes.openapi.json")
    assert [f"{step.method} {step.path}" for step in draft.set_up] == ["POST /users", "POST /login"]
    assert draft.set_up[1].capture["token"].json == "access_token"
    assert draft.set_up[1].form == {"username": "{user}", "password": "{unique}-Aa1"}
    story = next(one for one in draft.journeys if one.name == "POST /notes")
    assert requests_of(story) == [
        "POST /notes",
        "GET /notes/{note_id}",
        "PUT /notes/{note_id}",
        "DELETE /notes/{note_id}",
    ]
    assert story.steps[0].capture["note_id"].json == "id"
    assert [step.expect for step in story.steps] == [(201,), (200,), (200,), (204,)]
    assert {step.headers["Authorization"] for step in story.steps} == {"Bearer {token}"}
    reads = next(one for one in draft.journeys if one.name == "GET /search")
    assert reads.steps[0].path == "/search?q={unique}"
    assert (reads.weight or 0) > (story.weight or 0)


def test_a_recorded_visit_takes_from_each_response_what_the_browser_took() -> None:
    """The hash of an asset, a CSRF token, ids in JSON and in `Location`; what was typed stays."""
    (visit,) = draft_from(FILES / "notes.har").journeys
    first, asset, make, read, like, send, thanks = visit.steps
    assert asset.path == "/{app_css}"
    assert "app_css" in first.capture
    assert (make.json, make.expect) == ({"words": "hello"}, (201,))
    assert make.capture["guest_id"].json == "entry.id"
    assert read.path == "/guest/{guest_id}"
    assert like.body == '{"entry_id": {guest_id}, "n": 5}'  # a number stays a number
    assert like.headers["X-Key"] == "{key}"
    assert send.form == {"csrf": "{csrf}", "email": "{user}", "words": "good day to you"}
    assert send.capture["guestbook_id"].header == "Location"
    assert thanks.path == "/thanks/{guestbook_id}"


def test_a_log_becomes_weighted_visits_and_says_what_it_cannot_know() -> None:
    """Weights are shares; other methods have no bodies; health checks are nobody's visit."""
    draft = draft_from(FILES / "nginx-access.log")
    weights = {one.name: one.weight for one in draft.journeys}
    assert list(weights)[:3] == ["GET /", "GET /static/app.58ee8d78.css", "GET /search"]
    assert weights["GET /"] == pytest.approx(28.6)
    assert sum(one or 0 for one in weights.values()) == pytest.approx(100, abs=0.5)
    assert draft.rate == 5.0
    notes = " ".join(draft.notes)
    assert "health checks and bots are left out: 1" in notes
    assert "POST /guestbook is left out, since a log has no bodies" in notes
    assert "/guest/5000 must exist" in notes
    assert "/nothing" not in str(weights)


@pytest.mark.parametrize("name", ["notes.openapi.json", "notes.har", "nginx-access.log"])
def test_what_is_written_is_a_scenario(name: str, tmp_path: Path) -> None:
    """`hitless init --from` writes a file that the reader takes, with the notes as comments."""
    from scenarios.cli.main import status  # noqa: PLC0415 - heavy
    from scenarios.scenario.reader import load  # noqa: PLC0415 - heavy

    file = tmp_path / "scenario.toml"
    assert status(["init", str(file), "--from", str(FILES / name), *COMMAND]) == 0
    scenario = load(str(file)).scenario
    draft = draft_from(FILES / name)
    assert {one.name for one in scenario.traffic.journeys} == {
        one.name for one in draft.journeys if one.name != "GET /health"
    }
    assert all(f"# - {note}" in file.read_text() for note in draft.notes)


CADDY = {
    "ts": 1.0,
    "request": {"method": "GET", "uri": "/a?x=1", "headers": {"User-Agent": ["curl"]}},
    "status": 200,
}
TRAEFIK = {"RequestMethod": "GET", "RequestPath": "/a?x=1", "DownstreamStatus": 200}
COMMON = '192.0.2.1 - - [10/Oct/2000:13:55:36 -0700] "GET /a?x=1 HTTP/1.0" 200 2326'


@pytest.mark.parametrize("line", [json.dumps(CADDY), json.dumps(TRAEFIK), COMMON])
def test_logs_of_other_servers_are_read(line: str, tmp_path: Path) -> None:
    """Caddy's and Traefik's JSON, and the format `common`."""
    (visit,) = of(f"{line}\n{line}\n", tmp_path, "access.log").journeys
    assert requests_of(visit) == ["GET /a?x=1"]


def har(*entries: dict[str, Any]) -> dict[str, Any]:
    """A recording."""
    return {"log": {"version": "1.2", "entries": list(entries)}}


def entry(url: str, *, post: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """An entry of a recording; `answer` is its body, `status` its status."""
    request = {"method": "POST" if post else "GET", "url": url, "headers": more.get("headers", [])}
    content = {"mimeType": more.get("mime", "application/json"), "text": more.get("answer", "{}")}
    content |= {"encoding": "base64"} if more.get("packed") else {}
    return {
        "startedDateTime": more.get("at", "2026-01-01T00:00:00Z"),
        "request": request | ({"postData": post} if post else {}),
        "response": {"status": more.get("status", 200), "content": content, "headers": []},
    }


def posted(document: object) -> dict[str, Any]:
    """A JSON body, as it is recorded."""
    return {"mimeType": "application/json", "text": json.dumps(document)}


def test_secrets_of_a_recording_are_not_written(tmp_path: Path) -> None:
    """A password becomes one of each user's own; a token that nobody gave is left out, with a note.

    A sign-up and the login after it have the same.
    """
    bearer = [{"name": "Authorization", "value": "Bearer hunter2-token-of-mine"}]
    user = {"email": "me@home.example", "password": "hunter2"}
    draft = of(
        har(
            entry("http://h/users", post=posted(user)),
            entry("http://h/login", post=posted(user), answer='{"token": "tttttttt1"}'),
            entry("http://h/me", headers=[{"name": "Authorization", "value": "Bearer tttttttt1"}]),
            entry("http://h/other", headers=bearer),
        ),
        tmp_path,
    )
    written = "".join(toml.journey(one) for one in draft.journeys) + "".join(draft.notes)
    assert "hunter2" not in written
    assert "me@home" not in written
    sign_up, login, mine, other = draft.journeys[0].steps
    assert sign_up.json == login.json == {"email": "{user}", "password": "{unique}-Aa1"}
    assert mine.headers["Authorization"] == "Bearer {token}"
    assert "Authorization" not in other.headers
    assert "GET /other: the header Authorization is left out" in draft.notes[-1]


def test_a_recording_of_several_hosts_is_that_of_the_page(tmp_path: Path) -> None:
    """Requests to other hosts, without an answer, and of the browser itself are no steps."""
    draft = of(
        har(
            entry("https://cdn.example/x.js", mime="text/javascript"),
            entry("https://shop.example/a?b=c%20d", mime="text/html", answer="<p>"),
            entry("https://shop.example/favicon.ico", status=404),
            entry("https://shop.example/aborted", status=0),
        ),
        tmp_path,
    )
    assert requests_of(draft.journeys[0]) == ["GET /a?b=c%20d"]
    assert draft.notes == ["requests to other hosts are left out: cdn.example"]


def test_pauses_and_packed_bodies_of_a_recording_count(tmp_path: Path) -> None:
    """Time to read is a delay, at most three seconds; a body in base64 is read as text."""
    packed = base64.b64encode(b'{"id": 77}').decode()
    draft = of(
        har(
            entry("http://h/new", post=posted({}), answer=packed, packed=True),
            entry("http://h/n/77", at="2026-01-01T00:00:01Z"),
            entry("http://h/n/77", at="2026-01-01T00:01:00Z"),
        ),
        tmp_path,
    )
    _, soon, late = draft.journeys[0].steps
    assert (soon.path, soon.delay_seconds, late.delay_seconds) == ("/n/{new_id}", 1.0, 3.0)


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("{", "a.json", "malformed|truncated"),
        ("hello\nyou\n", "a.log", "this is not an OpenAPI document"),
        (f"{COMMON}\nx\ny\n", "a.log", "line 2: this is no line of an access log"),
        ('{"swagger": "2.0"}', "a.json", "swagger 2.0 is too old"),
        ('{"openapi": "3.1.0", "paths": {}}', "a.json", "no operation in it can be sent"),
        (
            '{"openapi": "3.1.0", "paths": {"/a": {"$ref": "other.json"}}}',
            "a.json",
            "bundle them into one",
        ),
        ('{"log": {"entries": [{"request": 1}]}}', "a.har", "not as HAR 1.2 has it"),
        ('{"log": {"entries": []}}', "a.har", "no answered request"),
    ],
)
def test_a_file_of_which_nothing_comes_is_one_line(
    text: str, name: str, words: str, tmp_path: Path
) -> None:
    """It names the file, and what is wrong with it."""
    with pytest.raises(UsageError, match=words) as caught:
        of(text, tmp_path, name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    """The system's own word for it."""
    with pytest.raises(UsageError, match="No such file"):
        draft_from(tmp_path / "none.har")


def operation(**more: Any) -> dict[str, Any]:
    """An operation that answers 200."""
    return {"responses": {"200": {"description": "good"}}, **more}


def test_operations_that_nobody_can_send_are_left_out_by_name(tmp_path: Path) -> None:
    """An id that no response gives, credentials that none gives, and what is deprecated."""
    draft = of(
        {
            "openapi": "3.0.3",
            "servers": [{"url": "https://api.example/v2/"}],
            "paths": {
                "/a": {"get": operation()},
                "/b/{x}": {"get": operation()},
                "/c": {"get": operation(security=[{"basic": []}])},
                "/d": {"get": operation(deprecated=True)},
                "/e/{k}": {
                    "parameters": [
                        {"name": "k", "in": "path", "required": True, "schema": {"enum": ["p"]}}
                    ],
                    "get": operation(),
                },
            },
        },
        tmp_path,
    )
    assert [requests_of(one) for one in draft.journeys] == [["GET /v2/a"], ["GET /v2/e/p"]]
    left = [note.split(" is left out")[0] for note in draft.notes]
    assert left == ["GET /d", "GET /c", "GET /b/{x}"]


def test_yaml_says_what_json_says(tmp_path: Path) -> None:
    """Statuses are numbers in YAML; `on`, `no` and dates are text, as in JSON."""
    text = """
openapi: 3.1.0
paths:
  /a:
    post:
      requestBody: {content: {application/json: {example: {on: 2026-01-01, x: no, y: true}}}}
      responses:
        201: {description: made}
"""
    (journey,) = of(text, tmp_path, "a.yaml").journeys
    assert journey.steps[0] == Step(
        path="/a", method="POST", json={"on": "2026-01-01", "x": "no", "y": True}, expect=(201,)
    )
    with pytest.raises(UsageError, match=r"a\.yml: while parsing"):
        of("a: [", tmp_path, "a.yml")


def test_yaml_needs_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PyYAML there is one line that says how to get it."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(UsageError, match=r"pip install 'hitless\[yaml\]'"):
        of("openapi: 3.1.0", tmp_path, "a.yaml")


def test_an_id_may_come_from_a_list(tmp_path: Path) -> None:
    """Where nothing makes a thing, the first of its list is looked at."""
    items = {"type": "array", "items": {"$ref": "#/components/schemas/Item"}}
    answer = {"200": {"content": {"application/json": {"schema": {"properties": {"all": items}}}}}}
    draft = of(
        {
            "openapi": "3.1.0",
            "paths": {
                "/items": {"get": {"responses": answer}},
                "/items/{id}": {"get": operation()},
            },
            "components": {"schemas": {"Item": {"type": "object", "properties": {"id": {}}}}},
        },
        tmp_path,
    )
    both = draft.journeys[-1]
    assert requests_of(both) == ["GET /items", "GET /items/{id}"]
    assert both.steps[0].capture["id"].json == "all.0.id"


JSON = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(), JSON), st.text().filter(lambda name: name.isprintable()))
def test_toml_says_what_a_step_says(body: dict[str, Any], name: str) -> None:
    """What is written is read back as the same step."""
    import tomllib  # noqa: PLC0415 - for this alone

    step = Step(path="/" + name, json=body, headers={"X-\x7f": name}, expect=(200, 409))
    read = tomllib.loads(toml.journey(Journey(name=name, steps=(step,))))
    (journey,) = read["traffic"]["journeys"]
    assert msgspec.convert(journey["steps"][0], Step) == step
    assert journey["name"] == name


@given(st.text(alphabet="abc123-", min_size=1), st.text(alphabet='abc123-<>"= ', max_size=80))
def test_a_capture_finds_what_it_was_made_from(value: str, text: str) -> None:
    """A pattern of a page matches that page, and gives the value."""
    import re  # noqa: PLC0415 - for this alone

    found = captured(value, RecordedResponse.of(text, "text/html", ""))
    if found is not None and found.pattern is not None:
        match = re.search(found.pattern, text)
        assert match is not None
        assert match[1] == value
