"""`hitless clean --cluster` removes what killed runs left, and nothing else."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from orchestrator.kubernetes.owner import this_process
from orchestrator.kubernetes.ownership import NAMESPACES, labels_of
from scenarios.cli.main import status
from tests.support.stored_objects import StoredObjects, serving


def namespace(run: str, **owner: object) -> dict[str, object]:
    """A namespace of a run of this process, or of another one."""
    who = msgspec.structs.replace(this_process(), **owner)
    notes = {"hitless/owner": msgspec.json.encode(who).decode()}
    return {"metadata": {"labels": labels_of(run), "annotations": notes}}


async def clean(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *flags: str
) -> tuple[int, list[str]]:
    """Clean a cluster of four namespaces; returns the status, and what is left."""
    api = StoredObjects()
    await api.put(f"{NAMESPACES}/foreign", {})
    await api.put(f"{NAMESPACES}/killed", namespace("r1", started="1"))
    await api.put(f"{NAMESPACES}/other", namespace("r2", host="elsewhere"))
    await api.put(f"{NAMESPACES}/running", namespace("r3"))
    async with serving(api, folder) as config:
        monkeypatch.setenv("KUBECONFIG", str(config))
        code = await asyncio.to_thread(status, ["clean", *flags])
    return code, sorted(path.rpartition("/")[2] for path in api.objects)


@pytest.fixture(autouse=True)
def without_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread cannot take signals."""
    monkeypatch.setattr("scenarios.cli.clean.run_interruptibly", asyncio.run)


async def test_only_killed_runs_are_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs that go on, and those of other machines, are left alone and named."""
    code, left = await clean(tmp_path, monkeypatch, "--cluster")
    assert (code, left) == (0, ["foreign", "other", "running"])
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "removed killed of the run r1"
    assert said[1].startswith("left alone: other of the run r2 on the machine elsewhere")
    assert said[2].startswith("left alone: running of the run r3, which still goes on (process ")


async def test_runs_of_other_machines_are_removed_when_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A pipeline's machine is gone with its run; a run of this machine is never removed."""
    code, left = await clean(tmp_path, monkeypatch, "--cluster", "here", "--all")
    assert (code, left) == (0, ["foreign", "running"])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "hitless clean needs --cluster"),
        (("--cluster", "nowhere"), "the kubeconfig has no context 'nowhere'; it has: here"),
    ],
)
async def test_what_was_not_meant_changes_nothing(
    flags: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line, and status 2."""
    code, left = await clean(tmp_path, monkeypatch, *flags)
    assert (code, left) == (2, ["foreign", "killed", "other", "running"])
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
