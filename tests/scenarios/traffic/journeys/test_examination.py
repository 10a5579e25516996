"""What a step expects of an answer beyond its status, and what later steps know of it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest

from scenarios.evidence.outcome import Outcome
from scenarios.evidence.recorder import Recorder
from scenarios.evidence.run_folder import RunFolder
from scenarios.traffic.errors import Location, PlanError
from scenarios.traffic.generator import Generator
from scenarios.traffic.intervals import first_sight
from scenarios.traffic.journeys.examination import Answer, Examination, Mismatch
from scenarios.traffic.journeys.set_up import SetUpError, set_up
from scenarios.traffic.journeys.user import load_coroutine
from scenarios.traffic.plan import Plan
from scenarios.traffic.settings import BodyCheck, Capture, HeaderCheck, Journey, Step
from tests.support.servers import Site, read_request, serving

Respond = Callable[[str, str, bytes], tuple[int, str]]
"""From method, target and body to status and body."""


@asynccontextmanager
async def site(respond: Respond) -> AsyncIterator[int]:
    """A server; yields its port."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, _, body = (await read_request(reader)).partition(b"\r\n\r\n")
            method, target, _ = head.decode().split(" ", 2)
            status, text = respond(method, target, body)
            content = text.encode()
            length = f"Content-Length: {len(content)}"
            writer.write(f"HTTP/1.1 {status} X\r\n{length}\r\n\r\n".encode() + content)
            await writer.drain()

    async with serving(behave) as server:
        yield server.port


async def sent(
    folder: Path, respond: Respond, *journeys: Journey, values: dict[str, str] | None = None
) -> list[Outcome]:
    """What ten arrivals came to."""
    path = folder / "requests.ndjson"
    enough = asyncio.Event()
    arrived = 0

    def counted(method: str, target: str, body: bytes) -> tuple[int, str]:
        nonlocal arrived
        arrived += 1
        if arrived >= 10:
            enough.set()
        return respond(method, target, body)

    async with site(counted) as port:
        plan = Plan(
            host="127.0.0.1",
            port=port,
            rate=300,
            arrivals="constant",
            seed=7,
            journeys=journeys,
            requests_path=str(path),
            mails_path="",
            set_up=(Step(path="/", capture={name: Capture(json=name) for name in values or ()}),),
        )
        with Recorder[Outcome](path) as requests:
            async with Generator(plan, requests=requests, mails=None) as generator:
                generator.start(values=values or {})
                await enough.wait()
                generator.finish()
                await generator.drained()
    return list(RunFolder(path.parent).requests.read())


def notes(method: str, target: str, body: bytes) -> tuple[int, str]:
    """A service that keeps notes, and forgets what a note says when it is shown."""
    if method == "POST":
        return 201, json.dumps({"note": {"id": json.loads(body)["title"].upper(), "tags": [1]}})
    return 200, json.dumps({"id": target.rpartition("/")[2], "text": "lost"})


async def test_a_value_of_one_answer_is_in_the_next_request(tmp_path: Path) -> None:
    """A captured value fills later steps, and evidence keeps the placeholder as the endpoint."""
    create = Step(
        method="POST",
        path="/notes",
        json={"title": "{unique}"},
        expect=(201,),
        expect_body=BodyCheck(json={"note.tags.0": 1}),
        capture={"id": Capture(json="note.id")},
    )
    show = Step(path="/notes/{id}", expect_body=BodyCheck(json={"id": "{id}"}))
    found = await sent(tmp_path, notes, Journey(name="write", steps=(create, show)))
    shown = [one for one in found if one.endpoint == "GET /notes/{id}"]
    assert shown
    assert all(one.ok for one in found)
    assert {one.cause_id for one in shown} <= {one.request_id for one in found}


async def test_a_body_that_is_not_as_expected_is_a_failure(tmp_path: Path) -> None:
    """A 200 with the wrong body is a failed request that says in what, and ends its journey."""
    first = Step(path="/notes/7", expect_body=BodyCheck(json={"text": "kept"}))
    found = await sent(tmp_path, notes, Journey(name="j", steps=(first, Step(path="/never"))))
    assert {one.mismatch for one in found} == {"text in the body is 'lost', not 'kept'"}
    assert {(one.ok, one.status, first_sight(one)) for one in found} == {
        (False, 200, "unexpected_answer")
    }
    assert {one.endpoint for one in found} == {"GET /notes/7"}


