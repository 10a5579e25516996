"""The log of a Postgres server that somebody else runs, as far as this machine has it."""

import asyncio
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from orchestrator.database import connected
from orchestrator.errors import EnvironmentFailure
from scenarios.evidence.server_log import FORMATS

_UTC = frozenset({"UTC", "Etc/UTC", "GMT", "Etc/GMT"})
"""Names of UTC, which needs no database of time zones."""

_SEEN_SECONDS = 10.0
_OTHERS_SECONDS = 2.0
"""How much later than in plain text a message may appear in another format."""

_RETRY_SECONDS = 0.05


class ExternalLog:
    """A log file of the server, or the folder in which it writes them.

    Args:
        url: the server.
        path: the file or the folder.
    """

    def __init__(self, url: str, path: Path) -> None:
        self._url = url
        self._path = path
        self._zone: tzinfo = UTC

    @property
    def zone(self) -> tzinfo:
        """The time zone of the server's stamps; known once `check` has ended."""
        return self._zone

    def sizes(self) -> dict[Path, int]:
        """The size of each log file that there is now.

        Raises:
            EnvironmentFailure: they cannot be read.
        """
        try:
            return {path: path.stat().st_size for path in self._files()}
        except OSError as error:
            raise EnvironmentFailure(
                f"the database's log {self._path}: {error.strerror}"
            ) from error

    def since(self, sizes: Mapping[Path, int]) -> dict[Path, bytes]:
        """What was logged since then, by file; a file that is new or shorter is read as a whole.

        Raises:
            EnvironmentFailure: a file cannot be read.
        """
        found = {}
        try:
            for path in self._files():
                with path.open("rb") as file:
                    before = sizes.get(path, 0)
                    file.seek(before if path.stat().st_size >= before else 0)
                    found[path] = file.read()
        except OSError as error:
            raise EnvironmentFailure(
                f"the database's log {self._path}: {error.strerror}"
            ) from error
        return found

    async def check(self) -> None:
        """See that this is the server's log, and that it can be understood.

        Raises:
            EnvironmentFailure: the server does not answer, what it logs does not come here, or the
                log is plain text.
        """
        async with connected(self._url) as session:
            zone = str(await session.fetchval("SHOW log_timezone"))
        try:
            self._zone = UTC if zone in _UTC else ZoneInfo(zone)
        except ZoneInfoNotFoundError as error:
            raise EnvironmentFailure(
                f"the database's log {self._path}: this machine does not know the time zone of the "
                f"server's log, {zone}; install tzdata, or set log_timezone = 'UTC'"
            ) from error
        written = await self.flush()
        if written is None:
            raise EnvironmentFailure(
                f"the database's log {self._path}: what the server logs does not appear there "
                f"within {_SEEN_SECONDS:g} s; expected the file or the folder of its log "
                "(log_directory)"
            )
        if written.suffix not in FORMATS:
            raise EnvironmentFailure(
                f"the database's log {written}: a log in plain text does not say which session was "
                "refused what; set log_destination = 'jsonlog' (Postgres 15 or later) or 'csvlog'"
            )

    async def flush(self) -> Path | None:
        """Let the server log a message, and wait until it is there; returns the file that has it.

        The server's messages are written in order, so all earlier ones are there, too. None if it
        does not appear.

        Raises:
            EnvironmentFailure: the server does not answer, or the log cannot be read.
        """
        mark, sizes = f"hitless: {secrets.token_hex(8)}", self.sizes()
        async with connected(self._url) as session:
            await session.execute(f"DO $$ BEGIN RAISE LOG '{mark}'; END $$")
        deadline = time.monotonic() + _SEEN_SECONDS
        plain: Path | None = None
        while time.monotonic() < deadline:
            having = [path for path, text in self.since(sizes).items() if mark.encode() in text]
            understood = next((path for path in having if path.suffix in FORMATS), None)
            if understood is not None:
                return understood
            if having and plain is None:
                # The server may write several formats, one after the other.
                plain, deadline = having[0], min(deadline, time.monotonic() + _OTHERS_SECONDS)
            await asyncio.sleep(_RETRY_SECONDS)
        return plain

    def _files(self) -> list[Path]:
        if self._path.is_dir():
            return sorted(path for path in self._path.iterdir() if path.is_file())
        return [self._path]
