"""`hitless explain` tells one request's story, and refuses what it cannot tell."""

import json
from pathlib import Path

import msgspec
import pytest

from scenarios.cli.main import status
from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.locks import DatabaseSession, LockWait
from scenarios.evidence.mail import Mail
from scenarios.evidence.run_folder import RunFolder
from scenarios.evidence.server_log import ServerLine
from scenarios.evidence.subject import Subject
from scenarios.review import explain, review, write_reports
from tests.support import evidence as make
from tests.support.evidence import Evidence

WAIT = LockWait(
    at_ns=make.at(2.26),
    end_ns=make.at(2.74),
    gone_ns=make.at(2.75),
    waiter=DatabaseSession(pid=1, application="app a-1"),
    mode="RowExclusiveLock",
    kind="relation",
    relation="subscriptions",
    chain=(DatabaseSession(pid=2, application="hitless-migrator", query="ALTER TABLE"),),
)


@pytest.fixture
def folder(clean_run: Evidence, tmp_path: Path) -> Path:
    """A run in which the insert at 2.25 s waited for a migration, and was then refused."""
    run = clean_run.failing(
        2.245, 2.255, status=500, sqlstate="23502", done_ns=make.at(2.75), served_by="a-1"
    ).but(
        access_log=[
            ExchangeRecord(
                at_ns=make.at(2.251),
                request_id="s7-000225-1",
                status=500,
                backend="a-1",
                version="a",
                attempts=1,
                end="complete",
                wait_ns=0,
                first_byte_ns=499_000_000,
                total_ns=499_000_000,
            )
        ]
    )
    path: Path = run.write(tmp_path / "run", lock_waits=[WAIT])
    (path / "a-1.log").write_text(
        json.dumps({"at_ns": make.at(2.749), "message": "refused", "request_id": "s7-000225-1"})
        + "\nplain words of s7-000225-1\nnothing of s7-000225-12\n"
        + "nothing of s7-000225-1-2, but of s7-000225-1 as well\n"
        + "of s7-000225-1-2 alone\n"
    )
    return path


def test_what_many_sessions_say_alike_is_told_once(clean_run: Evidence, tmp_path: Path) -> None:
    """Waits and errors of other sessions of the replica are counted, not repeated."""
    run = clean_run.failing(
        2.245, 2.255, status=500, sqlstate="23502", done_ns=make.at(2.75), served_by="a-1"
    )
    waits = [
        msgspec.structs.replace(
            WAIT, at_ns=WAIT.at_ns + n, waiter=DatabaseSession(pid=10 + n, application="app a-1")
        )
        for n in range(30)
    ]
    lines = [
        ServerLine(
            at_ns=make.at(second),
            pid=7,
            severity="ERROR",
            sqlstate="23502",
            message="null value",
            application="app a-1",
        )
        for second in (2.73, 2.745, 2.76)
    ]
    folder = run.write(tmp_path / "run", lock_waits=waits, server_lines=lines)
    told = {
        moment.source: (moment.text, moment.at) for moment in explain(folder, "s7-000225-1").moments
    }
    assert told["locks"][0].startswith("30 sessions of app a-1 wait up to 0.480 s for RowExclusive")
    text, at = told["postgres"]
    assert text == "ERROR 23502 null value (app a-1); 3 times around then"
    assert at == pytest.approx(2.745)


def test_a_story_in_order(folder: Path) -> None:
    """What client, balancer, replica, locks and rollout say is told in order of time."""
    story = explain(folder, "s7-000225-1")
    assert story.cause == "sqlstate:23502"
    assert set(story.contributing) == {"lock_wait", "migration: 0002.expand"}
    assert story.subject == "u225@example.com"
    assert story.found == ("active",)
    stamped = [moment.at for moment in story.moments if moment.at is not None]
    assert stamped == sorted(stamped)
    told = [(moment.source, moment.text) for moment in story.moments]
    sources = [source for source, _ in told]
    assert sources[0] == "client"
    assert {"client", "balancer", "a-1", "locks", "rollout"} <= set(sources)
    assert ("a-1", "refused") in told
    assert told[-2:] == [
        ("a-1", "plain words of s7-000225-1"),
        ("a-1", "nothing of s7-000225-1-2, but of s7-000225-1 as well"),
    ]
    assert any("behind hitless-migrator (ALTER TABLE)" in text for _, text in told)
    assert not any("s7-000225-12" in text for _, text in told)


def test_a_story_begins_with_the_facts(folder: Path) -> None:
    """What was asked, how, in which journey, when, who answered, and what was going on."""
    story = explain(folder, "s7-000225-1")
    assert (story.request_id, story.at, story.seconds) == ("s7-000225-1", 2.25, 0.5)
    assert (story.endpoint, story.journey) == (make.SUBSCRIBE, "subscribe")
    assert story.connection == "reused"
    assert story.got == "HTTP 500; SQLSTATE 23502"
    assert story.summary == f"{make.SUBSCRIBE} failed: HTTP 500 after 0.500 s"
    assert (story.replica, story.version, story.confidence) == ("a-1", "a", "certain")
    assert (story.title or "").startswith("SQLSTATE 23502")
    assert (story.step, story.schema) == ("start b-2", "0002.expand")
    assert story.logged
    assert not explain(folder, "s7-000330-1").logged
    assert explain(folder, "s7-000330-2").led_by == "s7-000330-1"