@pytest.mark.parametrize(
    ("check", "capture", "message"),
    [
        (BodyCheck(contains=("gold",)), {}, "the body does not contain 'gold'"),
        (BodyCheck(lacks=("silver",)), {}, "the body contains 'silver'"),
        (BodyCheck(json={"a.0": 1}), {}, "a.0 in the body is True, not 1"),
        (BodyCheck(json={"b": 1}), {}, "the body has no b"),
        (None, {"x": Capture(header="ETag")}, "there is no header ETag to capture x from"),
        (None, {"x": Capture(pattern="go(ld)")}, "nothing matches 'go(ld)' to capture x from"),
    ],
)
def test_what_is_wrong_with_an_answer(
    check: BodyCheck | None, capture: dict[str, Capture], message: str
) -> None:
    """A check that fails says what is wrong in words."""
    examination = Examination(check, capture, where=Location(""), known=frozenset())
    with pytest.raises(Mismatch) as caught:
        examination.apply(Answer(body=b'{"a": [true], "c": "silver"}'), {})
    assert str(caught.value) == message


HEADERS = (("Content-Type", "text/html; charset=utf-8"), ("Vary", "Accept"), ("vary", "Cookie"))


@pytest.mark.parametrize(
    ("name", "check", "message"),
    [
        ("content-type", "text/html; charset=utf-8", None),
        ("VARY", "Cookie", None),
        ("Vary", HeaderCheck(), None),
        ("Content-Type", HeaderCheck(contains="html", pattern="utf-?8$"), None),
        ("X-Powered-By", HeaderCheck(absent=True), None),
        ("Content-Type", HeaderCheck(equals="{kind}"), None),
        ("Vary", "Origin", "header Vary is 'Accept, Cookie', not 'Origin'"),
        ("ETag", HeaderCheck(), "there is no header ETag"),
        ("ETag", HeaderCheck(contains="x"), "there is no header ETag"),
        ("vary", HeaderCheck(absent=True), "there is a header vary: 'Accept'"),
        (
            "Vary",
            HeaderCheck(contains="Orig"),
            "header Vary is 'Accept, Cookie' and does not contain 'Orig'",
        ),
        (
            "Vary",
            HeaderCheck(pattern="^A.*z"),
            "header Vary is 'Accept, Cookie' and does not match '^A.*z'",
        ),
    ],
)
def test_header_fields_are_checked(
    name: str, check: HeaderCheck | str, message: str | None
) -> None:
    """A field must be there, equal, contain, match, or be absent; its name is in any case."""
    examination = Examination(
        None, {}, headers={name: check}, where=Location(""), known=frozenset({"kind"})
    )
    assert not examination.is_empty
    answer, values = Answer(HEADERS), {"kind": "text/html; charset=utf-8"}
    if message is None:
        assert examination.apply(answer, values) == {}
        return
    with pytest.raises(Mismatch) as caught:
        examination.apply(answer, values)
    assert str(caught.value) == message


async def test_a_header_that_is_not_as_expected_is_a_failure(tmp_path: Path) -> None:
    """A 200 without the header field is a failed request that says so."""
    step = Step(path="/", expect_headers={"Cache-Control": HeaderCheck(contains="immutable")})
    found = await sent(tmp_path, lambda *_: (200, "ok"), Journey(name="j", steps=(step,)))
    assert {one.mismatch for one in found} == {"there is no header Cache-Control"}
    assert {(one.ok, one.status) for one in found} == {(False, 200)}
    good = Step(path="/", expect_headers={"content-length": "2"})
    found = await sent(tmp_path, lambda *_: (200, "ok"), Journey(name="j", steps=(good,)))
    assert all(one.ok for one in found)


@pytest.mark.parametrize(
    ("name", "check", "message"),
    [
        ("a b", "x", "'a b' is not the name of a header field"),
        ("A", HeaderCheck(pattern="("), "pattern '(': missing ), unterminated subpattern"),
        ("A", HeaderCheck(absent=True, equals="x"), "absent excludes equals, contains and pattern"),
        ("A", "{nobody}", "nobody"),
    ],
)
def test_a_header_check_that_can_never_hold_is_refused(
    name: str, check: HeaderCheck | str, message: str
) -> None:
    """Nothing is started for it; the message says where it stands."""
    where = Location("journey j, step 1", ("journeys", "0", "steps", "0"))
    with pytest.raises(PlanError) as caught:
        Examination(None, {}, headers={name: check}, where=where, known=frozenset())
    assert message in str(caught.value)
    assert "journey j, step 1" in str(caught.value)
    assert caught.value.keys[:5] == ("journeys", "0", "steps", "0", "expect_headers")


def test_what_can_be_captured() -> None:
    """Values come from JSON, from a header, or by a pattern from either or from the body."""
    capture = {
        "json": Capture(json="items.1"),
        "header": Capture(header="location", pattern=r"/(\d+)$"),
        "body": Capture(pattern="t.o"),
    }
    answer = Answer((("Location", "/notes/12"),), b'{"items": ["one", {"two": 2}]}')
    examination = Examination(None, capture, where=Location(""), known=frozenset())
    assert examination.apply(answer, {}) == {"json": '{"two": 2}', "header": "12", "body": "two"}


