"""A queue in a table of Postgres."""

import os

import psycopg
from psycopg.types.json import Jsonb
from tell import tell

URL = os.environ["DATABASE_URL"]
LEASE_SECONDS = float(os.environ.get("LEASE_SECONDS", "5"))
AT_ONCE = int(os.environ.get("AT_ONCE", "1"))


def connect():
    return psycopg.connect(URL, autocommit=True)


def ask(connection, name, arguments, due=None):
    """Put a job into the queue."""
    (job,) = connection.execute(
        "INSERT INTO jobs (name, arguments) VALUES (%s, %s) RETURNING id",
        (name, Jsonb(arguments)),
    ).fetchone()
    tell("asked", job, name=name, due=due)
    return job


def is_first(connection, name, due):
    """Whether nobody has asked for this job for this time before."""
    found = connection.execute(
        "INSERT INTO scheduled (name, due) VALUES (%s, %s) ON CONFLICT DO NOTHING", (name, due)
    )
    return found.rowcount == 1


def take(connection, worker):
    """Take jobs that wait, or whose worker has held them for too long."""
    return connection.execute(
        "UPDATE jobs SET state = 'held', held_by = %s, held_until = now() + %s * interval '1 s'"
        " WHERE id IN (SELECT id FROM jobs WHERE state = 'waiting'"
        "   OR (state = 'held' AND held_until < now())"
        "   ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)"
        " RETURNING id, name, arguments",
        (worker, LEASE_SECONDS, AT_ONCE),
    ).fetchall()


def finish(connection, job):
    connection.execute("DELETE FROM jobs WHERE id = %s AND state = 'held'", (job,))


def fail(connection, job, error):
    connection.execute("UPDATE jobs SET state = 'failed', error = %s WHERE id = %s", (error, job))
