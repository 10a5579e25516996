"""What a rollout relies on from any Platform; every implementation runs through it."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.clock import monotonic_ns
from orchestrator.errors import PlatformError
from orchestrator.interfaces import Platform, ReplicaExit
from orchestrator.model import Replica, Version
from orchestrator.platforms.local import LocalPlatform
from orchestrator.processes import Processes

APP = Path(__file__).parents[1] / "orchestrator" / "tiny_app.py"


@dataclass
class Subject:
    """A platform under test, and what its on_exit was told."""

    platform: Platform
    folder: Path
    kill: Callable[[Replica], Awaitable[None]]
    exits: list[tuple[str, str]] = field(default_factory=list)
    exited: asyncio.Event = field(default_factory=asyncio.Event)
    dies: tuple[str, tuple[str, ...]] = (
        "exited with status 3",
        ("no configuration; giving up",),
    )
    tells_port = True  # whether it says when a replica closed its port

    async def accepts(self, replica: Replica) -> bool:
        """Whether the replica's port is open."""
        try:
            _, writer = await asyncio.open_connection(replica.host, replica.port)
        except OSError:
            return False
        writer.close()
        return True

    def on_exit(self, replica: Replica, ended: ReplicaExit) -> None:
        self.exits.append((replica.id, ended.reason))
        self.exited.set()

    def version(self, mode: str = "") -> Version:
        return Version(
            name="a",
            command=("{python}", "-u", str(APP), "{port}", "{version}"),
            env={"MODE": mode, "ID": "{replica_id}"},
        )


async def local(stack: AsyncExitStack, folder: Path) -> Subject:
    async def kill(replica: Replica) -> None:
        processes._children[replica.pid].kill()

    processes = await stack.enter_async_context(Processes())
    subject = Subject(None, folder, kill)  # type: ignore[arg-type]
    subject.platform = await stack.enter_async_context(
        LocalPlatform(processes, log_directory=folder, on_exit=subject.on_exit)
    )
    return subject


@pytest.fixture(params=[local])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    async with AsyncExitStack() as stack:
        yield await request.param(stack, tmp_path)


async def test_a_replica_from_start_to_stop(subject: Subject) -> None:
    """A replica listens where it says, runs until it is stopped, and then has ended."""
    replica = await subject.platform.start(subject.version(), "a-1")
    assert (replica.id, replica.version) == ("a-1", "a")
    await subject.platform.wait_listening(replica)
    assert subject.platform.is_running(replica)
    end = await subject.platform.stop(replica, 30)
    assert (end.killed, end.reason) == (False, "exited with status 0")
    assert not subject.platform.is_running(replica)
    assert (await subject.platform.wait_ended(replica)).reason == "exited with status 0"
    assert not await subject.accepts(replica)
    assert subject.exits == []


async def test_replicas_do_not_share_an_address(subject: Subject) -> None:
    """Replicas started at the same time each have an address of their own."""
    async with asyncio.TaskGroup() as group:
        starts = [
            group.create_task(subject.platform.start(subject.version(), f"a-{number}"))
            for number in range(4)
        ]
    replicas = [start.result() for start in starts]
    assert len({replica.address for replica in replicas}) == 4
    for replica in replicas:
        await subject.platform.wait_listening(replica)
        await subject.platform.stop(replica, 30)


async def test_a_replica_that_dies_says_why(subject: Subject) -> None:
    """A replica that ends by itself is seen to end, with its last words, by all who wait."""
    replica = await subject.platform.start(subject.version("dies"), "a-1")
    first, second = await asyncio.gather(
        subject.platform.wait_ended(replica), subject.platform.wait_ended(replica)
    )
    assert first == second
    assert (first.reason, first.log) == subject.dies
    await subject.exited.wait()
    assert subject.exits == [("a-1", first.reason)]


async def test_a_replica_that_is_killed(subject: Subject) -> None:
    """A replica that somebody kills is told of, and stopping it then is no error."""
    replica = await subject.platform.start(subject.version(), "a-1")
    await subject.platform.wait_listening(replica)
    await subject.kill(replica)
    await subject.exited.wait()
    assert subject.exits == [("a-1", "was ended by signal 9")]
    end = await subject.platform.stop(replica, 30)
    assert (end.killed, end.seconds, end.exit_status) == (False, 0.0, -signal.SIGKILL)
    # Nobody asked it to stop, so nothing says when.
    assert (end.stop_asked_ns, end.stopped_listening_ns) == (None, None)
    assert end.ended_ns is not None


