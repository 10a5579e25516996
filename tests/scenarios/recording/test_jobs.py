"""What is told of jobs is taken in whole, and what is wrong with it is said in one line."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import EnvironmentFailure
from orchestrator.processes import Processes
from scenarios.evidence.jobs import JobEvent, StoredJob
from scenarios.evidence.run_folder import RecordFile
from scenarios.evidence.subject import Subject
from scenarios.recording.job_account import JobAccount, account_socket, event_of
from scenarios.recording.job_errors import JobErrors, read_job_errors
from scenarios.recording.job_store import left_of, stored_jobs, wait_for_jobs
from scenarios.recording.ndjson_command import NdjsonCommand
from scenarios.recording.subjects import record_subjects, wait_settled

LINES = (
    b'{"job": "1", "what": "asked", "at_ns": 1, "by": "a-1", "name": "mail", "key": 7}\n'
    b'{"job": 1, "what": "begun", "at_ns": 2, "by": "worker-a-1", "pid": 5}\n'
    b"\n"
    b'{"job": "1", "what": "ended", "at_ns": 3.0, "by": "worker-a-1", "more": [1]}\n'
)
EVENTS = [
    JobEvent(job="1", what="asked", at_ns=1, by="a-1", name="mail", key="7"),
    JobEvent(job="1", what="begun", at_ns=2, by="worker-a-1", pid=5),
    JobEvent(job="1", what="ended", at_ns=3, by="worker-a-1"),
]


@given(cuts=st.lists(st.integers(0, len(LINES)), max_size=6))
def test_an_account_is_the_same_however_it_is_cut(
    cuts: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A line that is written in pieces is one line, wherever the reader looks in between."""
    path = tmp_path_factory.mktemp("account") / "jobs"
    account = JobAccount(path)
    at = 0
    for cut in (*sorted(cuts), len(LINES)):
        with path.open("ab") as file:
            file.write(LINES[at:cut])
        at = cut
        account.read()
    assert account.events == EVENTS
    assert account.unreadable == 0


def test_the_jobs_in_hand_are_those_that_were_begun_and_not_ended(tmp_path: Path) -> None:
    """By process, so that a drain and a fault know whom they wait for."""
    path = tmp_path / "jobs"
    account = JobAccount(path)
    assert account.busy() == {}
    path.write_bytes(b"".join(LINES.splitlines(keepends=True)[:2]))
    assert account.busy() == {"worker-a-1": {"1"}}
    assert account.in_hand("worker-a-1") == 1
    assert account.unfinished() == {"1"}
    path.write_bytes(LINES)
    assert account.busy() == {}
    assert account.unfinished() == set()
    assert account.ended() == {"1"}


def test_a_line_that_is_none_is_counted_and_shown(tmp_path: Path) -> None:
    """The run does not guess: the verdict says where the account has a gap."""
    path = tmp_path / "jobs"
    path.write_bytes(b'hello\n{"job": "1", "what": "eaten"}\n{"what": "begun"}\n' + LINES)
    account = JobAccount(path)
    account.record(tmp_path / "jobs.ndjson")
    assert account.unreadable == 3
    assert account.first_unreadable is not None
    assert account.first_unreadable.startswith("line 1 (hello): ")
    assert list(RecordFile(tmp_path / "jobs.ndjson", JobEvent).read()) == EVENTS


def test_a_line_without_a_time_gets_that_of_its_reading() -> None:
    """A language without a monotonic clock can tell of jobs, too."""
    assert event_of(b'{"job": "1", "what": "begun"}', 42).at_ns == 42
    with pytest.raises(msgspec.DecodeError):
        event_of(b"[]", 42)


async def test_the_socket_takes_the_same_lines(tmp_path: Path) -> None:
    """Lines that come over the socket are in the account, and stamped when they come."""
    path = tmp_path / "jobs"
    async with account_socket(tmp_path / "jobs.sock", path):
        _, writer = await asyncio.open_unix_connection(tmp_path / "jobs.sock")
        writer.write(b'{"job": "1", "what": "begun"}\nnonsense\n{"job": "2", "what": "asked"}\n')
        await writer.drain()
        account = JobAccount(path)
        async with asyncio.timeout(30):
            while len(account.events) < 2:
                account.read()
                await asyncio.sleep(0.01)
        writer.close()
    assert [event.job for event in account.events] == ["1", "2"]
    assert all(event.at_ns > 0 for event in account.events)
    assert account.unreadable == 1


@asynccontextmanager
async def store(folder: Path, script: str, seconds: float = 30) -> AsyncIterator[NdjsonCommand]:
    async with Processes() as processes:
        yield NdjsonCommand(
            key="jobs.store",
            processes=processes,
            command=[sys.executable, "-c", script],
            env={},
            cwd=None,
            log=folder / "jobs-store.log",
            timeout_seconds=seconds,
        )


async def test_what_the_queue_has_is_what_the_command_prints(tmp_path: Path) -> None:
    """Numbers may be ids, and empty lines are nothing."""
    script = 'print(\'{"job": 17, "state": "held", "until_seconds": 3.5}\\n\')'
    async with store(tmp_path, script) as command:
        rows = await stored_jobs(command)
    (only,) = rows
    assert only.at_ns > 0
    assert msgspec.structs.replace(only, at_ns=0) == StoredJob(
        job="17", state="held", until_seconds=3.5
    )


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("print('3 jobs')", "line 1 of the output of"),
        ("print('{\"job\": 1}')", "expected one JSON object a line, such as"),
        ("raise SystemExit('no queue here')", "exited with status 1: no queue here"),
        ("raise SystemExit(1)", "exited with status 1, and said nothing"),
        ("import time; time.sleep(60)", "did not end within 0.5 s"),
    ],
)
async def test_a_store_command_that_prints_no_jobs_is_told_in_one_line(
    script: str, said: str, tmp_path: Path
) -> None:
    """The line names the key of the scenario, and what came instead."""
    seconds = 0.5 if "sleep" in script else 30
    async with store(tmp_path, script, seconds) as command:
        with pytest.raises(EnvironmentFailure, match=r"jobs\.store: ") as failure:
            await stored_jobs(command)
    assert said in str(failure.value)
    assert "\n" not in str(failure.value)


