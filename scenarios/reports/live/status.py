"""`hitless ctl RUN status`: from the state of the live views to a record, and to a few lines."""

from collections.abc import Sequence

from scenarios.evidence.run_status import ReplicaStatus, RunStatus
from scenarios.reports import words
from scenarios.reports.live.state import LiveState


def with_state(status: RunStatus, state: LiveState) -> RunStatus:
    """The status of a release with what the live views know of its run."""
    doing, step = state.doing, state.step
    return RunStatus(
        release=status.release,
        waits_for=status.waits_for,
        next_pauses=status.next_pauses,
        phase=state.stage or state.phase,
        step=0 if step is None else step[0],
        steps=tuple(one.text for one in state.header.steps),
        doing=None if doing is None else doing.text,
        seconds=0.0 if doing is None else doing.seconds,
        lasts_seconds=None if doing is None else doing.lasts,
        gives_up_seconds=None if doing is None else doing.at_most,
        shares=state.wanted,
        replicas=tuple(
            ReplicaStatus(
                id=line.id,
                version=line.version,
                state=line.state,
                weight=line.weight,
                in_flight=line.in_flight,
                answered=line.answered,
            )
            for line in state.lines
        ),
        ok=state.ok,
        failed=state.failed,
    )


def status_lines(status: RunStatus, ctl: str = "hitless ctl RUN") -> Sequence[str]:
    """The status for people: the release, its step, its next pause, and the fleet.

    Args:
        status: the status.
        ctl: how a command is given to this run.
    """
    lines = [f"{words.clean(status.release)} (phase: {words.clean(status.phase)})"]
    for number, text in enumerate(status.steps, start=1):
        mark = "done" if number < status.step else "now" if number == status.step else "ahead"
        lines.append(f"step {number}   {words.clean(text)}  {mark}")
    if status.doing is not None:
        lines.append(f"now      {words.clean(status.doing)}{_limit(status)}")
    if status.waits_for is not None:
        lines.append(f"waits    {words.clean(status.waits_for)} waits for: {ctl} promote")
    if status.next_pauses:
        lines.append(f"pauses   ahead: {', '.join(map(words.clean, status.next_pauses))}")
    if status.shares:
        shares = (f"{words.clean(name)} {words.share(one)}" for name, one in status.shares.items())
        lines.append(f"traffic  {', '.join(shares)}; {status.ok:,} ok, {status.failed:,} failed")
    lines += [f"fleet    {_replica(one)}" for one in status.replicas]
    return lines


def _limit(status: RunStatus) -> str:
    """How long the verb has taken, and how long it still will or may take."""
    so_far = f", for {words.duration(status.seconds)}"
    if status.lasts_seconds is not None:
        return f"{so_far} of {words.duration(status.lasts_seconds)}"
    if status.gives_up_seconds is not None:
        return f"{so_far}, gives up after {words.duration(status.gives_up_seconds)}"
    return so_far


def _replica(one: ReplicaStatus) -> str:
    weight = "" if one.weight is None else f", weight {one.weight:g}"
    flying = "" if one.in_flight is None else f", {one.in_flight} in flight"
    return f"{words.clean(one.id)} ({words.clean(one.version)}) {one.state}{weight}{flying}"
