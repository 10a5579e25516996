"""What every verb of a rollout has: its checkpoint, its hooks, and its entries in the journal."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Literal, TypedDict

import msgspec

from orchestrator.control import Control
from orchestrator.errors import OrchestratorError
from orchestrator.fleet import Fleet
from orchestrator.journal import Entry, Journal
from orchestrator.model import Replica
from orchestrator.platform import Hooks
from orchestrator.policy import Policy

# `forward`: a deployment, which people may pause and abort, and hooks may refuse; `back`: a way
# back, which nothing may stop; `aside`: healing and scaling, beside all of that.
_Mode = Literal["forward", "back", "aside"]
_mode: ContextVar[_Mode] = ContextVar("mode", default="aside")


class Verbs:
    """Where verbs are written down, in one place.

    The **floor** of a verb is the part of its time that no orchestrator could have saved:

    - `start`: all of it, which is the fork;
    - `wait_ready`: the application's own start, until its port accepts and it says that it is
      ready, and the router's fewest checks after that (with rise 2: one fast interval); all of it
      when it fails by its deadline, which the policy asks for;
    - `soak`, `pause`, `preview`, hooks, and the wait for a sample in `analyse`: what the policy
      or somebody asks;
    - `migrate`: the try that succeeded;
    - `drain`: what was in flight, as the router timed it; `stop`: the application's own end, from
      the signal until it is gone;
    - `attach`, `weigh`, `switch`, and the rehearsal of a schema on a copy: 0.

    With several replicas it is that of the slowest. Strategies do one verb after the other, so the
    critical path of a release is all of its verbs, and its floor is the sum of theirs.

    Attributes:
        policy: the knobs.
        journal: what was done.
        control: what people say to it.
        fleet: what runs.
    """

    def __init__(self, journal: Journal, policy: Policy, hooks: Hooks | None) -> None:
        self.policy = policy
        self.journal = journal
        self.control = Control()
        self.fleet = Fleet()
        self._hooks = hooks

    @property
    def forward(self) -> bool:
        """Whether what is done now is part of a deployment, which people may pause and abort."""
        return _mode.get() == "forward"

    @contextmanager
    def going(self, mode: _Mode) -> Iterator[None]:
        """Verbs inside of the block are part of a deployment, or of a way back."""
        token = _mode.set(mode)
        try:
            yield
        finally:
            _mode.reset(token)

    @asynccontextmanager
    async def verb(
        self,
        verb: str,
        replicas: Sequence[Replica] = (),
        *,
        version: str | None = None,
        names: Iterable[str] = (),
        detail: Mapping[str, object] | None = None,
        encloses: bool = False,
    ) -> AsyncIterator[Entry]:
        """Do one verb: its checkpoint and hooks if it is part of a deployment, and its entries."""
        about = _about(replicas)
        version = version or about["version"]
        ids = about["replicas"] or tuple(names)
        if self.forward:
            await self.control.checkpoint()
        await self.hook(f"before_{verb}", version, ids)
        async with self.journal.verb(
            verb,
            version=version,
            replicas=ids,
            detail=detail,
            encloses=encloses,
            aside=_mode.get() == "aside",
        ) as entry:
            yield entry
        await self.hook(f"after_{verb}", version, ids)

    async def hook(
        self, name: str, version: str | None = None, replicas: Iterable[str] = ()
    ) -> None:
        """Run the hook of this name, if the policy has one, in a deployment or on a way back."""
        mode = _mode.get()
        command = self.policy.hooks.get(name)
        if command is None or self._hooks is None or mode == "aside":
            return
        state = {
            "HITLESS_HOOK": name,
            "HITLESS_VERSION": version or "",
            "HITLESS_REPLICAS": " ".join(replicas),
            "HITLESS_SHARES": msgspec.json.encode(self.fleet.shares()).decode(),
            "HITLESS_SERVING": " ".join(one.id for one in self.fleet.serving()),
        }
        # A way back is not stopped by a hook: what it says is in the journal, as failed.
        forgiven = (
            contextlib.suppress(OrchestratorError) if mode == "back" else (contextlib.nullcontext())
        )
        with forgiven:
            async with self.journal.verb("hook", version=version, detail={"name": name}) as entry:
                began = now()
                try:
                    await self._hooks.run(name, command, state, self.policy.hook_timeout_seconds)
                finally:
                    entry.floor_seconds = now() - began


class _About(TypedDict):
    version: str | None
    replicas: tuple[str, ...]


def _about(replicas: Sequence[Replica]) -> _About:
    versions = {one.version for one in replicas}
    return {
        "version": versions.pop() if len(versions) == 1 else None,
        "replicas": tuple(one.id for one in replicas),
    }


def now() -> float:
    """The loop's time, in seconds."""
    return asyncio.get_running_loop().time()
