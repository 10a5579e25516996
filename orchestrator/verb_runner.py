"""What all verbs of a rollout share: the checkpoint, the hooks, and the journal entries."""

import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Literal, TypedDict

import msgspec

from orchestrator.errors import OrchestratorError
from orchestrator.fleet import Fleet
from orchestrator.interfaces import Hooks
from orchestrator.journal import Journal, JournalEntry
from orchestrator.model import Replica
from orchestrator.policy import Policy
from orchestrator.rollout_control import RolloutControl
from orchestrator.tasks import now
from orchestrator.verbs import Verb

# `deployment`: people can pause and abort it, and hooks can fail it; `rollback`: nothing can stop
# it; `background`: healing and scaling, which run beside a release.
_Mode = Literal["deployment", "rollback", "background"]
_mode: ContextVar[_Mode] = ContextVar("mode", default="background")


class VerbRunner:
    """Runs verbs: the one place where a verb is announced, journalled and surrounded by hooks.

    The **floor** of a verb is the part of its time that no orchestrator could have saved:

    - `start`: all of it, which is the fork;
    - `wait_ready`: the application's own start, until its port accepts connections and it says that
      it is ready, and then the router's minimum of checks (with rise 2: one fast interval); all of
      it when the policy's deadline ends it;
    - `soak`, `pause`, `preview`, hooks, and the wait for a sample in `analyse`: the time that the
      policy or a person asks for;
    - `migrate`: the attempt that succeeded;
    - `drain`: the time of the requests in flight, as measured by the router;
    - `stop`: the application's own end, from the signal until the process has ended;
    - `attach`, `weigh`, `switch`, and the rehearsal of a schema: 0.

    For several replicas it is the floor of the slowest. Strategies run one verb after the other, so
    the floor of a release is the sum of the floors of its verbs.

    Attributes:
        policy: the settings of the rollout.
        journal: gets an entry for each verb.
        control: the commands of people to the rollout.
        fleet: the replicas.
    """

    def __init__(self, journal: Journal, policy: Policy, hooks: Hooks | None) -> None:
        self.policy = policy
        self.journal = journal
        self.control = RolloutControl()
        self.fleet = Fleet()
        self._hooks = hooks

    @property
    def in_deployment(self) -> bool:
        """Whether this is part of a deployment, which people can pause and abort."""
        return _mode.get() == "deployment"

    @contextmanager
    def in_mode(self, mode: _Mode) -> Iterator[None]:
        """Run the verbs inside the block as part of a deployment or of a rollback."""
        token = _mode.set(mode)
        try:
            yield
        finally:
            _mode.reset(token)

    @asynccontextmanager
    async def verb(
        self,
        verb: Verb,
        replicas: Sequence[Replica] = (),
        *,
        version: str | None = None,
        names: Iterable[str] = (),
        detail: Mapping[str, object] | None = None,
        encloses: bool = False,
    ) -> AsyncIterator[JournalEntry]:
        """Run one verb: the checkpoint if it is part of a deployment, its hooks, and its entries.

        Args:
            verb: the verb.
            replicas: the replicas that it is about.
            version: their version; absent: taken from the replicas, if they all have the same.
            names: the ids of replicas that do not exist yet.
            detail: further facts for the journal.
            encloses: whether other verbs run inside.
        """
        about = _about(replicas)
        version = version or about["version"]
        ids = about["replicas"] or tuple(names)
        if self.in_deployment:
            await self.control.checkpoint()
        await self.hook(f"before_{verb}", version, ids)
        async with self.journal.verb(
            verb,
            version=version,
            replicas=ids,
            detail=detail,
            encloses=encloses,
            background=_mode.get() == "background",
        ) as entry:
            yield entry
        await self.hook(f"after_{verb}", version, ids)

    async def hook(
        self, name: str, version: str | None = None, replicas: Iterable[str] = ()
    ) -> None:
        """Run the hook of this name, if the policy has one; never in the background."""
        mode = _mode.get()
        command = self.policy.hooks.get(name)
        if command is None or self._hooks is None or mode == "background":
            return
        state = {
            "HITLESS_HOOK": name,
            "HITLESS_VERSION": version or "",
            "HITLESS_REPLICAS": " ".join(replicas),
            "HITLESS_SHARES": msgspec.json.encode(self.fleet.shares()).decode(),
            "HITLESS_SERVING": " ".join(one.id for one in self.fleet.serving()),
        }
        # A hook cannot stop a rollback: its failure is only recorded in the journal.
        tolerated = (
            contextlib.suppress(OrchestratorError)
            if mode == "rollback"
            else (contextlib.nullcontext())
        )
        with tolerated:
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