async def test_a_replica_that_ignores_its_stop(subject: Subject) -> None:
    """A replica that outlasts its grace period is killed, and the end says so."""
    replica = await subject.platform.start(subject.version("deaf"), "a-1")
    await subject.platform.wait_listening(replica)
    end = await subject.platform.stop(replica, 0.1)
    assert (end.killed, end.reason) == (True, "was ended by signal 9")
    assert end.seconds >= 0.1


async def test_how_a_replica_ended(subject: Subject) -> None:
    """The end says when it was asked, closed its port and ended, and with which status."""
    replica = await subject.platform.start(subject.version(), "a-1")
    await subject.platform.wait_listening(replica)
    before = monotonic_ns()
    end = await subject.platform.stop(replica, 30)
    after = monotonic_ns()
    steps = [end.stop_asked_ns, end.ended_ns, end.children_ended_ns]
    assert steps == sorted(at for at in (before, *steps, after) if at is not None)[1:-1]
    if subject.tells_port:
        assert end.stopped_listening_ns is not None
        assert before <= end.stopped_listening_ns <= after
    else:
        assert end.stopped_listening_ns is None
    assert (end.exit_status, end.left_behind) == (0, 0)


async def test_a_port_closes_before_the_end(subject: Subject) -> None:
    """A replica that is busy with a request after its stop signal has closed its port before."""
    replica = await subject.platform.start(subject.version(), "a-1")
    await subject.platform.wait_listening(replica)
    _, writer = await asyncio.open_connection(replica.host, replica.port)
    writer.write(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
    log = subject.folder / "a-1.log"
    async with asyncio.timeout(60):
        while "hanging" not in log.read_text():  # noqa: ASYNC110 - the log is all that tells
            await asyncio.sleep(0.01)
    end = await subject.platform.stop(replica, 3.0)
    writer.close()
    assert end.killed
    assert end.stop_asked_ns is not None
    assert end.stopped_listening_ns is not None
    assert end.ended_ns is not None
    assert end.stop_asked_ns < end.stopped_listening_ns < end.ended_ns


async def test_a_wrapper_that_swallows_the_signal(subject: Subject) -> None:
    """A shell that ends at the signal and leaves its server behind: the server ends, too."""
    inner = f'{{python}} -u {APP} {{port}} a; echo "the server has ended"'
    version = Version(name="a", command=("sh", "-c", inner), env={"MODE": "", "ID": "x"})
    replica = await subject.platform.start(version, "a-1")
    await subject.platform.wait_listening(replica)
    end = await subject.platform.stop(replica, 30)
    assert (end.exit_status, end.left_behind, end.killed) == (-signal.SIGTERM, 1, False)
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection(replica.host, replica.port)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("no-such-program",), "a-1: replica a-1 cannot be started: no-such-program"),
        (("{python}", "{prot}"), "a-1: no placeholder {prot} in '{prot}'; there are .*{port}"),
        (("{python}", "{"), "a-1: '{': .*two braces stand for one"),
    ],
)
async def test_a_command_that_cannot_be_started(
    subject: Subject, command: tuple[str, ...], message: str
) -> None:
    """What cannot be started is refused in one line that names the replica and the reason."""
    with pytest.raises(PlatformError, match=message):
        await subject.platform.start(Version(name="a", command=command), "a-1")


async def test_its_values_reach_the_replica(tmp_path: Path) -> None:
    """Placeholders are filled in commands and in environments, from the caller's values too."""
    program = "import os, sys; print(sys.argv[1:], os.environ['URL'])"
    version = Version(
        name="b",
        command=("{python}", "-c", program, "{host}", "{version}", "{replica_id}", "{{port}}"),
        env={"URL": "{database_url}?port={port}"},
    )
    async with (
        Processes() as processes,
        LocalPlatform(
            processes, log_directory=tmp_path, values={"database_url": "postgresql://x"}
        ) as platform,
    ):
        replica = await platform.start(version, "b-1")
        ended = await platform.wait_ended(replica)
    assert ended.log == (
        f"['127.0.0.1', 'b', 'b-1', '{{port}}'] postgresql://x?port={replica.port}",
    )