async def test_the_set_up_fills_every_journey(tmp_path: Path) -> None:
    """What the set-up captured is known everywhere; without it nothing starts."""
    async with site(lambda *_: (200, '{"token": "t-1"}')) as port:
        step = Step(method="POST", path="/login", json={}, capture={"token": Capture(json="token")})
        values = await set_up("127.0.0.1", port, [step], seed=1, timeout_seconds=30)
    assert values == {"token": "t-1"}
    seen: set[str] = set()

    def respond(_: str, target: str, __: bytes) -> tuple[int, str]:
        seen.add(target)
        return 200, ""

    journey = Journey(name="look", steps=(Step(path="/?t={token}"),))
    assert all(one.ok for one in await sent(tmp_path, respond, journey, values=values))
    assert seen == {"/?t=t-1"}


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            Step(path="/", expect=(204,)),
            "set-up, step 1: GET /: it was answered 200, expected: 204",
        ),
        (Step(path="/", capture={"x": Capture(json="y")}), "GET /: the body has no y"),
    ],
)
async def test_a_set_up_that_fails_says_where(step: Step, message: str) -> None:
    """A set-up that cannot be done is one line with the step and what came instead."""
    async with site(lambda *_: (200, "{}")) as port:
        with pytest.raises(SetUpError) as caught:
            await set_up("127.0.0.1", port, [step], seed=1, timeout_seconds=30)
    assert message in str(caught.value)


JOURNEYS = """
import asyncio

async def write(user):
    answer = await user.post("/notes", json={"title": user.unique}, expect=(201,))
    note = answer.json()["note"]["id"]
    shown = await user.get(f"/notes/{note}", name="/notes/{id}")
    user.check(shown.json()["id"] == note, "another note")
    await user.get(f"/notes/{note}?again", name="/notes/{id}", new_connection=True)
    user.check(shown.json()["text"] == user.random.choice(["lost"]), "the text")

async def careless(user):
    answer = await user.get("/notes/1")
    answer.json()["nothing"]

async def forgetful(user):
    await user.get("/notes/1")
    user.check(False, "it is lost")
    await user.get("/never")

async def unlucky(user):
    await user.get("/notes/1", expect=(404,))
    await user.get("/never")

async def slow(user):
    await user.get("/notes/1")
    await asyncio.sleep(3600)
"""


def written(folder: Path, name: str) -> Journey:
    (folder / "journeys.py").write_text(JOURNEYS)
    return Journey(name=name, python=f"{folder}/journeys.py:{name}")


async def test_a_coroutine_is_a_journey(tmp_path: Path) -> None:
    """A coroutine says what no template can, and each of its requests is evidence."""
    found = await sent(tmp_path, notes, written(tmp_path, "write"))
    assert all(one.ok for one in found)
    assert {one.endpoint for one in found} == {"POST /notes", "GET /notes/{id}"}
    assert len({one.request_id for one in found}) == len(found)
    again = [one for one in found if one.request_id.endswith("-3")]
    assert {one.connection for one in again} == {"new"}
    assert {one.cause_id[-2:] for one in again if one.cause_id} == {"-2"}


@pytest.mark.parametrize(
    ("name", "mismatch", "status"),
    [
        ("careless", "KeyError: 'nothing'", 200),
        ("forgetful", "it is lost", 200),
        ("unlucky", None, 200),
    ],
)
async def test_a_coroutine_that_finds_something_wrong(
    name: str, mismatch: str | None, status: int, tmp_path: Path
) -> None:
    """A check, an exception and an unexpected status fail the request, and end the journey."""
    found = await sent(tmp_path, notes, written(tmp_path, name))
    assert {(one.endpoint, one.mismatch, one.status) for one in found} == {
        ("GET /notes/1", mismatch, status)
    }
    assert not any(one.ok for one in found)


BALANCERS = b"""HTTP/1.1 500 No\r
Content-Length: 0\r
X-Served-By: a-1\r
Proxy-Status: p; error=x\r
\r
"""
APPLICATIONS = b"""HTTP/1.1 500 No\r
Content-Type: application/problem+json\r
Content-Length: 41\r
\r
{"title": "on fire", "sqlstate": "42P01"}"""