def test_all_that_the_client_got_is_told(clean_run: Evidence, tmp_path: Path) -> None:
    """The error with its own words, the answer, the application's words, and the proxy's."""
    index = next(n for n, one in enumerate(clean_run.outcomes) if one.request_id == "s7-000225-1")
    run = clean_run.with_request(
        index,
        status=502,
        error="connect_timeout",
        error_detail="nobody there",
        problem="on fire",
        mismatch="no link",
        proxy_status="p; error=x",
    )
    assert explain(run.write(tmp_path / "run"), "s7-000225-1").got == (
        "connect timeout; nobody there; HTTP 502; on fire; no link; Proxy-Status: p; error=x"
    )


def test_what_the_balancer_did_is_told_step_by_step(clean_run: Evidence, tmp_path: Path) -> None:
    """Arrival, whom it chose and how, the first byte, the end; what did not happen is left out."""

    def told(**fields: int) -> list[tuple[float | None, str]]:
        line = ExchangeRecord(
            **{
                "at_ns": make.at(2.251),
                "request_id": "s7-000225-1",
                "status": 200,
                "backend": "a-1",
                "version": "a",
                "end": "complete",
                "attempts": 2,
                "wait_ns": 1_000_000,
                "first_byte_ns": 3_000_000,
                "total_ns": 4_000_000,
                **fields,
            }  # type: ignore[arg-type]
        )
        folder = clean_run.but(access_log=[line]).write(tmp_path / "run")
        moments = explain(folder, "s7-000225-1").moments
        return [(one.at, one.text) for one in moments if one.source == "balancer"]

    assert told() == [
        (2.251, "the request arrives"),
        (2.252, "gives it to a-1 (version a) on a new connection, try 2"),
        (2.254, "a-1 begins to answer"),
        (2.255, "ends: complete, status 200"),
    ]
    assert told(reused=True, attempts=1)[1][1].endswith("on a reused connection")
    assert told(wait_ns=-1, first_byte_ns=-1, total_ns=-1) == [(2.251, "the request arrives")]


def test_what_a_replicas_own_line_says_is_told(folder: Path) -> None:
    """Of a line in JSON the message, the status and what the database refused; else the line."""
    lines = [
        {"at_ns": make.at(2.7), "message": "request", "status": 500, "id": "s7-000225-1"},
        {"at_ns": make.at(2.71), "message": "The database refused", "sqlstate": "23502",
         "refusal": "null value", "request_id": "s7-000225-1"},
        {"at_ns": make.at(2.72), "id": "s7-000225-1"},
    ]  # fmt: skip
    (folder / "a-1.log").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    told = [
        (one.at, one.text) for one in explain(folder, "s7-000225-1").moments if one.source == "a-1"
    ]
    assert told == [
        (2.7, "request 500"),
        (2.71, "The database refused 23502 null value"),
        (2.72, json.dumps(lines[2])),
    ]


def test_what_is_left_of_the_subject_is_told(clean_run: Evidence, tmp_path: Path) -> None:
    """The states of its rows after the run, also where a row has none, or where there is none."""
    rows = [row for row in clean_run.after or () if row.subject != "u225@example.com"]
    left = {}
    for states in ((), (None,), ("active", "pending_confirmation")):
        after = [*rows, *(Subject(subject="u225@example.com", state=one) for one in states)]
        folder = clean_run.but(after=after).write(tmp_path / str(len(left)))
        left[states] = explain(folder, "s7-000225-1").found
    assert left == {
        (): (),
        (None,): ("a row without a state",),
        ("active", "pending_confirmation"): ("active", "pending_confirmation"),
    }
    unread = clean_run.but(before=None, after=None).write(tmp_path / "unread")
    assert explain(unread, "s7-000225-1").found is None


def test_only_its_own_mails_are_told(clean_run: Evidence, tmp_path: Path) -> None:
    """A mail to its subject that another request led to is another request's."""
    mails = [
        Mail(at_ns=make.at(2.3), recipient="u225@example.com", request_id=one, sent_by="b-2")
        for one in ("s7-000225-1", "s7-000001-1", None)
    ]
    mails.append(Mail(at_ns=make.at(2.3), recipient="u230@example.com", request_id="s7-000225-1"))
    folder = clean_run.but(mails=mails).write(tmp_path / "run")
    told = [one.text for one in explain(folder, "s7-000225-1").moments if one.source == "mail"]
    assert told == [
        "a mail from b-2 reaches u225@example.com, for s7-000225-1",
        "a mail from b-2 reaches u225@example.com",
    ]


