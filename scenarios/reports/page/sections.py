"""Sections of the report on what happened beside the failures: locks, replicas, users."""

from collections.abc import Sequence

from scenarios.reports import jobs as job_words
from scenarios.reports import service_words, words
from scenarios.reports.page.frame import NOTHING, bullets, table
from scenarios.reports.page.markup import Html
from scenarios.verdict.model import Blocker, Locks, Verdict, WindowedUptime

MOST_ROWS = 50


def locks(verdict: Verdict) -> Html:
    """Who waited for whom in the database, and what else migrations did to it."""
    found = verdict.locks
    facts = _facts(found)
    if not found.blockers and not facts:
        return NOTHING
    head = (
        "delayed requests",
        "session that blocked them",
        "during",
        "its query",
        "lock",
        "waits",
        "longest",
        "examples",
    )
    rows = [_blocker(blocker) for blocker in found.blockers]
    items = Html().join(Html("<li>{}</li>").format(fact) for fact in facts)
    caption = "Requests that waited for a database lock, by the session that blocked them"
    return Html("<section><h2>Locks</h2>{}{}</section>").format(
        table(head, rows, caption), Html("<ul>{}</ul>").format(items) if items else ""
    )


def control(verdict: Verdict) -> Html:
    """What failed in the control run as well, and what is the release's own."""
    found = verdict.control
    if found is None:
        return NOTHING
    rows = [words.control_row(row) for row in (*found.rows, *found.slow_rows)[:MOST_ROWS]]
    caption = "Failures of this run, by kind, in both runs; the p-value is of Fisher's exact test"
    return Html("<section><h2>Compared with the control run</h2>{}{}<p>{}</p></section>").format(
        bullets(words.control_facts(found), ""),
        table(words.CONTROL, rows, caption) if rows else "",
        Html("Evidence of the control run: <code>{}</code>").format(found.folder),
    )


def rescued(verdict: Verdict) -> Html:
    """What the balancer saved."""
    said = verdict.rescued.words
    if not said:
        return NOTHING
    return Html("<section><h2>Saved by the balancer</h2><p>{}</p></section>").format(said)


def replica_ends(verdict: Verdict) -> Html:
    """How each replica ended."""
    if not verdict.replica_ends:
        return NOTHING
    shown, more = words.shown_ends(verdict)
    rows = [words.way_out(one) for one in shown]
    caption = "The way out of each replica, in seconds since the first request"
    if more:
        caption += f"; {more:,} more replicas are in verdict.json"
    return Html("<section><h2>How replicas ended</h2>{}</section>").format(
        table(words.WAY_OUT, rows, caption)
    )


def jobs(verdict: Verdict) -> Html:
    """What became of the application's jobs."""
    found = verdict.jobs
    if found is None:
        return NOTHING
    causes = [job_words.cause_row(one) for one in found.causes]
    examples = [job_words.example(one) for cause in found.causes for one in cause.examples][
        :MOST_ROWS
    ]
    stops = [job_words.stop_row(one) for one in found.stops]
    return Html("<section><h2>Jobs</h2><p>{}</p>{}{}{}</section>").format(
        job_words.jobs_text(found),
        table(job_words.CAUSES, causes, "Why jobs did not end as they should have"),
        bullets(examples, "") if examples else "",
        table(job_words.STOPS, stops, "The longest stop of each set, beside its grace period"),
    )


def cache(verdict: Verdict) -> Html:
    """Keys of a store whose values changed their form during the release."""
    if not verdict.cache:
        return NOTHING
    found = [one.sentence for one in verdict.cache]
    return Html("<section><h2>Cache</h2>{}</section>").format(bullets(found, ""))


def pooler(verdict: Verdict) -> Html:
    """What the pooler before Postgres complained of."""
    if not verdict.pooler:
        return NOTHING
    found = [one.sentence for one in verdict.pooler]
    return Html("<section><h2>Pooler</h2>{}</section>").format(bullets(found, ""))


def services(verdict: Verdict) -> Html:
    """The services behind the application, and how their calls ended."""
    if not verdict.services:
        return NOTHING
    rows = [service_words.service_row(one) for one in verdict.services]
    caption = (
        "What each service's balancer got; a call that passes X-Request-Id on can be followed to "
        "the request that it was made for"
    )
    return Html("<section><h2>Services</h2>{}</section>").format(
        table(service_words.SERVICES, rows, caption)
    )


def probed(verdict: Verdict) -> Html:
    """What a probe found out about each version's server before the run."""
    return Html().join(
        Html("<section><h2>{}</h2>{}{}</section>").format(
            words.probed_title(one),
            bullets(words.predicted(one), ""),
            table(("question", "seen"), list(one.findings.items()), "What the probe saw"),
        )
        for one in verdict.probed
    )


def _blocker(blocker: Blocker) -> tuple[str, ...]:
    about = f" on {blocker.relation}" if blocker.relation else ""
    return (
        f"{blocker.requests:,}",
        blocker.application or "a session",
        blocker.during,
        f"{blocker.query or words.MISSING}{f' ({blocker.state})' if blocker.state else ''}",
        f"{blocker.mode}{about}",
        f"{blocker.waits:,}",
        words.duration(blocker.seconds),
        " ".join(blocker.examples[:3]),
    )


def _facts(found: Locks) -> list[str]:
    facts = []
    if found.deadlocks:
        facts.append(f"deadlocks (40P01): {found.deadlocks:,}")
    if found.gave_way:
        facts.append(f"migration attempts that gave up on a lock (55P03): {found.gave_way:,}")
    facts += [
        f"{rewrite.table} was rewritten during {rewrite.during}, at {words.instant(rewrite.at)}"
        for rewrite in found.rewrites
    ]
    facts += [f"the index {index} was left invalid" for index in found.invalid_indexes]
    return facts


def users(verdict: Verdict) -> Html:
    """Availability as users saw it, and what it cost of the error budget."""
    lines = []
    if verdict.budget is not None:
        lines.append(f"Error budget: {words.budget_text(verdict.budget)}.")
    if verdict.streams.words:
        lines.append(f"Clients that reconnect: {verdict.streams.words}.")
    seen = verdict.users
    if seen.staying:
        lines.append(f"Users who stay: {words.users_text(seen)}.")
    elif seen.uptime is not None:
        lines.append(
            f"{seen.users:,} users made more than one request; the service was up for "
            f"{words.percent(seen.uptime)} of the time between their requests."
        )
    tables = _windows(
        seen.windows,
        "The worst period of each length, by requests. It tells one long outage from many short "
        "ones.",
    ) + _windows(seen.uptime_windows, "The worst period of each length, by users who stayed")
    if not lines and not tables:
        return NOTHING
    told = Html().join(Html("<p>{}</p>").format(line) for line in lines)
    return Html("<section><h2>Availability for users</h2>{}{}</section>").format(told, tables)


def _windows(windows: Sequence[WindowedUptime], caption: str) -> Html:
    rows = [
        (words.duration(one.seconds), words.percent(one.worst), words.instant(one.start))
        for one in windows
    ]
    return table(("period", "worst availability", "start"), rows, caption)
