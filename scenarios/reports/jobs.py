"""Jobs in words: the same sentences in every view."""

from scenarios.reports.words import MISSING, clean, duration, instant
from scenarios.verdict.model import JobCauseFound, JobFinding, Jobs, JobStop

CAUSES = ("jobs", "cause", "examples", "what helps")
"""The columns of the table of causes."""

STOPS = ("processes", "longest stop", "grace period", "killed", "longest job")
"""The columns of the table of stops."""

_SHOWN = 3


def jobs_text(jobs: Jobs) -> str:
    """The jobs in one line."""
    parts = [f"{jobs.asked:,} asked for", f"{jobs.ended:,} done"]
    if jobs.broken:
        parts.append(f"{jobs.broken:,} not as they should be")
    accepted = sum(one.count for one in jobs.causes if one.accepted)
    if accepted:
        parts.append(f"{accepted:,} with an accepted cause")
    if jobs.unfinished:
        parts.append(f"{jobs.unfinished:,} unfinished")
    if jobs.later:
        parts.append(f"{jobs.later:,} scheduled for later")
    system = f" ({jobs.system})" if jobs.system else ""
    return " · ".join(parts) + system


def cause_line(cause: JobCauseFound) -> str:
    """A cause and its title."""
    return f"{cause.cause}: {cause.title}{' (accepted)' if cause.accepted else ''}"


def cause_lines(cause: JobCauseFound) -> list[str]:
    """What is known of a cause, one line for each thing."""
    lines = [example(one) for one in cause.examples[:_SHOWN]]
    if cause.count > _SHOWN:
        lines.append(f"and {cause.count - min(_SHOWN, len(cause.examples)):,} more")
    if cause.faults:
        lines.append(f"after a fault of the run: {', '.join(cause.faults)}")
    if cause.remedy is not None:
        lines.append(f"what helps: {cause.remedy}")
    return lines


def example(one: JobFinding) -> str:
    """What happened to one job."""
    asked = "" if one.asked is None else f", asked for at {instant(one.asked)}"
    if one.asked_by is not None and one.asked is not None:
        asked += f" by {one.asked_by}"
    name = f" ({one.name})" if one.name else ""
    begun = "".join(
        f", begun at {instant(at)} by {by}"
        for at, by in zip(one.begun[:_SHOWN], one.begun_by[:_SHOWN], strict=True)
    )
    return f"job {one.job}{name}{asked}{begun}: {one.sentence}"


def cause_row(cause: JobCauseFound) -> tuple[str, ...]:
    """A cause in the table of causes."""
    examples = "; ".join(f"{one.job}: {one.sentence}" for one in cause.examples[:_SHOWN])
    return f"{cause.count:,}", cause_line(cause), examples, cause.remedy or MISSING


def stop_row(stop: JobStop) -> tuple[str, ...]:
    """A set in the table of stops."""
    return (
        stop.processes,
        f"{duration(stop.seconds)} ({stop.process})",
        duration(stop.grace_seconds),
        f"{stop.killed:,}",
        MISSING if stop.longest_job_seconds is None else duration(stop.longest_job_seconds),
    )


def stop_sentence(stop: JobStop) -> str:
    """The longest stop of a set in words."""
    said = (
        f"{stop.processes}: the longest stop took {duration(stop.seconds)} ({stop.process}); the "
        f"grace period is {duration(stop.grace_seconds)}"
    )
    if stop.longest_job_seconds is not None:
        said += f"; the longest job took {duration(stop.longest_job_seconds)}"
    if stop.killed:
        said += f"; {stop.killed:,} had to be killed"
    return clean(said)
