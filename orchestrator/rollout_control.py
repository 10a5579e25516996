"""Commands to a rollout that is under way: pause, resume, promote, abort, undo, retry, finish.

They come from people and from the supervisor. The rollout looks at them before each verb of a
deployment (`checkpoint`) and while it waits for something (`wait_for_end`). So a pause or an abort
never interrupts a verb that changes the fleet.
"""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from orchestrator.errors import OrchestratorError, RolloutAborted, RolloutFailed


class ControlError(OrchestratorError):
    """A command does not fit the rollout's present state; the message says why."""


class RolloutControl:
    """The commands so far; every method must be called in the rollout's own event loop.

    Attributes:
        promoted_in_full: whether all further pauses and analyses are skipped.
        deploying: the version that is being deployed, if one is.
        waiting: what waits for a promotion, if anything does, as text for people.
    """

    def __init__(self) -> None:
        self.promoted_in_full = False
        self.waiting: str | None = None
        self.deploying: str | None = None
        self._new: frozenset[str] = frozenset()
        self._under_way = False
        self._going = asyncio.Event()
        self._going.set()
        self._promoted = asyncio.Event()
        self._ended = asyncio.Event()
        self._why: OrchestratorError | None = None
        self._released = False
        self._asked = asyncio.Event()
        self._next = ""

    # The commands

    def pause(self) -> str:
        """Let no further verb begin until `resume`; the verb under way is completed."""
        self._need_release()
        self._going.clear()
        return "paused: the step under way is completed, and the next one waits"

    def resume(self) -> str:
        """Continue after `pause`.

        Raises:
            ControlError: it is not paused.
        """
        if self._going.is_set():
            raise ControlError("the rollout is not paused")
        self._going.set()
        return "resumed"

    def promote(self) -> str:
        """End the pause under way, whether it has a time limit or not.

        Raises:
            ControlError: nothing waits.
        """
        if self.waiting is None:
            raise ControlError("nothing waits for a promotion")
        self._promoted.set()
        return f"promoted: {self.waiting}"

    def promote_full(self) -> str:
        """Skip every further pause and analysis of this deployment."""
        if self.deploying is None:
            raise ControlError("no deployment is under way")
        self.promoted_in_full = True
        self._promoted.set()
        return f"promoted in full: {self.deploying}"

    def abort(self) -> str:
        """Roll the deployment under way back, and end the release."""
        self._need_release()
        self._end(RolloutAborted("aborted on request"))
        return "aborting: the previous version gets its traffic back"

    def undo(self) -> str:
        """After the release: deploy the version that served before."""
        return self._after_release("undo")

    def retry(self) -> str:
        """After the release: repeat the step that failed, and go on from there."""
        return self._after_release("retry")

    def finish(self) -> str:
        """After the release: end the run, which otherwise waits for further commands."""
        return self._after_release("finish")

    def fail_deployment(self, version: str, reason: str) -> None:
        """Fail the deployment of a version whose replicas keep dying, if it is under way.

        Args:
            version: the version, as `Rollout.deployed_as` tells it from those of other rollouts.
            reason: why it fails.
        """
        if version in self._new:
            self._end(RolloutFailed(reason))

    def status(self) -> str:
        """Say what is under way, in a few words."""
        if not self._under_way:
            return "no release is under way"
        doing = f"deploying {self.deploying}" if self.deploying else "between deployments"
        if not self._going.is_set():
            doing += ", paused"
        return doing + (f", {self.waiting} waits for a promotion" if self.waiting else "")

    # What the rollout asks

    @contextmanager
    def release(self) -> Iterator[None]:
        """A release is under way inside the block; earlier commands are forgotten."""
        self._going.set()
        self._ended.clear()
        self._why = None
        self._under_way = True
        try:
            yield
        finally:
            self._under_way = False
            self._released = True

    @contextmanager
    def deployment(self, what: str, versions: Iterable[str] = ()) -> Iterator[None]:
        """A deployment is under way inside the block.

        Args:
            what: the version, as text for people.
            versions: the versions whose replicas fail it if they keep dying, as
                `Rollout.deployed_as` names them; empty: that version of the web.
        """
        self.deploying, self.promoted_in_full = what, False
        self._new = frozenset(versions) or frozenset({what})
        try:
            yield
        finally:
            self.deploying, self._new = None, frozenset()

    async def next_command(self) -> str:
        """Wait for a command that follows a release: `undo`, `retry` or `finish`."""
        await self._asked.wait()
        self._asked.clear()
        return self._next

    async def checkpoint(self) -> None:
        """Wait while the rollout is paused.

        Raises:
            OrchestratorError: the rollout must end; the error says why.
        """
        while not self._going.is_set() and not self._ended.is_set():
            waits = [asyncio.ensure_future(one.wait()) for one in (self._going, self._ended)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in waits:
                    one.cancel()
        if self._why is not None:
            raise self._why

    async def wait_for_end(self) -> None:
        """Wait until the rollout must end.

        Raises:
            OrchestratorError: always; the error says why.
        """
        await self._ended.wait()
        raise self._why or RolloutAborted("aborted")

    async def wait_promoted(self, what: str, seconds: float | None) -> bool:
        """Wait for a promotion, at most `seconds`; return whether one came."""
        if self.promoted_in_full:
            return True
        self._promoted.clear()
        self.waiting = what
        try:
            async with asyncio.timeout(seconds):
                await self._promoted.wait()
        except TimeoutError:
            return False
        finally:
            self.waiting = None
        return True

    def _after_release(self, what: str) -> str:
        if self._under_way:
            raise ControlError(f"{what} is only possible after a release: {self.status()}")
        if not self._released:
            raise ControlError(f"{what} is only possible after a release; none has begun")
        self._next = what
        self._asked.set()
        return f"{what}: starting now"

    def _end(self, why: OrchestratorError) -> None:
        if self._why is None:
            self._why = why
            self._ended.set()

    def _need_release(self) -> None:
        if not self._under_way:
            raise ControlError("no release is under way")