def test_what_is_left_tells_what_a_wait_can_change() -> None:
    """Jobs that wait, are held or in hand may be done yet; lost ones will not change."""
    rows = [StoredJob(job="w", state="waiting"), StoredJob(job="e", state="held")]
    left = left_of(rows, {"w", "h", "gone"}, {"e"}, {"h"})
    assert left.to_do == 2
    assert left.residue == {"gone", "e"}
    assert left_of([StoredJob(job="f", state="failed")], {"f"}, (), ()).to_do == 0


async def test_a_run_waits_for_its_jobs_but_not_for_lost_ones(tmp_path: Path) -> None:
    """A job that is in nobody's hand and not in the queue ends the wait as what it is."""
    path = tmp_path / "jobs"
    path.write_text(json.dumps({"job": "1", "what": "asked"}) + "\n")
    async with store(tmp_path, "") as command:
        rows, settled = await wait_for_jobs(JobAccount(path), command, set, 60)
    assert (rows, settled) == ([], True)


async def test_a_wait_for_jobs_ends_at_its_limit(tmp_path: Path) -> None:
    """A job that waits in the queue and that nobody takes does not hold the run up for ever."""
    script = 'print(\'{"job": 17, "state": "waiting"}\')'
    async with store(tmp_path, script) as command:
        rows, settled = await wait_for_jobs(JobAccount(tmp_path / "jobs"), command, set, 0.0)
    assert [row.job for row in rows] == ["17"]
    assert not settled


def test_an_error_in_a_log_belongs_to_the_job_that_was_named_last() -> None:
    """Also where the id comes in the message before the traceback, as Celery logs unknown tasks."""
    log = """\
[12:00:00] Task mail[aa-1] received
[12:00:01] Received unregistered task of type 'tasks.html'.
The full contents of the message headers:
{'lang': 'py', 'task': 'tasks.html', 'id': 'bb-2'}
Traceback (most recent call last):
  File "consumer.py", line 1, in on_task
    strategy = strategies[type_]
KeyError: 'tasks.html'
[12:00:02] Task mail[aa-1] succeeded
"""
    found = list(JobErrors({"bb-2", "cc-3"}, {}).read("worker-a-1", log.splitlines()))
    assert [(one.job, one.by, one.error) for one in found] == [
        ("bb-2", "worker-a-1", "KeyError: 'tasks.html'")
    ]


def test_an_error_about_an_unknown_kind_belongs_to_a_job_of_that_kind(tmp_path: Path) -> None:
    """Huey does not know the id of a job whose kind it does not know; each error is of one job."""
    unknown = """[12:00:01] ERROR:huey.consumer.Worker:Worker-1:Error reading from queue
Traceback (most recent call last):
  File "registry.py", line 51, in string_to_task
    raise HueyException('%s not found in TaskRegistry' % task_str)
huey.exceptions.HueyException: app.html not found in TaskRegistry
"""
    full = """[12:00:02] ERROR:huey:Worker-1:Unhandled exception in task aa-1.
Traceback (most recent call last):
  File "app.py", line 9, in html
    open("html")
OSError: disk of html is full
"""
    events = [
        JobEvent(job=job, what="asked", at_ns=1, by="a-1", name=name)
        for job, name in (("aa-1", "mail"), ("bb-2", "html"), ("cc-3", "html"), ("dd-4", "mail"))
    ]
    events.append(JobEvent(job="aa-1", what="begun", at_ns=2, by="worker-a-1"))
    logs = {"worker-a-1": tmp_path / "1", "worker-a-2": tmp_path / "2"}
    logs["worker-a-1"].write_text(unknown)
    logs["worker-a-2"].write_text(full + unknown + unknown)
    error = "huey.exceptions.HueyException: app.html not found in TaskRegistry"
    assert [(one.job, one.by, one.error) for one in read_job_errors(logs, events)] == [
        ("bb-2", "worker-a-1", error),
        ("aa-1", "worker-a-2", "OSError: disk of html is full"),
        ("cc-3", "worker-a-2", error),
        ("aa-1", "worker-a-2", error),
    ]


async def test_subjects_can_come_from_any_command(tmp_path: Path) -> None:
    """What keeps the data need not be Postgres: a command prints the rows, and tells the end."""
    script = """
import json, os, sys
print(json.dumps({"subject": "x", "state": "active"}))
print(json.dumps({"subject": "y"}))
"""
    path = tmp_path / "subjects.ndjson"
    async with store(tmp_path, script) as command:
        await record_subjects("", command, path)
        assert await wait_settled("", command, 30)
    rows = list(RecordFile(path, Subject).read())
    assert rows == [Subject(subject="x", state="active"), Subject(subject="y")]
    async with store(tmp_path, "raise SystemExit(1)") as command:
        assert not await wait_settled("", command, 0.0)
        with pytest.raises(EnvironmentFailure, match="exited with status 1"):
            await record_subjects("", command, path)
