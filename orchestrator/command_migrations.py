"""What a command that migrates is told about locks, and what it says about them.

A command speaks to the database with a driver of its own. libpq and the drivers that follow it read
`PGOPTIONS` (PostgreSQL documentation, section 34.15), so a lock timeout reaches them that way. What
became of a lock is read from the command's output, or from the server's log.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

import msgspec

RETRIED = {"55P03": "lock_not_available", "40P01": "deadlock_detected"}
"""SQLSTATEs after which a migration may succeed when it is tried again (PostgreSQL, appendix A)."""

_WORDS = {
    "55P03": re.compile(r"\b55P03\b|(?i:lock[_ ]?not[_ ]?available)|due to lock timeout"),
    "40P01": re.compile(r"\b40P01\b|(?i:deadlock[_ ]?detected)"),
}
_ASYNCPG = "asyncpg takes no settings from PGOPTIONS"
_PG8000 = "pg8000 takes no settings from PGOPTIONS"
_POSTGRES_JS = "the package postgres (postgres.js) takes no settings from PGOPTIONS"
_JDBC = "JDBC takes no settings from PGOPTIONS"
_PRISMA = "Prisma's engine takes no settings from PGOPTIONS"
_IGNORES_PGOPTIONS = {
    "aerich": _ASYNCPG,
    "piccolo": _ASYNCPG,
    "tortoise": _ASYNCPG,
    "flyway": _JDBC,
    "java": _JDBC,
    "liquibase": _JDBC,
    "prisma": _PRISMA,
}
"""Programs whose driver is known to ignore `PGOPTIONS`, with the reason."""
_IMPORTS = {
    re.compile(r"^\s*(?:import|from)\s+asyncpg\b", re.MULTILINE): _ASYNCPG,
    re.compile(r"^\s*(?:import|from)\s+pg8000\b", re.MULTILINE): _PG8000,
    re.compile(r"\+asyncpg://"): _ASYNCPG,
    re.compile(r"(?:\bfrom|\brequire\(|\bimport\()\s*['\"]postgres['\"]"): _POSTGRES_JS,
    re.compile(r"\bjdbc:postgresql:"): _JDBC,
}
"""What a script says that uses such a driver; psycopg, node-postgres and pq read the variable."""
_LONGEST_SCRIPT = 200_000


class _Logged(msgspec.Struct, frozen=True):
    state_code: str = "00000"
    application_name: str = ""


def pg_options(given: str | None, lock_timeout: float | None) -> str | None:
    """`PGOPTIONS` with a lock timeout in seconds before what is given, which then overrides it."""
    setting = None if lock_timeout is None else f"-c lock_timeout={round(lock_timeout * 1000)}ms"
    return " ".join(part for part in (setting, given) if part) or None


def ignored_settings(
    command: Sequence[str], env: Mapping[str, str], cwd: Path | None = None
) -> str | None:
    """Why the command's driver will not know of `PGOPTIONS`; None if nothing is known of that.

    Args:
        command: the program and its arguments.
        env: its own environment variables.
        cwd: where it runs. Scripts that it names are searched for the driver that they use.
    """
    for value in env.values():
        if "+asyncpg://" in value:
            return _ASYNCPG
        if "+pg8000://" in value:
            return _PG8000
        if value.startswith("jdbc:"):
            return _JDBC
    names = (PurePath(word).name.removesuffix(".exe").lower() for word in command)
    known = next((_IGNORES_PGOPTIONS[name] for name in names if name in _IGNORES_PGOPTIONS), None)
    if known is not None:
        return known
    scripts = [_script(word, cwd or Path()) for word in command]
    return next(
        (why for text in scripts for said, why in _IMPORTS.items() if said.search(text)), None
    )


def _script(word: str, cwd: Path) -> str:
    """The text of a script that a word of a command names; empty if it names none."""
    path = cwd / word
    if path.suffix not in (".py", ".js", ".mjs", ".cjs", ".ts", ".sh"):
        return ""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_LONGEST_SCRIPT)
    except OSError:
        return ""  # it is not there yet, or it is no path


def refusal_in(output: str) -> str | None:
    """The SQLSTATE of `RETRIED` that the output tells of last; None if it tells of none."""
    found = {
        sqlstate: max((match.start() for match in words.finditer(output)), default=-1)
        for sqlstate, words in _WORDS.items()
    }
    last = max(found, key=lambda sqlstate: found[sqlstate])
    return last if found[last] >= 0 else None


def logged_refusal(log: Path, offset: int, application: str) -> str | None:
    """The last error of the sessions of that name in a server log (`jsonlog`), if it is a lock's.

    Args:
        log: the server's log.
        offset: from which byte on to read.
        application: the `application_name`.

    Raises:
        OSError: the log cannot be read.
    """
    last = None
    with log.open("rb") as lines:
        lines.seek(offset)
        for line in lines:
            try:
                one = msgspec.json.decode(line, type=_Logged)
            except msgspec.DecodeError:
                continue  # a line that is being written, or the server's own words
            if one.application_name == application and one.state_code[:2] not in ("00", "01"):
                last = one.state_code
    return last if last in RETRIED else None