@pytest.mark.parametrize("answer", [None, BALANCERS, APPLICATIONS])
async def test_a_coroutines_request_is_evidence_as_a_steps_is(
    answer: bytes | None, tmp_path: Path
) -> None:
    """Whoever sends a request, its outcome tells the same: the error, its words, the answer."""
    path = tmp_path / "requests.ndjson"
    step = Journey(name="step", steps=(Step(path="/notes/1"),))
    async with serving(Site(answer or b"")) as server:
        plan = Plan(
            host="127.0.0.1",
            port=1 if answer is None else server.port,
            rate=100,
            journeys=(written(tmp_path, "careless"), step),
            requests_path=str(path),
            mails_path="",
        )
        with Recorder[Outcome](path) as requests:
            async with Generator(plan, requests=requests, mails=None) as generator:
                generator.start()
                while generator.count < 20:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.01)
                generator.finish()
                await generator.drained()
    names = ("endpoint", "status", "error", "error_detail", "errno", "served_by", "proxy_status")
    told: dict[str, set[tuple[object, ...]]] = {"careless": set(), "step": set()}
    for one in RunFolder(tmp_path).requests.read():
        told[one.journey].add(tuple(getattr(one, n) for n in (*names, "sqlstate", "problem")))
    assert told["careless"] == told["step"]
    (facts,) = told["step"]
    assert facts[1:4] == (
        (None, "connect_refused", "Connection refused") if answer is None else (500, None, None)
    )


async def test_a_coroutine_that_never_ends_is_dismissed(tmp_path: Path) -> None:
    """The end of the traffic does not wait for a coroutine longer than for a request."""
    path = tmp_path / "requests.ndjson"
    came = asyncio.Event()

    def respond(*_: object) -> tuple[int, str]:
        came.set()
        return 200, "{}"

    async with site(respond) as port:
        plan = Plan(
            host="127.0.0.1",
            port=port,
            rate=50,
            journeys=(written(tmp_path, "slow"),),
            requests_path=str(path),
            mails_path="",
            timeout_seconds=0.5,
        )
        with Recorder[Outcome](path) as requests:
            async with Generator(plan, requests=requests, mails=None) as generator:
                generator.start()
                await came.wait()
                generator.finish()
                await generator.drained()
    assert all(one.ok for one in RunFolder(path.parent).requests.read())


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("none.py:x", "no file"),
        ("journeys.py", "expected file.py:function"),
        ("journeys.py:JOURNEYS", "there is no `async def JOURNEYS`"),
        ("broken.py:x", "ZeroDivisionError"),
    ],
)
def test_a_coroutine_that_is_not_there(reference: str, message: str, tmp_path: Path) -> None:
    """A coroutine that cannot be loaded is one line that says why."""
    (tmp_path / "journeys.py").write_text("JOURNEYS = 1")
    (tmp_path / "broken.py").write_text("1 / 0")
    with pytest.raises(PlanError) as caught:
        load_coroutine(f"{tmp_path}/{reference}", where=Location("journey j"))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (Step(path="/{id}"), "nothing fills {id}"),
        (
            Step(path="/", capture={"Id": Capture(json="x")}),
            "capture Id: a name has only lower-case",
        ),
        (Step(path="/", capture={"user": Capture(json="x")}), "and is none of unique"),
        (Step(path="/", capture={"x": Capture()}), "it needs one of json, header and pattern"),
        (Step(path="/", capture={"x": Capture(pattern="(")}), "pattern '('"),
        (Step(path="/", json={}, body=""), "form, json and body exclude each other"),
    ],
)
async def test_a_step_that_cannot_be_carried_out(step: Step, message: str) -> None:
    """A mistake in a step is found before anything is sent."""
    with pytest.raises(PlanError) as caught:
        await set_up("127.0.0.1", 1, [step], seed=1, timeout_seconds=1)
    assert message in str(caught.value)


async def test_what_a_body_may_hold(tmp_path: Path) -> None:
    """Each journey has a word, an address and a UUID of its own, the same in all its steps."""
    bodies: list[dict[str, str]] = []

    def respond(_: str, __: str, body: bytes) -> tuple[int, str]:
        bodies.append(json.loads(body))
        return 200, '{"quote": "a \\"b\\" {c}"}'

    names = ("unique", "user", "uuid", "worker", "seed", "journey")
    json_body = {name: f"{{{name}}}" for name in names}
    first = Step(method="POST", path="/", json=json_body, capture={"q": Capture(json="quote")})
    second = Step(method="POST", path="/", json={**json_body, "quote": "{q}"})
    found = await sent(tmp_path, respond, Journey(name="j", steps=(first, second)))
    assert all(one.ok for one in found)
    users: dict[str, list[dict[str, str]]] = {}
    for body in bodies:
        users.setdefault(body["unique"], []).append(body)
    assert len({body["uuid"] for body in bodies}) == len(users)
    for unique, (one, *rest) in users.items():
        assert UUID(one["uuid"]).version == 4
        assert (one["worker"], one["seed"], one["journey"]) == ("0", "7", "j")
        assert one["user"].partition("@")[0] == unique
        assert [body | {"quote": ""} for body in rest] == [one | {"quote": ""} for _ in rest]
        assert {body["quote"] for body in rest} <= {'a "b" {c}'}