def test_a_good_request_has_no_cause(folder: Path) -> None:
    """A request that was fine is told without a cause, with what it led to."""
    story = explain(folder, "s7-000330-1")
    assert story.cause is None
    assert story.led_to == ("s7-000330-2",)
    assert any(moment.source == "mail" for moment in story.moments)


def test_a_story_has_the_cause_of_the_verdict(clean_run: Evidence, tmp_path: Path) -> None:
    """Also where only all requests together show it: a replica that answered nobody."""
    lost = {"status": None, "error": "timeout", "first_byte_ns": None, "done_ns": make.at(2.752)}
    run = clean_run.failing(2.3, 2.75, **lost)
    folder = run.write(tmp_path / "run")
    judgement = review(folder)
    verdict = judgement.verdict
    told = {
        request_id: explain(folder, request_id).cause
        for cause in verdict.causes
        for request_id in cause.evidence.requests[:: cause.count // 3]
    }
    assert {cause.cause for cause in verdict.causes} == {
        *("lifecycle:unresponsive", "transport:timeout"),
    }
    assert told.items() <= {
        (request_id, cause.cause)
        for cause in verdict.causes
        for request_id in cause.evidence.requests
    }
    write_reports(folder, judgement)
    assert (
        "the replica answered no request during that time" in (folder / "report.html").read_text()
    )


def test_the_command_prints_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For people and as JSON."""
    assert status(["explain", str(folder), "s7-000225-1"]) == 0
    text = capsys.readouterr().out
    assert "sqlstate:23502" in text
    assert "hitless-migrator" in text
    assert status(["explain", str(folder), "s7-000225-1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["request_id"] == "s7-000225-1"


def test_the_facts_are_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is known of the request stands above its moments; what is not known is left out."""
    assert status(["explain", str(folder), "s7-000225-1"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("s7-000225-1 POST /subscriptions failed: HTTP 500 after 0.500 s Why ")
    for fact in (
        "Why not-null violation [sqlstate:23502]",
        "With lock_wait, migration: 0002.expand",
        *("During start b-2", "Schema 0002.expand", "Journey subscribe", "Left active"),
        *("About u225@example.com", "+2.2500 s client", "-"),
    ):
        assert fact in text
    assert "Led" not in text
    assert "its log has no line" not in text
    status(["explain", str(folder), "s7-000330-2"])
    text = " ".join(capsys.readouterr().out.split())
    assert "Why" not in text
    assert "Led by s7-000330-1" in text
    assert "Balancer its log has no line of this request" in text
    status(["explain", str(folder), "s7-000330-1"])
    assert "Led to s7-000330-2" in " ".join(capsys.readouterr().out.split())


def test_a_request_that_there_is_not(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An id that the run does not have is refused with those that come close."""
    assert status(["explain", str(folder), "s7-000225-3"]) == 2
    assert "did you mean s7-000225-1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    [
        *("requests.ndjson", "events.ndjson", "ticks.ndjson", "mails.ndjson", "balancer.ndjson"),
        *("locks.ndjson", "subjects-before.ndjson", "subjects-after.ndjson", "run.json"),
    ],
)
@pytest.mark.parametrize("damage", ["cut", "garbled"])
def test_damaged_evidence_is_never_passed_over(
    folder: Path, name: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is cut short or garbled is one line that names it, and no verdict is written."""
    path = folder / name
    data = path.read_bytes()
    path.write_bytes(data[:-3] if damage == "cut" else data[:-9] + b"\x00}{!!\n")
    assert status(["report", str(folder)]) == 2
    captured = capsys.readouterr()
    assert str(path) in captured.err
    assert captured.out == ""
    assert not (folder / "verdict.json").exists()


@pytest.mark.parametrize("damage", ["a line less", "a status changed", "gone"])
def test_evidence_that_still_reads_well_is_not_trusted(
    folder: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that lost whole lines, or says something else, is no longer what was recorded."""
    manifest = json.loads((folder / "run.json").read_bytes())
    manifest["files"] = RunFolder(folder).digests()
    (folder / "run.json").write_text(json.dumps(manifest))
    assert status(["report", str(folder)]) == 1
    (folder / "verdict.json").unlink()
    path = folder / "requests.ndjson"
    lines = path.read_bytes().splitlines(keepends=True)
    if damage == "gone":
        path = folder / "locks.ndjson"
        path.unlink()
    elif damage == "a line less":
        path.write_bytes(b"".join(lines[:-1]))
    else:
        path.write_bytes(b"".join(lines).replace(b'"status":500', b'"status":200'))
    assert status(["report", str(folder)]) == 2
    assert str(path) in capsys.readouterr().err
    assert not (folder / "verdict.json").exists()


def test_the_verdict_is_the_same_byte_for_byte(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Judged again, also from lines in another order, the evidence gives the same bytes."""
    status(["report", str(folder)])
    first = (folder / "verdict.json").read_bytes()
    for name in ("requests", "locks", "balancer", "mails", "subjects-after"):
        path = folder / f"{name}.ndjson"
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(reversed(lines)))
    status(["report", str(folder)])
    assert (folder / "verdict.json").read_bytes() == first
    capsys.readouterr()
