"""What people, and the supervisor, say to a rollout that is under way.

The rollout asks before each verb of a deployment (`checkpoint`), and while it waits for something
(`ended`), so that a pause or an abort never cuts a verb that changes the fleet.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.errors import OrchestratorError, RolloutAborted, RolloutFailed


class ControlError(OrchestratorError):
    """Something was asked for that does not fit what is under way; the message says what is."""


class Control:
    """The wishes; every method is called in the rollout's own event loop.

    Attributes:
        full: whether all further pauses and analyses are to be skipped.
        deploying: the version that is being deployed, if one is.
        waiting: what waits for a promotion, if anything does.
    """

    def __init__(self) -> None:
        self.full = False
        self.waiting: str | None = None
        self.deploying: str | None = None
        self._under_way = False
        self._going = asyncio.Event()
        self._going.set()
        self._promoted = asyncio.Event()
        self._ended = asyncio.Event()
        self._why: OrchestratorError | None = None
        self._released = False
        self._asked = asyncio.Event()
        self._next = ""

    # What is said

    def pause(self) -> str:
        """Let nothing more begin until `resume`; what has begun is completed."""
        self._need_release()
        self._going.clear()
        return "paused: the verb under way is completed, then nothing more begins"

    def resume(self) -> str:
        """Go on after `pause`.

        Raises:
            ControlError: it is not paused.
        """
        if self._going.is_set():
            raise ControlError("the rollout is not paused")
        self._going.set()
        return "resumed"

    def promote(self) -> str:
        """End the pause that waits, timed or not.

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
        self.full = True
        self._promoted.set()
        return f"promoted in full: {self.deploying}"

    def abort(self) -> str:
        """Take the deployment under way back, and end the release."""
        self._need_release()
        self._end(RolloutAborted("aborted on request"))
        return "aborting: the version before gets its traffic back"

    def undo(self) -> str:
        """Deploy the version that served before, once the release has ended."""
        return self._again("undo")

    def retry(self) -> str:
        """Do the step that failed again, and what follows it, once the release has ended."""
        return self._again("retry")

    def finish(self) -> str:
        """End the run, which otherwise waits for what else is asked for."""
        return self._again("finish")

    def condemn(self, version: str, reason: str) -> None:
        """Fail the deployment of a version that does not live."""
        if version == self.deploying:
            self._end(RolloutFailed(reason))

    def state(self) -> str:
        """What is under way, in a few words."""
        if not self._under_way:
            return "no release is under way"
        doing = f"deploying {self.deploying}" if self.deploying else "between deployments"
        if not self._going.is_set():
            doing += ", paused"
        return doing + (f", {self.waiting} waits for a promotion" if self.waiting else "")

    # What is listened to

    @contextmanager
    def release(self) -> Iterator[None]:
        """A release is under way inside of the block; what was said before is forgotten."""
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
    def deployment(self, version: str) -> Iterator[None]:
        """A version is being deployed inside of the block."""
        self.deploying, self.full = version, False
        try:
            yield
        finally:
            self.deploying = None

    async def asked(self) -> str:
        """Wait for what is asked for after a release: `undo`, `retry` or `finish`."""
        await self._asked.wait()
        self._asked.clear()
        return self._next

    async def checkpoint(self) -> None:
        """Wait while it is paused.

        Raises:
            OrchestratorError: it is to end; why.
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

    async def ended(self) -> None:
        """Wait until it is to end.

        Raises:
            OrchestratorError: always; why.
        """
        await self._ended.wait()
        raise self._why or RolloutAborted("aborted")

    async def wait_promoted(self, what: str, seconds: float | None) -> bool:
        """Wait for a promotion, or for so long; whether it was promoted."""
        if self.full:
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

    def _again(self, what: str) -> str:
        if self._under_way:
            raise ControlError(f"{what} comes after a release: {self.state()}")
        if not self._released:
            raise ControlError(f"{what} comes after a release; none has begun")
        self._next = what
        self._asked.set()
        return f"{what}: it begins now"

    def _end(self, why: OrchestratorError) -> None:
        if self._why is None:
            self._why = why
            self._ended.set()

    def _need_release(self) -> None:
        if not self._under_way:
            raise ControlError("no release is under way")
