"""The stateless rule: a replica that answers from its own memory is found, by real reads."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from orchestrator.model import Replica
from scenarios.evidence.mail import Mail
from scenarios.evidence.run_folder import RunFolder
from scenarios.recording.reads import record_reads
from scenarios.verdict.data.agreement import with_reads
from scenarios.verdict.model import Integrity


@asynccontextmanager
async def replica(name: str, confirmed: set[str]) -> AsyncIterator[Replica]:
    """One that knows the tokens that are confirmed."""

    async def answer(request: web.Request) -> web.Response:
        known = request.query.get("token") in confirmed
        return web.Response(status=200 if known else 401)

    app = web.Application()
    app.router.add_get("/confirm", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        yield Replica(id=name, version="b", host="127.0.0.1", port=port)
    finally:
        await runner.cleanup()


def mailed(folder: Path, *tokens: str) -> None:
    mails = [
        Mail(at_ns=1, recipient=f"{token}@x", links=(f"http://h/confirm?token={token}",))
        for token in tokens
    ]
    lines = b"".join(msgspec.json.encode(mail) + b"\n" for mail in mails)
    (folder / "mails.ndjson").write_bytes(lines)


async def found(folder: Path, *knowledge: set[str]) -> Any:
    mailed(folder, "one", "two")
    async with (
        replica("b-1", knowledge[0]) as first,
        replica("b-2", knowledge[1]) as second,
        replica("b-3", knowledge[2]) as third,
    ):
        await record_reads([first, second, third], ["{link}"], folder)
    return with_reads(Integrity(status="held"), RunFolder(folder).reads.read())


async def test_replicas_that_share_their_state_agree(tmp_path: Path) -> None:
    """The same read through every replica agrees, and no secret is written down."""
    integrity = await found(tmp_path, {"one", "two"}, {"one", "two"}, {"one", "two"})
    assert (integrity.status, integrity.violation_count) == ("held", 0)
    assert [(one.invariant, one.checked) for one in integrity.invariants] == [("stateless", 2)]
    assert "token" not in (tmp_path / "reads.ndjson").read_text()


async def test_a_replica_that_answers_from_its_own_memory(tmp_path: Path) -> None:
    """One that knows only what it did itself is named, with what the others say."""
    integrity = await found(tmp_path, {"one", "two"}, {"one"}, {"one", "two"})
    assert integrity.status == "violated"
    (violation,) = integrity.violations
    assert violation.replicas == ("b-2",)
    assert violation.subject == "GET /confirm"
    assert violation.expected == "HTTP 200, as from b-1, b-3"
    assert violation.found == "HTTP 401 from b-2"


async def test_a_replica_that_is_gone_says_nothing(tmp_path: Path) -> None:
    """No answer is no disagreement: that it is down is another checker's finding."""
    mailed(tmp_path, "one")
    async with replica("b-1", {"one"}) as first, replica("b-2", {"one"}) as second:
        gone = Replica(id="b-3", version="b", host="127.0.0.1", port=1)
        await record_reads([first, second, gone], ["{link}"], tmp_path)
    integrity = with_reads(Integrity(status="held"), RunFolder(tmp_path).reads.read())
    assert (integrity.status, integrity.violations) == ("held", ())
    lines = list(RunFolder(tmp_path).reads.read())
    assert lines[-1].error


def test_nothing_read_is_nothing_checked() -> None:
    """Without reads the integrity is as it was."""
    integrity = Integrity(status="held", checked=3)
    assert with_reads(integrity, ()) is integrity
