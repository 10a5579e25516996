"""How a wait for a lock is told: who waits for whom, down to the head of the queue: PURE."""

from scenarios.evidence.locks import DatabaseSession, LockWait


def told(wait: LockWait) -> str:
    """The wait as a chain.

    Such as `AccessShareLock on profiles, queued behind hitless-migrator (ALTER TABLE profiles),
    which waits for AccessExclusiveLock behind pg_dump (COPY profiles), which holds AccessShareLock
    and is the head of the queue`.

    A session that only waits itself is *queued* for, never waited for: its lock is not granted.
    """
    about = f" on {wait.relation}" if wait.relation else ""
    said = f"{wait.mode}{about}"
    if not wait.chain:
        return said
    for session in wait.chain[:-1]:
        wanted = f" for {session.mode}" if session.mode else ""
        said += f", queued behind {_named(session)}, which waits{wanted}"
    root = wait.chain[-1]
    if len(wait.chain) == 1:
        said += f", blocked by {_named(root)}"
        return said + (f", which holds {root.mode}" if root.mode else "")
    said += f" behind {_named(root)}, "
    return (
        said
        + (f"which holds {root.mode} and" if root.mode else "which")
        + (" is the head of the queue")
    )


def _named(session: DatabaseSession) -> str:
    asked = f" ({session.query})" if session.query else ""
    return f"{session.application or 'a session'}{asked}"
